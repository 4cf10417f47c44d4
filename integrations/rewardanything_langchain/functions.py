"""Evaluators as plain functions, for whoever calls them with inputs and outputs: LangSmith, openevals, agentevals."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rewardanything_core import BaseJudge, Case, ConfigError, InvalidCaseError, JudgeFailure, Principle, Verdict
from rewardanything_langchain.judging import Principles, judge_or_default, not_judged
from rewardanything_langchain.texts import Selector, prompt_of, select, text_of

if TYPE_CHECKING:
    from langsmith.evaluation.evaluator import ComparisonEvaluationResult
    from langsmith.schemas import Example, Run

Scale = Literal["normalized", "raw"]


class Evaluator(Protocol):
    """What `principle_evaluator` returns."""

    def __call__(self, inputs: Any = None, outputs: Any = None, reference_outputs: Any = None) -> Any:
        """Judge one output: ``{"key", "score", "comment", "metadata"}``, or a list of them for several principles."""


def principle_evaluator(
    principle: Principles,
    *,
    judge: BaseJudge | None = None,
    key: str | None = None,
    scale: Scale = "normalized",
    prompt: Selector = None,
    response: Selector = None,
    reference: Selector = None,
    use_reference: bool = False,
) -> Evaluator:
    """A function ``(inputs, outputs, reference_outputs) -> {"key", "score", "comment", "metadata"}``.

    It fits ``langsmith.evaluate(evaluators=[...])`` and wherever an openevals or agentevals evaluator does. What was
    not judged has the score None, which LangSmith leaves out of averages, and the reason as its comment.

    Args:
        principle: One, or several: then it returns a list with a result for each.
        judge: Who judges. None: ``load_judge()``, made at the first judgement and shared by the process.
        key: The feedback's name. None: the principle's own name, else ``principle``; numbered if several have none.
        scale: ``normalized``, 0.0..1.0, or ``raw``, 1.0..5.0.
        prompt: The key of ``inputs`` that was asked, or a function of them. None: the only one, or all of them.
        response: The key of ``outputs`` to judge, or a function of them. None: the only one, or all of them.
        reference: The same for ``reference_outputs``.
        use_reference: Whether the judge sees the reference.
    """
    if scale not in ("normalized", "raw"):
        raise ConfigError(f"scale must be 'normalized' or 'raw', not {scale!r}.")
    principles = Principle.several(principle)
    several = not isinstance(principle, Principle | str)
    keys = _keys(principles, key)

    def evaluator(inputs: Any = None, outputs: Any = None, reference_outputs: Any = None, **_: Any) -> Any:
        text = text_of(select(outputs, response, "outputs"))
        good = text_of(select(reference_outputs, reference, "reference_outputs")) if use_reference else None
        asked = prompt_of(select(inputs, prompt, "inputs"))
        cases = [Case(one, asked, {"0": text}, good) for one in principles]
        outcomes = judge_or_default(judge).judge_batch(cases)
        results = [_result(name, outcome, scale) for name, outcome in zip(keys, outcomes, strict=True)]
        return results if several else results[0]

    evaluator.__name__ = evaluator.__qualname__ = keys[0] if len(keys) == 1 else "principles"
    return evaluator


def comparative_evaluator(
    principle: Principle | str,
    *,
    judge: BaseJudge | None = None,
    key: str | None = None,
    prompt: Selector = None,
    response: Selector = None,
) -> Callable[[Sequence[Run], Example | None], ComparisonEvaluationResult]:
    """A function for ``langsmith.evaluate_comparative(evaluators=[...])``: all runs of an example in one verdict.

    Each run's score is its own, 0.0..1.0. Runs without outputs are left out. If the verdict could not be had there are
    no scores, and the comment says why. The arguments are those of `principle_evaluator`.
    """
    checked = Principle.of(principle)
    (name,) = _keys((checked,), key)

    def comparator(runs: Sequence[Run], example: Example | None = None) -> ComparisonEvaluationResult:
        from langsmith.evaluation.evaluator import ComparisonEvaluationResult

        ids = {f"run {str(run.id)[:8]}": run.id for run in runs if run.outputs}
        if len(ids) < sum(bool(run.outputs) for run in runs):
            ids = {f"run {run.id}": run.id for run in runs if run.outputs}
        if not ids:
            return ComparisonEvaluationResult(key=name, scores={}, comment="Not judged. No run has outputs.")
        outputs = {run.id: run.outputs for run in runs}
        texts = {label: text_of(select(outputs[one], response, "outputs")) for label, one in ids.items()}
        inputs = example.inputs if example is not None else runs[0].inputs
        asked = prompt_of(select(inputs, prompt, "inputs"))
        (outcome,) = judge_or_default(judge).judge_batch([Case(checked, asked, texts)])
        if isinstance(outcome, JudgeFailure):
            return ComparisonEvaluationResult(key=name, scores={}, comment=not_judged([outcome]))
        scores: Any = {ids[label]: score for label, score in outcome.normalized.items()}
        return ComparisonEvaluationResult(key=name, scores=scores, comment=outcome.explanation)

    comparator.__name__ = comparator.__qualname__ = name
    return comparator


def _keys(principles: Sequence[Principle], key: str | None) -> list[str]:
    """A feedback key for each principle, all different."""
    if len(principles) == 1:
        return [key or _slug(principles[0].name or "principle")]
    keys = [_slug(one.name or f"principle_{place}") for place, one in enumerate(principles, start=1)]
    keys = [f"{key}_{name}" if key else name for name in keys]
    if len(set(keys)) < len(keys):
        raise InvalidCaseError(
            f"The principles' names must differ, since they name feedback: {keys}.", field="principle"
        )
    return keys


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_") or "principle"


def _result(key: str, outcome: Verdict | JudgeFailure, scale: Scale) -> dict[str, Any]:
    if isinstance(outcome, JudgeFailure):
        failure = {"error_type": outcome.error_type, "attempts": outcome.attempts, "record_id": outcome.record_id}
        return {"key": key, "score": None, "comment": not_judged([outcome]), "metadata": failure}
    score = (outcome.normalized if scale == "normalized" else outcome.scores)["0"]
    return {"key": key, "score": score, "comment": outcome.explanation, "metadata": outcome.provenance}
