"""Principles as metrics for ``mlflow.evaluate`` and ``mlflow.models.evaluate``."""

from __future__ import annotations

import inspect
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import mlflow.metrics
from mlflow.metrics import MetricValue
from mlflow.models import EvaluationMetric

from rewardanything_core import Abstention, BaseJudge, Case, JudgeFailure, Principle, Rubric, Verdict, resolve_judge
from rewardanything_core.errors import JudgeUnavailableError
from rewardanything_mlflow.feedback import (
    ScoreScale,
    criterion_names,
    metric_name,
    metric_names,
    on_criterion,
    scores_of,
)
from rewardanything_mlflow.fields import prompt_from, reference_from, response_from
from rewardanything_mlflow.judging import Outcome, failure_of, judge_all, judge_or_default
from rewardanything_mlflow.run_records import RowTraces, log_principle

_Recorder: TypeAlias = Callable[[Sequence[Any], Sequence[Any], Sequence[Outcome]], None]

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
    traces: bool = True,
) -> EvaluationMetric:
    """A metric for ``extra_metrics=[...]`` that judges all rows of the table in one batch.

    The table gets a score and the judge's reasoning for each row. A row that could not be judged has no score, and the
    error as its justification. The aggregates are ``mean``, ``variance`` and ``p90`` over the judged rows, and the
    numbers of rows that were ``judged`` and of ``failures``. A judge that cannot be used stops the evaluation with a
    `JudgeUnavailableError`.

    An MLflow metric has one column of scores, which under a rubric are those of the whole; `principle_metrics` has
    columns for the criteria, too.

    Args:
        principle: What to judge by.
        judge: The judge, or a model string such as ``openai:/gpt-5-mini``. None: the process's default judge, loaded
            when first needed.
        name: The metric's name. None: the principle's.
        scale: ``raw`` for 1..5, ``normalized`` for 0..1.
        prompt: The column with the prompts: texts, chat messages, or dicts with either.
        reference: The column with reference answers, ignored if the table has none. None: judge without.
        version: A version for the columns' names (``name/version/score``). None: none.
        traces: Whether each row gets a trace with its score and reasoning in the run.

    Raises:
        InvalidCaseError: the principle is empty or not text.
        ConfigError: the judge is neither a judge nor a model string.
    """
    return _metrics(principle, judge, name, scale, prompt, reference, version, RowTraces() if traces else None)[0]


def principle_metrics(
    principles: Principle | Iterable[Principle | str], *, traces: bool = True, **options: Any
) -> list[EvaluationMetric]:
    """A `principle_metric` for each principle, with distinct names.

    A rubric gives one metric for the whole and one for each criterion, named ``name.criterion``. They share one
    judgement of each row.

    Args:
        principles: What to judge by.
        traces: Whether each row gets a trace with its scores and reasoning in the run.
        **options: The other options of `principle_metric`, for all of them.
    """
    checked = Principle.several(principles)  # type: ignore[arg-type]  # any iterable is accepted
    options["traces"] = RowTraces() if traces else None
    names = metric_names(checked)
    return [metric for one, name in zip(checked, names, strict=True) for metric in _metrics(one, name=name, **options)]


def _metrics(
    principle: Principle | str,
    judge: BaseJudge | str | None = None,
    name: str | None = None,
    scale: ScoreScale = "raw",
    prompt: str = "inputs",
    reference: str | None = "targets",
    version: str | None = None,
    traces: RowTraces | None = None,
) -> list[EvaluationMetric]:
    """The metric of a principle, or those of a rubric and its criteria."""
    principle = Principle.of(principle)
    name = metric_name(principle, name)
    criteria = criterion_names(principle.criteria if isinstance(principle, Rubric) else (), name)
    rows = _JudgedRows(principle, resolve_judge(judge), prompt)
    record = _recorder(principle, name, scale, traces)
    return [
        mlflow.metrics.make_metric(
            eval_fn=_eval_fn(rows, criterion, scale, prompt, reference, record if criterion is None else None),
            greater_is_better=True,
            name=name if criterion is None else criteria[criterion],
            version=version,
        )
        for criterion in (None, *criteria)
    ]


def _recorder(principle: Principle, name: str, scale: ScoreScale, traces: RowTraces | None) -> _Recorder:
    """What puts the principle, and the outcomes of a table, into the run in progress."""

    def record(prompts: Sequence[Any], predictions: Sequence[Any], outcomes: Sequence[Outcome]) -> None:
        log_principle(principle, name)
        if traces is not None:
            traces.log(principle, name, scale, prompts, predictions, outcomes)

    return record


def _eval_fn(
    rows: _JudgedRows,
    criterion: str | None,
    scale: ScoreScale,
    prompt: str,
    reference: str | None,
    record: _Recorder | None,
) -> Callable[..., MetricValue]:
    def eval_fn(predictions: Any, prompts: Any, references: Any = None) -> MetricValue:
        outcomes = rows.outcomes(criterion, predictions, prompts, references)
        if record is not None and not rows.is_trial(criterion):
            record(list(prompts), list(predictions), outcomes)
        if criterion is not None:
            outcomes = on_criterion(outcomes, criterion)
        scores: list[Any] = [_score(outcome, scale) for outcome in outcomes]
        justifications = list(map(_justification, outcomes))
        return MetricValue(scores=scores, justifications=justifications, aggregate_results=_aggregates(outcomes, scale))

    # MLflow looks up each parameter by its name in the table.
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("predictions", kind), inspect.Parameter(prompt, kind, default=_MISSING)]
    if reference is not None:
        parameters.append(inspect.Parameter(reference, kind, default=None))
    eval_fn.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return eval_fn


class _JudgedRows:
    """Judges the rows of a table for one or several metrics.

    MLflow calls each metric with row 0 alone, then each with the whole table. A row is judged once for all of these
    calls, and again in the next evaluation.
    """

    def __init__(self, principle: Principle, judge: BaseJudge | None, prompt: str) -> None:
        self._principle, self._judge, self._prompt = principle, judge, prompt
        self._digests: list[str | None] = []
        self._outcomes: list[Outcome] = []
        self._served: Counter[str | None] = Counter()

    def outcomes(self, metric: str | None, predictions: Any, prompts: Any, references: Any) -> list[Outcome]:
        """An outcome for each row.

        Args:
            metric: Which of the metrics asks.
            predictions: The columns, as MLflow passes them.
            prompts: See ``predictions``.
            references: See ``predictions``; None where the table has none.
        """
        rows = len(predictions)
        if prompts is _MISSING:
            raise JudgeUnavailableError(
                f"The table has no column {self._prompt!r}, from which to take the prompts; nothing was judged.",
                hint='Name the column, as in principle_metric(..., prompt="question").',
            )
        # In the first call MLflow cuts some columns to one row and leaves others whole.
        columns = [list(column)[:rows] if column is not None else [None] * rows for column in (prompts, references)]
        return self._judged(
            metric,
            [
                _case(self._principle, index, *row)
                for index, row in enumerate(zip(list(predictions), *columns, strict=True))
            ],
        )

    def is_trial(self, metric: str | None) -> bool:
        """Whether the call that a metric was just served for was MLflow's trial call with the first row alone.

        Args:
            metric: The metric.
        """
        return len(self._digests) == 1 and self._served[metric] == 1

    def _judged(self, metric: str | None, cases: Sequence[Case | JudgeFailure]) -> list[Outcome]:
        judge = judge_or_default(self._judge)
        digests = [case.digest if isinstance(case, Case) else None for case in cases]
        calls = 2 if len(cases) == 1 else 1  # per evaluation: a table of one row is the trial call's row again
        if digests != self._digests or self._served[metric] >= calls:
            # The row of the trial calls, unless that was in an earlier evaluation.
            trial = self._outcomes if digests[:1] == self._digests and len(cases) > 1 else []
            self._outcomes = [*trial, *judge_all(judge, cases[len(trial) :])]
            self._digests = digests
            self._served.clear()
        self._served[metric] += 1
        return self._outcomes


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


def _aggregates(outcomes: Sequence[Outcome], scale: ScoreScale) -> dict[str, float]:
    judged = [score for outcome in outcomes if (score := _score(outcome, scale)) is not None]
    abstained = sum(isinstance(outcome, Abstention) for outcome in outcomes)
    aggregates: dict[str, float] = {"judged": len(judged), "failures": len(outcomes) - len(judged) - abstained}
    if abstained:
        aggregates["abstained"] = abstained
    if judged:
        aggregates |= {
            "mean": statistics.fmean(judged),
            "variance": statistics.pvariance(judged),
            "p90": _p90(judged),
        }
    return aggregates


def _score(outcome: Outcome, scale: ScoreScale) -> float | None:
    return next(iter(scores_of(outcome, scale).values())) if isinstance(outcome, Verdict) else None


def _justification(outcome: Outcome) -> str:
    return outcome.explanation if isinstance(outcome, Verdict) else outcome.summary


def _p90(values: Sequence[float]) -> float:
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=10, method="inclusive")[-1]
