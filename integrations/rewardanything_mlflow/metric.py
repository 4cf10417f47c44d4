"""Principles as metrics for ``mlflow.evaluate`` and ``mlflow.models.evaluate``."""

from __future__ import annotations

import inspect
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import mlflow.metrics
from mlflow.metrics import MetricValue
from mlflow.models import EvaluationMetric

from rewardanything_core import BaseJudge, Case, JudgeFailure, Principle, Verdict, resolve_judge
from rewardanything_core.errors import JudgeUnavailableError
from rewardanything_mlflow.feedback import ScoreScale, metric_name, metric_names, scores_of
from rewardanything_mlflow.fields import prompt_from, reference_from, response_from
from rewardanything_mlflow.judging import Outcome, failure_of, judge_all, judge_or_default

_MISSING = object()
"""In place of the column with the prompts, where the table has none of that name."""


def principle_metric(
    principle: Principle | str,
    *,
    judge: BaseJudge | str | None = None,
    name: str | None = None,
    scale: ScoreScale = "raw",
    prompt: str = "inputs",
    reference: str | None = "targets",
    version: str | None = None,
) -> EvaluationMetric:
    """A metric for ``extra_metrics=[...]`` that judges all rows of the table in one batch.

    The table gets a score and the judge's reasoning for each row. A row that could not be judged has no score, and the
    error as its justification. The aggregates are ``mean``, ``variance`` and ``p90`` over the judged rows, and the
    numbers of rows that were ``judged`` and of ``failures``. A judge that cannot be used stops the evaluation with a
    `JudgeUnavailableError`.

    Args:
        principle: What to judge by.
        judge: The judge, or a model string such as ``openai:/gpt-5-mini``. None: the process's default judge, loaded
            when first needed.
        name: The metric's name. None: the principle's.
        scale: ``raw`` for 1..5, ``normalized`` for 0..1.
        prompt: The column with the prompts: texts, chat messages, or dicts with either.
        reference: The column with reference answers, ignored if the table has none. None: judge without.
        version: A version for the columns' names (``name/version/score``). None: none.

    Raises:
        InvalidCaseError: the principle is empty or not text.
        ConfigError: the judge is neither a judge nor a model string.
    """
    principle = Principle.of(principle)
    metric: EvaluationMetric = mlflow.metrics.make_metric(
        eval_fn=_eval_fn(principle, resolve_judge(judge), scale, prompt, reference),
        greater_is_better=True,
        name=metric_name(principle, name),
        version=version,
    )
    return metric


def principle_metrics(principles: Iterable[Principle | str], **options: Any) -> list[EvaluationMetric]:
    """A `principle_metric` for each principle, with distinct names.

    Args:
        principles: What to judge by.
        **options: The options of `principle_metric`, for all of them.
    """
    checked = [Principle.of(principle) for principle in principles]
    return [
        principle_metric(one, name=name, **options) for one, name in zip(checked, metric_names(checked), strict=True)
    ]


def _eval_fn(
    principle: Principle, judge: BaseJudge | None, scale: ScoreScale, prompt: str, reference: str | None
) -> Callable[..., MetricValue]:
    trials: list[tuple[str, Outcome]] = []  # MLflow first calls with row 0 alone, then with the whole table

    def eval_fn(predictions: Any, prompts: Any, references: Any = None) -> MetricValue:
        rows = len(predictions)
        if prompts is _MISSING:
            raise JudgeUnavailableError(
                f"The table has no column {prompt!r}, from which to take the prompts; nothing was judged.",
                hint='Name the column, as in principle_metric(..., prompt="question").',
            )
        # In the first call MLflow cuts some columns to one row and leaves others whole.
        columns = [list(column)[:rows] if column is not None else [None] * rows for column in (prompts, references)]
        cases = [
            _case(principle, index, *row) for index, row in enumerate(zip(list(predictions), *columns, strict=True))
        ]
        return _metric_value(_outcomes(judge_or_default(judge), cases, trials), scale)

    # MLflow looks up each parameter by its name in the table.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("predictions", kind), inspect.Parameter(prompt, kind, default=_MISSING)]
    if reference is not None:
        parameters.append(inspect.Parameter(reference, kind, default=None))
    eval_fn.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return eval_fn


def _case(principle: Principle, index: int, prediction: Any, inputs: Any, reference: Any) -> Case | JudgeFailure:
    try:
        return Case(
            principle,
            prompt_from(inputs),
            [response_from(prediction)],
            reference_from({"reference": reference}, "reference"),
            id=f"row {index}",
        )
    except Exception as error:  # noqa: BLE001 - a row with an odd object must not take the table with it
        return failure_of(error, f"row {index}")


def _outcomes(
    judge: BaseJudge, cases: Sequence[Case | JudgeFailure], trials: list[tuple[str, Outcome]]
) -> list[Outcome]:
    """An outcome for each case; row 0 is not judged again after MLflow's first call with it alone."""
    digest, outcome = trials.pop() if trials else (None, None)
    first = cases[0] if cases and isinstance(cases[0], Case) else None
    if outcome is not None and first and first.digest == digest:
        return [outcome, *judge_all(judge, cases[1:])]
    outcomes = judge_all(judge, cases)
    if first and len(cases) == 1:
        trials.append((first.digest, outcomes[0]))
    return outcomes


def _metric_value(outcomes: Sequence[Outcome], scale: ScoreScale) -> MetricValue:
    scores: list[Any] = [_score(outcome, scale) for outcome in outcomes]
    judged = [score for score in scores if score is not None]
    aggregates: dict[str, float] = {"judged": len(judged), "failures": len(scores) - len(judged)}
    if judged:
        aggregates |= {
            "mean": statistics.fmean(judged),
            "variance": statistics.pvariance(judged),
            "p90": _p90(judged),
        }
    return MetricValue(scores=scores, justifications=list(map(_justification, outcomes)), aggregate_results=aggregates)


def _score(outcome: Outcome, scale: ScoreScale) -> float | None:
    return next(iter(scores_of(outcome, scale).values())) if isinstance(outcome, Verdict) else None


def _justification(outcome: Outcome) -> str:
    return outcome.explanation if isinstance(outcome, Verdict) else f"{outcome.error_type}: {outcome.message}"


def _p90(values: Sequence[float]) -> float:
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=10, method="inclusive")[-1]
