"""Verdicts as MLflow feedback."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal

import mlflow
from mlflow.entities import Assessment, AssessmentError, AssessmentSource, AssessmentSourceType, Feedback

from rewardanything_core import JudgeFailure, Principle, RewardAnythingError, Verdict

Scale = Literal["raw", "normalized"]
"""``raw``: 1..5. ``normalized``: 0..1."""

FRAMEWORK = {"mlflow.scorer.framework": "rewardanything"}


def scores_of(verdict: Verdict, scale: Scale) -> dict[str, float]:
    """Label -> score, on that scale."""
    return verdict.scores if scale == "raw" else verdict.normalized


def name_of(principle: Principle, name: str | None = None) -> str:
    """A name that MLflow takes for a metric, without the slash that separates a metric's parts."""
    return re.sub(r"[^\w\-. ]+", "_", name or principle.name or "").strip("_ ") or "principle"


def names_of(principles: Iterable[Principle]) -> list[str]:
    """Names of several principles, told apart by a number where they are the same."""
    names: list[str] = []
    for base in map(name_of, principles):
        rivals = [name for name in names if re.fullmatch(rf"{re.escape(base)}(_\d+)?", name)]
        names.append(f"{base}_{len(rivals) + 1}" if rivals else base)
    return names


def verdict_feedback(verdict: Verdict, name: str, *, scale: Scale = "raw", label: str | None = None) -> list[Feedback]:
    """A feedback for each response, named ``name/label`` if there are several; or only for ``label``, as ``name``."""
    several = len(verdict.scores) > 1
    about = {
        **FRAMEWORK,
        "model": verdict.model,
        "template_hash": verdict.template_hash,
        "seed": verdict.seed,
        "agreement": verdict.agreement,
        "record_id": " ".join(verdict.record_ids) or None,
        "case_id": verdict.case_id,
        "cached": verdict.cached,
        "passes": len(verdict.orders),
    }
    return [
        Feedback(
            name=f"{name}/{one}" if several and label is None else name,
            value=score,
            rationale=verdict.explanation or None,
            source=_source(verdict.model),
            metadata=_strings(
                about,
                label=one if several else None,
                rank=verdict.ranking.index(one) + 1 if several else None,
                spread=verdict.spread.get(one) if len(verdict.orders) > 1 else None,
            ),
        )
        for one, score in scores_of(verdict, scale).items()
        if label in (None, one)
    ]


def failure_feedback(failure: JudgeFailure, name: str, *, model: str = "") -> Feedback:
    """A feedback with the error and no value."""
    return Feedback(
        name=name,
        error=AssessmentError(error_code=failure.error_type, error_message=failure.message),
        source=_source(model),
        metadata=_strings(FRAMEWORK, model=model or None, record_id=failure.record_id, attempts=failure.attempts),
    )


def failure_of(error: RewardAnythingError) -> JudgeFailure:
    """The failure that an error of the judge tells of."""
    return error.failure or JudgeFailure(case_id=None, error_type=type(error).__name__, message=str(error))


def log_verdict(
    verdict: Verdict | JudgeFailure,
    *,
    trace_id: str,
    name: str = "verdict",
    label: str | None = None,
    scale: Scale = "raw",
    span_id: str | None = None,
) -> list[Assessment]:
    """Attach a verdict to a trace as feedback, or a failure as feedback without a value.

    Args:
        verdict: What the judge said.
        trace_id: The trace.
        name: The feedback's name; with several responses, one each named ``name/label``.
        label: The response that this trace is about. None: all of them.
        scale: ``raw`` for 1..5, ``normalized`` for 0..1.
        span_id: The span that it is about. None: the whole trace.

    Returns:
        The feedback as stored, in the order of the verdict's scores.
    """
    if isinstance(verdict, JudgeFailure):
        found = [failure_feedback(verdict, name)]
    else:
        found = verdict_feedback(verdict, name, scale=scale, label=label)
        if not found:
            raise KeyError(f"The verdict has no response labelled {label!r}; it has {', '.join(verdict.scores)}.")
    for feedback in found:
        feedback.span_id = span_id
    return [mlflow.log_assessment(trace_id=trace_id, assessment=feedback) for feedback in found]


def _source(model: str) -> AssessmentSource:
    return AssessmentSource(source_type=AssessmentSourceType.LLM_JUDGE, source_id=model or "rewardanything")


def _strings(*fields: dict[str, Any], **more: Any) -> dict[str, str]:
    """Metadata as MLflow keeps it: strings, and nothing for None."""
    merged = {key: value for part in (*fields, more) for key, value in part.items()}
    return {key: str(value) for key, value in merged.items() if value not in (None, "")}
