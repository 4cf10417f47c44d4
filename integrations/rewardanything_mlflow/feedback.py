"""Verdicts and failures as MLflow feedback."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeAlias

import mlflow
from mlflow.entities import Assessment, AssessmentError, AssessmentSource, AssessmentSourceType, Feedback

from rewardanything_core import JudgeFailure, Principle, Rubric, Verdict

ScoreScale: TypeAlias = Literal["raw", "normalized"]
"""``raw``: 1..5. ``normalized``: 0..1."""

FRAMEWORK = {"mlflow.scorer.framework": "rewardanything"}

GUIDELINE = "guideline"
"""The metadata with what was judged by, which MLflow shows next to the assessment."""


def scores_of(verdict: Verdict, scale: ScoreScale) -> dict[str, float]:
    """Label -> score.

    Args:
        verdict: The verdict.
        scale: ``raw`` for 1..5, ``normalized`` for 0..1.
    """
    return verdict.scores if scale == "raw" else verdict.normalized


def on_criterion(outcomes: Sequence[Verdict | JudgeFailure], criterion: str) -> list[Verdict | JudgeFailure]:
    """The outcomes on one criterion of a rubric; a failure is one on each criterion.

    Args:
        outcomes: Outcomes under the rubric.
        criterion: The name of the criterion.
    """
    return [outcome.criteria[criterion] if isinstance(outcome, Verdict) else outcome for outcome in outcomes]


def metric_name(principle: Principle, name: str | None = None) -> str:
    """A valid MLflow metric name, without the slash that separates the parts of a metric.

    Args:
        principle: The principle, whose name is the default.
        name: The name that the user chose. None: the principle's, else ``principle``.
    """
    return re.sub(r"[^\w\-. ]+", "_", name or principle.name or "").strip("_ ") or "principle"


def metric_names(principles: Iterable[Principle]) -> list[str]:
    """Distinct metric names of several principles; equal ones are numbered."""
    return _distinct(map(metric_name, principles))


def criterion_names(criteria: Iterable[str], name: str) -> dict[str, str]:
    """Criterion -> the name of its feedback and metrics, ``name.criterion``.

    Characters that metric names cannot have are replaced, and equal names are numbered.

    Args:
        criteria: The names of a rubric's criteria.
        name: The name of the whole rubric's feedback.
    """
    criteria = list(criteria)
    parts = _distinct(metric_name(Principle("-"), criterion) for criterion in criteria)
    return {criterion: f"{name}.{part}" for criterion, part in zip(criteria, parts, strict=True)}


def _distinct(candidates: Iterable[str]) -> list[str]:
    names: list[str] = []
    for base in candidates:
        equal = [name for name in names if re.fullmatch(rf"{re.escape(base)}(_\d+)?", name)]
        names.append(f"{base}_{len(equal) + 1}" if equal else base)
    return names


def verdict_feedback(
    verdict: Verdict,
    name: str,
    *,
    scale: ScoreScale = "raw",
    label: str | None = None,
    principle: Principle | None = None,
) -> list[Feedback]:
    """A feedback for each response of a verdict, and under a rubric one more for each criterion.

    Args:
        verdict: The verdict.
        name: The feedback's name; that of a criterion is ``name.criterion``. With several responses, each is named
            ``name/label`` or ``name.criterion/label``.
        scale: ``raw`` for 1..5, ``normalized`` for 0..1.
        label: Return the feedback of this response only, without the label in its name. None: all responses.
        principle: What was judged by, for the metadata. None: unknown.
    """
    names = criterion_names(verdict.criteria, name)
    feedback = _feedback_by_label(verdict, verdict, name, None, scale=scale, only=label)
    for criterion, each in verdict.criteria.items():
        feedback += _feedback_by_label(each, verdict, names[criterion], criterion, scale=scale, only=label)
    return _with_guidelines(feedback, principle)


def _feedback_by_label(
    verdict: Verdict, whole: Verdict, name: str, criterion: str | None, *, scale: ScoreScale, only: str | None
) -> list[Feedback]:
    """Feedback of the whole verdict, or of the verdict on one criterion."""
    several = len(verdict.scores) > 1
    metadata = {
        **FRAMEWORK,
        "model": whole.model,
        "template_hash": whole.template_hash,
        "seed": whole.seed,
        "agreement": verdict.agreement,
        "record_id": " ".join(whole.record_ids) or None,
        "case_id": whole.case_id,
        "cached": whole.cached,
        "passes": len(verdict.orders),
        "criterion": criterion,
    }
    missed = {label: ", ".join(n for n in names if criterion in (None, n)) for label, names in whole.missed.items()}
    return [
        Feedback(
            name=f"{name}/{response}" if several and only is None else name,
            value=score,
            rationale=verdict.explanation or None,
            source=_source(whole.model),
            metadata=_strings(
                metadata,
                label=response if several else None,
                rank=verdict.ranking.index(response) + 1 if several else None,
                spread=verdict.spread.get(response) if len(verdict.orders) > 1 else None,
                missed=missed.get(response),
                turns=", ".join(map(str, whole.turns.get(response, ()))),
            ),
        )
        for response, score in scores_of(verdict, scale).items()
        if only in (None, response)
    ]


def failure_feedback(
    failure: JudgeFailure, name: str, *, principle: Principle | None = None, model: str = ""
) -> list[Feedback]:
    """A feedback with an error and no value, and for a rubric one more for each criterion.

    Args:
        failure: Why there is no verdict.
        name: The feedback's name.
        principle: What was to be judged by. None: unknown, or not a rubric.
        model: The judge model's name. Empty: unknown.
    """
    names: dict[str | None, str] = {None: name}
    if isinstance(principle, Rubric):
        names.update(criterion_names(principle.criteria, name).items())
    about = {"model": model or None, "record_id": failure.record_id, "attempts": failure.attempts}
    feedback = [
        Feedback(
            name=one,
            error=AssessmentError(error_code=failure.error_type, error_message=failure.message),
            source=_source(model),
            metadata=_strings(FRAMEWORK, about, criterion=criterion),
        )
        for criterion, one in names.items()
    ]
    return _with_guidelines(feedback, principle)


def _with_guidelines(feedback: list[Feedback], principle: Principle | None) -> list[Feedback]:
    """Note in each feedback of a verdict what it judges by: the principle, the rubric or one of its criteria."""
    if principle is None:
        return feedback
    criteria = principle.criteria if isinstance(principle, Rubric) else {}
    for one in feedback:
        rule = criteria.get((one.metadata or {}).get("criterion", ""), principle)
        one.metadata = {**(one.metadata or {}), GUIDELINE: rule.text}
    return feedback


def log_verdict(
    verdict: Verdict | JudgeFailure,
    *,
    trace_id: str,
    name: str = "verdict",
    label: str | None = None,
    scale: ScoreScale = "raw",
    span_id: str | None = None,
    principle: Principle | None = None,
) -> list[Assessment]:
    """Attach a verdict to a trace as feedback, or a failure as feedback without a value.

    A verdict under a rubric gives one more feedback for each criterion, named ``name.criterion``.

    Args:
        verdict: The judge's verdict or failure.
        trace_id: The trace.
        name: The feedback's name; with several responses, each is named ``name/label``.
        label: The response that the trace belongs to. None: all of them.
        scale: ``raw`` for 1..5, ``normalized`` for 0..1.
        span_id: The span to attach it to. None: the whole trace.
        principle: What was judged by, for the metadata, and so that a failure under a rubric gives feedback for each
            criterion, too. None: unknown.

    Returns:
        The feedback as stored, in the order of the verdict's scores, then of its criteria.

    Raises:
        KeyError: the verdict has no response with this label.
    """
    if isinstance(verdict, JudgeFailure):
        feedback = failure_feedback(verdict, name, principle=principle)
    else:
        feedback = verdict_feedback(verdict, name, scale=scale, label=label, principle=principle)
        if not feedback:
            raise KeyError(f"The verdict has no response labelled {label!r}; it has {', '.join(verdict.scores)}.")
    for assessment in feedback:
        assessment.span_id = span_id
    return [mlflow.log_assessment(trace_id=trace_id, assessment=assessment) for assessment in feedback]


def _source(model: str) -> AssessmentSource:
    return AssessmentSource(source_type=AssessmentSourceType.LLM_JUDGE, source_id=model or "rewardanything")


def _strings(*fields: dict[str, Any], **more: Any) -> dict[str, str]:
    """Metadata in the form that MLflow stores: strings only, without the fields that are None."""
    merged = {key: value for part in (*fields, more) for key, value in part.items()}
    return {key: str(value) for key, value in merged.items() if value not in (None, "")}
