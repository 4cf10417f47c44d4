"""Principles as metrics for ``mlflow.evaluate`` and ``mlflow.models.evaluate``."""

from __future__ import annotations

import inspect
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import mlflow.metrics
from mlflow.metrics import MetricValue
from mlflow.models import EvaluationMetric

from rewardanything_core import BaseJudge, Case, InvalidCaseError, JudgeFailure, Principle, Verdict, default_judge
from rewardanything_mlflow.feedback import Scale, name_of, names_of, scores_of
from rewardanything_mlflow.fields import prompt_from, reference_from, responses_from
from rewardanything_mlflow.judges import Outcome, judge_all


def principle_metric(
    principle: Principle | str,
    *,
    judge: BaseJudge | None = None,
    name: str | None = None,
    scale: Scale = "raw",
    prompt: str = "inputs",
    reference: str | None = "targets",
    version: str | None = None,
) -> EvaluationMetric:
    """A metric for ``extra_metrics=[...]`` that judges all rows of the table together.

    The table gets a score and the judge's reasoning for each row; a row that could not be judged has no score and the
    error as its justification. The aggregates are ``mean``, ``variance`` and ``p90`` over the judged rows, and
    ``judged`` and ``failures``, how many rows there are of each.

    Args:
        principle: What to prefer.
        judge: The judge. None: one `load_judge()` for the process, made when first needed.
        name: The metric's name. None: the principle's.
        scale: ``raw`` for 1..5, ``normalized`` for 0..1.
        prompt: The column with the prompts: texts, chat messages, or dicts with either.
        reference: The column with good answers, ignored if there is none. None: judge without.
        version: A version for the columns' names (``name/version/score``). None: no such part.

    Raises:
        InvalidCaseError: the principle is empty or not text.
    """
    metric: EvaluationMetric = mlflow.metrics.make_metric(
        eval_fn=_eval_fn(Principle.of(principle), judge, scale, prompt, reference),
        greater_is_better=True,
        name=name_of(Principle.of(principle), name),
        version=version,
    )
    return metric


def principle_metrics(principles: Iterable[Principle | str], **options: Any) -> list[EvaluationMetric]:
    """A `principle_metric` for each principle, with names of their own. The options are those of `principle_metric`."""
    known = [Principle.of(principle) for principle in principles]
    return [principle_metric(p, name=name, **options) for p, name in zip(known, names_of(known), strict=True)]


def _eval_fn(
    principle: Principle, judge: BaseJudge | None, scale: Scale, prompt: str, reference: str | None
) -> Callable[..., MetricValue]:
    probed: list[tuple[str, Outcome]] = []  # MLflow first calls with row 0 alone, then with the whole table

    def eval_fn(predictions: Any, prompts: Any, references: Any = None) -> MetricValue:
        rows = len(predictions)
        # In the probing call MLflow cuts some columns to one row and leaves others whole.
        columns = [list(column)[:rows] if column is not None else [None] * rows for column in (prompts, references)]
        cases = [
            _case(principle, index, *row) for index, row in enumerate(zip(list(predictions), *columns, strict=True))
        ]
        outcomes = _judged(judge or default_judge(), cases, probed)
        return _metric_value(outcomes, scale)

    # MLflow looks up each parameter by its name in the table.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("predictions", kind), inspect.Parameter(prompt, kind)]
    if reference is not None:
        parameters.append(inspect.Parameter(reference, kind, default=None))
    eval_fn.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return eval_fn


def _case(principle: Principle, index: int, prediction: Any, inputs: Any, reference: Any) -> Case | JudgeFailure:
    case_id = f"row {index}"
    try:
        response = responses_from(prediction)
        if not isinstance(response, str):
            raise InvalidCaseError(
                "A table's metric has one score a row; judge several responses with PrincipleScorer.", field="responses"
            )
        expected = reference_from({"reference": reference}, "reference")
        return Case(principle, prompt_from(inputs), [response], expected, id=case_id)
    except InvalidCaseError as error:
        return JudgeFailure(case_id=case_id, error_type=type(error).__name__, message=str(error))


def _judged(judge: BaseJudge, cases: Sequence[Case | JudgeFailure], probed: list[tuple[str, Outcome]]) -> list[Outcome]:
    remembered = probed.pop() if probed else None
    first = cases[0] if cases and isinstance(cases[0], Case) else None
    if remembered and first and first.digest == remembered[0]:
        return [remembered[1], *judge_all(judge, cases[1:])]
    outcomes = judge_all(judge, cases)
    if first and len(cases) == 1:
        probed.append((first.digest, outcomes[0]))
    return outcomes


def _metric_value(outcomes: Sequence[Outcome], scale: Scale) -> MetricValue:
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


def _score(outcome: Outcome, scale: Scale) -> float | None:
    return next(iter(scores_of(outcome, scale).values())) if isinstance(outcome, Verdict) else None


def _justification(outcome: Outcome) -> str:
    return outcome.explanation if isinstance(outcome, Verdict) else f"{outcome.error_type}: {outcome.message}"


def _p90(values: Sequence[float]) -> float:
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=10, method="inclusive")[-1]
