"""Verdicts as MLflow spans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import mlflow
from mlflow.entities import SpanType

from rewardanything_core import Abstention, BaseJudge, Case, JudgeFailure, Rubric, resolve_judge
from rewardanything_core.conversations.trajectory import response_json
from rewardanything_core.judging.base import add_observer, remove_observer

if TYPE_CHECKING:
    from rewardanything_core.judging.observers import VerdictEvent

_logged: list[BaseJudge | None] = []
"""The judges whose verdicts are logged. None: all judges."""

_own_traces: ContextVar[bool] = ContextVar("own_traces", default=True)


def autolog(judge: BaseJudge | str | None = None, *, disable: bool = False) -> None:
    """Log each verdict or failure as a span with the case, the scores and the reasoning.

    A span is a child of the span that is active where the judge is called; without one, it is a trace of its own. A
    `PrincipleScorer` makes no such traces, since its verdicts are feedback on the traces of the rows.

    Args:
        judge: The judge whose verdicts to log, or its model string. None: all judges of this process.
        disable: Stop logging, for all judges.
    """
    if disable:
        _logged.clear()
        remove_observer(_log_span)
        return
    judge = resolve_judge(judge)
    if not any(logged is judge for logged in _logged):
        _logged.append(judge)
    add_observer(_log_span)


@contextmanager
def without_own_traces() -> Iterator[None]:
    """A context in which verdicts are only logged as children of an active span."""
    token = _own_traces.set(False)
    try:
        yield
    finally:
        _own_traces.reset(token)


def _log_span(event: VerdictEvent) -> None:
    """Observe a verdict; it runs in a copy of the context in which the judge was called."""
    if not any(judge is None or judge is event.judge for judge in _logged):
        return
    parent: Any = mlflow.get_current_active_span()
    if parent is None and not _own_traces.get():
        return
    span = mlflow.start_span_no_context(
        "judge",
        SpanType.EVALUATOR,
        parent_span=parent,
        inputs=_inputs(event.case),
        start_time_ns=event.started_ns,
    )
    if isinstance(event.outcome, JudgeFailure):
        status = "OK" if isinstance(event.outcome, Abstention) else "ERROR"
        span.end(outputs=event.outcome.to_dict(), status=status, end_time_ns=event.ended_ns)
        return
    verdict = event.outcome.to_dict()
    outputs = _outputs(verdict)
    if verdict["criteria"]:
        outputs["missed"] = verdict["missed"]
        outputs["criteria"] = {name: _outputs(each) for name, each in verdict["criteria"].items()}
    names = ("model", "template_hash", "seed", "agreement", "spread", "record_id", "cached", "orders")
    span.end(outputs=outputs, attributes={name: verdict[name] for name in names}, end_time_ns=event.ended_ns)


def _outputs(verdict: Mapping[str, Any]) -> dict[str, Any]:
    return {"scores": verdict["scores"], "ranking": verdict["ranking"], "reasoning": verdict["explanation"]}


def _inputs(case: Case | None) -> dict[str, Any]:
    """The parts of a case that the judge sees; empty for an item that is not a valid case."""
    if case is None:
        return {}
    principle = case.principle.to_json() if isinstance(case.principle, Rubric) else case.principle.text
    fields = {
        "principle": principle,
        "prompt": case.prompt,
        "responses": {label: response_json(response) for label, response in case.responses.items()},
        "reference": case.reference,
        "context": case.context,
    }
    return {name: value for name, value in fields.items() if value is not None}
