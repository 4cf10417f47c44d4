"""Every verdict as an MLflow span, if asked for."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import mlflow
from mlflow.entities import SpanType

from rewardanything_core import BaseJudge, Case, JudgeFailure, RewardAnythingError, Verdict
from rewardanything_mlflow.feedback import failure_of

_originals: dict[str, Callable[..., Any]] = {}
_logged: list[BaseJudge | None] = []
_in_scorer: ContextVar[bool] = ContextVar("in_scorer", default=False)


def autolog(judge: BaseJudge | None = None, *, disable: bool = False) -> None:
    """Log each verdict as a span with the case, the scores and the reasoning, whoever asks the judge for it.

    A span goes under the one that is active where the judge is called, else it makes a trace of its own. A
    `PrincipleScorer` makes no such traces: its verdicts are on the rows' own, as feedback.

    Args:
        judge: The judge whose verdicts to log. None: every judge in this process.
        disable: Stop logging, for all judges.
    """
    if disable:
        _logged.clear()
        while _originals:
            name, original = _originals.popitem()
            setattr(BaseJudge, name, original)
        return
    if not any(known is judge for known in _logged):
        _logged.append(judge)
    for name, wrap in _WRAPPERS.items():
        if name not in _originals:
            _originals[name] = getattr(BaseJudge, name)
            setattr(BaseJudge, name, functools.wraps(_originals[name])(wrap(_originals[name])))


@contextmanager
def within_scorer() -> Iterator[None]:
    """Here a verdict makes no trace of its own."""
    token = _in_scorer.set(True)
    try:
        yield
    finally:
        _in_scorer.reset(token)


class _Span:
    """A span in the making; it is written when the outcome is known, and only for a judge that is logged."""

    def __init__(self, judge: BaseJudge, case: Any) -> None:
        logged = any(known is None or known is judge for known in _logged)
        self.case, self.start = case, time.time_ns()
        self.parent = mlflow.get_current_active_span() if logged else None
        self.wanted = logged and (self.parent is not None or not _in_scorer.get())

    def end(self, outcome: Verdict | JudgeFailure) -> None:
        if not self.wanted:
            return
        # The parent may have ended since, as a generator may be read anywhere.
        parent = self.parent if self.parent is not None and self.parent.end_time_ns is None else None
        span = mlflow.start_span_no_context(
            "judge", SpanType.EVALUATOR, parent_span=parent, inputs=_inputs(self.case), start_time_ns=self.start
        )
        if isinstance(outcome, JudgeFailure):
            span.end(outputs=outcome.to_dict(), status="ERROR")
        else:
            told = outcome.to_dict()
            shown = {"scores": told["scores"], "ranking": told["ranking"], "reasoning": told["explanation"]}
            about = ("model", "template_hash", "seed", "agreement", "spread", "record_id", "cached", "orders")
            span.end(outputs=shown, attributes={key: told[key] for key in about})


def _inputs(case: Any) -> dict[str, Any]:
    if isinstance(case, Case):
        case = {name: getattr(case, name) for name in ("principle", "prompt", "responses", "reference", "context")}
    if not isinstance(case, Mapping):
        return {"case": repr(case)}
    return {key: str(value) if key == "principle" else value for key, value in case.items() if value is not None}


def _given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The case as it was passed to `Judge.judge`."""
    given = {**dict(zip(("principle", "prompt", "responses"), args, strict=False)), **kwargs}
    return given["principle"] if isinstance(given.get("principle"), Case) else given


def _wrap_judge(original: Callable[..., Verdict]) -> Callable[..., Verdict]:
    def judge(self: BaseJudge, *args: Any, **kwargs: Any) -> Verdict:
        span = _Span(self, _given(args, kwargs))
        try:
            verdict = original(self, *args, **kwargs)
        except RewardAnythingError as error:
            span.end(failure_of(error))
            raise
        span.end(verdict)
        return verdict

    return judge


def _wrap_ajudge(original: Callable[..., Any]) -> Callable[..., Any]:
    async def ajudge(self: BaseJudge, *args: Any, **kwargs: Any) -> Verdict:
        span = _Span(self, _given(args, kwargs))
        try:
            verdict: Verdict = await original(self, *args, **kwargs)
        except RewardAnythingError as error:
            span.end(failure_of(error))
            raise
        span.end(verdict)
        return verdict

    return ajudge


def _wrap_stream(original: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    def judge_stream(self: BaseJudge, cases: Iterable[Any], **options: Any) -> Iterator[Any]:
        spans: dict[int, _Span] = {}

        def noted() -> Iterator[Any]:
            for index, case in enumerate(cases):
                spans[index] = _Span(self, case)
                yield case

        for index, outcome in original(self, noted(), **options):
            spans.pop(index).end(outcome)
            yield index, outcome

    return judge_stream


def _wrap_batch(original: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    def judge_batch(self: BaseJudge, cases: Iterable[Any]) -> list[Any]:
        cases = list(cases)
        spans = [_Span(self, case) for case in cases]
        outcomes = original(self, cases)
        for span, outcome in zip(spans, outcomes, strict=True):
            span.end(outcome)
        return outcomes

    return judge_batch


def _wrap_abatch(original: Callable[..., Any]) -> Callable[..., Any]:
    async def ajudge_batch(self: BaseJudge, cases: Iterable[Any]) -> list[Any]:
        cases = list(cases)
        spans = [_Span(self, case) for case in cases]
        outcomes: list[Any] = await original(self, cases)
        for span, outcome in zip(spans, outcomes, strict=True):
            span.end(outcome)
        return outcomes

    return ajudge_batch


# `score` and `ascore` call `judge` and `ajudge`.
_WRAPPERS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "judge": _wrap_judge,
    "ajudge": _wrap_ajudge,
    "judge_stream": _wrap_stream,
    "judge_batch": _wrap_batch,
    "ajudge_batch": _wrap_abatch,
}
