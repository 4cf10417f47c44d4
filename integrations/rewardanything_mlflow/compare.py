"""Which of several evaluation runs has the better responses, row by row."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import mlflow
import numpy as np
from mlflow.entities import Run, Trace

from rewardanything_core import (
    Abstention,
    BaseJudge,
    Case,
    ConfigError,
    InvalidCaseError,
    JudgeFailure,
    Principle,
    Rubric,
    Verdict,
    resolve_judge,
)
from rewardanything_core.conversations import Response
from rewardanything_core.gate.inference import mean_interval
from rewardanything_core.ranking import ListScores, Ranking, analyse
from rewardanything_core.types import MAX_SCORE, MIN_SCORE
from rewardanything_mlflow.feedback import (
    ScoreScale,
    criterion_names,
    log_verdict,
    metric_name,
    on_criterion,
    scores_of,
)
from rewardanything_mlflow.fields import Selector, SelectorError, prompt_from, response_from
from rewardanything_mlflow.judging import Outcome, failure_of, judge_all, judge_or_default
from rewardanything_mlflow.run_records import TABLE_ROW
from rewardanything_mlflow.traces import conversation_from, inputs_and_outputs

EVAL_TABLE = "eval_results_table.json"
"""The artifact that holds the table of ``mlflow.evaluate``."""

COMPARISON_TABLE = "comparison.json"
"""The artifact that holds the table of `compare_runs`."""

MAX_LINKS = 100
"""Maximum number of traces that MLflow links to a run in one call."""


@dataclass(frozen=True, kw_only=True)
class MeanEstimate:
    """A mean over rows, with its confidence interval."""

    value: float
    """The mean over the judged rows."""

    low: float
    """Lower end of the interval."""

    high: float
    """Upper end of the interval."""


@dataclass(frozen=True, kw_only=True)
class RunFigures:
    """How several runs compare, under a principle or one criterion of a rubric."""

    win_rates: dict[str, MeanEstimate]
    """label -> share of rows in which the judge ranked it first, 0..1. The labels are the runs' names. Responses with
    the same text share a win, and under a rubric those with the same score. The intervals of all figures are those of
    `mean_interval`."""

    scores: dict[str, MeanEstimate]
    """label -> mean score."""

    gains: dict[str, MeanEstimate]
    """label -> mean difference of its score from the first run's, row by row; the first run has none."""

    ranking: Ranking | None
    """The runs by strength, as ``ra-judge rank`` ranks files. It takes the orders of the judge as they are: with as
    many passes as there are runs, each response is in every position equally often. None: no row was judged."""


@dataclass(frozen=True, kw_only=True)
class RunComparison(RunFigures):
    """How several runs compare on the rows that all of them have."""

    run_id: str
    """The new run, which holds these figures as metrics and the rows as a table."""

    criteria: dict[str, RunFigures]
    """Criterion -> the figures under it; empty if the principle was not a rubric."""

    outcomes: list[Verdict | JudgeFailure]
    """One for each row, in the first run's order."""

    unmatched: int
    """Number of rows that were left out because not every run has them."""

    @property
    def failures(self) -> int:
        """Number of rows that could not be judged; the figures do not include them."""
        return sum(isinstance(outcome, JudgeFailure) for outcome in self.outcomes) - self.abstained

    @property
    def abstained(self) -> int:
        """Number of rows that a cascade left to a person; the figures do not include them."""
        return sum(isinstance(outcome, Abstention) for outcome in self.outcomes)


@dataclass(frozen=True, kw_only=True)
class _EvaluatedRow:
    inputs: Any
    outputs: Any
    trace: Trace | None = None

    @property
    def trace_id(self) -> str | None:
        return self.trace.info.trace_id if self.trace else None


def compare_runs(
    runs: Sequence[str | Run | Any],
    *,
    principle: Principle | str,
    judge: BaseJudge | str | None = None,
    name: str | None = None,
    on: Literal["row", "trace"] = "row",
    scale: ScoreScale = "raw",
    prompt: Selector | None = None,
    response: Selector | None = None,
    confidence: float = 0.95,
) -> RunComparison:
    """Judge the runs' responses to the same inputs side by side, with one listwise verdict for each row.

    The runs are those of `mlflow.genai.evaluate` (their traces) or `mlflow.evaluate` (their tables, with the columns
    ``inputs`` and ``outputs``). Each trace gets its score and the reasoning as feedback ``name_compared``. A new run
    gets the figures and links to the traces. The criteria of a rubric have figures and feedback of their own, named
    ``name_compared.criterion``.

    Args:
        runs: Two or more: run ids, `mlflow.entities.Run`, or results of an evaluation.
        principle: What to judge by.
        judge: The judge, or a model string such as ``openai:/gpt-5-mini``. None: the process's default judge.
        name: The name of the figures and the feedback. None: the principle's name.
        on: ``row`` judges the outputs, and ``trace`` all that the traces record: what agents said and did.
        scale: ``raw`` for 1..5, ``normalized`` for 0..1.
        prompt: Where the prompt is in the inputs: a key, a dotted path or a function. None: the inputs are the prompt,
            or a dict with it as the only field.
        response: Where the response is in the outputs, likewise; not with ``on="trace"``.
        confidence: Coverage of the intervals, in (0, 1).

    Raises:
        ValueError: there are not two different runs, or no row that all of them have.
        ConfigError: the judge is neither a judge nor a model string, ``prompt`` or ``response`` fits no row, or
            ``response`` is given with ``on="trace"``.
        JudgeUnavailableError: there is no judge, or it cannot be used with its settings.
    """
    principle = Principle.of(principle)
    judge = resolve_judge(judge)
    name = metric_name(principle, name)
    if on not in ("row", "trace"):
        raise ConfigError(f"on must be 'row' or 'trace', not {on!r}.")
    if on == "trace" and response is not None:
        raise ConfigError("on='trace' judges whole traces; leave out response=.")
    compared = [run if isinstance(run, Run) else mlflow.get_run(getattr(run, "run_id", run)) for run in runs]
    if len({run.info.run_id for run in compared}) < max(2, len(compared)):
        raise ValueError("compare_runs needs two or more different runs.")
    tables = dict(zip(_labels(compared), map(_rows, compared), strict=True))
    first = next(iter(tables.values()))
    shared = [key for key in first if all(key in table for table in tables.values())]
    unmatched = len({key for table in tables.values() for key in table}) - len(shared)
    if not shared:
        raise ValueError("The runs have no inputs in common; their rows are matched by equal inputs.")
    rows = [{label: table[key] for label, table in tables.items()} for key in shared]
    cases = _cases(principle, rows, prompt, _whole_run if on == "trace" else _outputs(response))
    outcomes = judge_all(judge_or_default(judge), cases)
    with mlflow.start_run(run_name=f"compare {name}", nested=mlflow.active_run() is not None) as run:
        comparison = RunComparison(
            run_id=run.info.run_id,
            outcomes=outcomes,
            unmatched=unmatched,
            criteria=_criteria_figures(principle, list(tables), cases, outcomes, scale, confidence),
            **vars(_figures(list(tables), cases, outcomes, scale, confidence)),
        )
        _log_run(comparison, name, principle, dict(zip(tables, compared, strict=True)), rows)
    for row, outcome in zip(rows, outcomes, strict=True):
        for label, evaluated in row.items():
            if evaluated.trace_id is not None:
                log_verdict(
                    outcome,
                    trace_id=evaluated.trace_id,
                    name=f"{name}_compared",
                    label=label,
                    scale=scale,
                    principle=principle,
                )
    traces = [evaluated.trace_id for row in rows for evaluated in row.values() if evaluated.trace_id is not None]
    for start in range(0, len(traces), MAX_LINKS):
        mlflow.MlflowClient().link_traces_to_run(traces[start : start + MAX_LINKS], comparison.run_id)
    return comparison


def _labels(runs: Sequence[Run]) -> list[str]:
    """The runs' names, followed by the start of the id where names are equal."""
    names = [metric_name(Principle("-"), run.info.run_name or run.info.run_id) for run in runs]
    count = Counter(names)
    return [
        name if count[name] == 1 else f"{name} {run.info.run_id[:8]}" for name, run in zip(names, runs, strict=True)
    ]


def _rows(run: Run) -> dict[tuple[str, int], _EvaluatedRow]:
    """A run's rows by their inputs and a number that distinguishes rows with equal inputs."""
    traces: Any = mlflow.search_traces(
        locations=[run.info.experiment_id],
        run_id=run.info.run_id,
        return_type="list",
        order_by=["timestamp_ms ASC"],
    )
    # A table's rows have traces of their own, besides those of a model that was evaluated.
    of_table = [trace for trace in traces if TABLE_ROW in trace.info.tags]
    rows = [_row_of_trace(trace) for trace in of_table or traces] or list(_rows_of_table(run))
    if not rows:
        raise ValueError(f"Run {run.info.run_id} has neither traces nor the table {EVAL_TABLE}.")
    count: Counter[str] = Counter()
    by_inputs = {}
    for row in rows:
        key = json.dumps(row.inputs, sort_keys=True, default=str)
        by_inputs[key, count[key]] = row
        count[key] += 1
    return by_inputs


def _row_of_trace(trace: Trace) -> _EvaluatedRow:
    inputs, outputs = inputs_and_outputs(trace)
    return _EvaluatedRow(inputs=inputs, outputs=outputs, trace=trace)


def _rows_of_table(run: Run) -> Iterable[_EvaluatedRow]:
    if EVAL_TABLE in {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}:
        table = mlflow.load_table(EVAL_TABLE, run_ids=[run.info.run_id])
        for row in table.to_dict("records"):
            yield _EvaluatedRow(inputs=row.get("inputs", row), outputs=row.get("outputs", row))


def _cases(
    principle: Principle,
    rows: Sequence[Mapping[str, _EvaluatedRow]],
    prompt: Selector | None,
    response_of: Callable[[_EvaluatedRow], Response],
) -> list[Case | JudgeFailure]:
    """A case for each row, or its failure; a selector that fits no row at all is a mistake in the call."""
    cases: list[Case | JudgeFailure] = []
    errors: list[InvalidCaseError] = []
    for row in rows:
        first = next(iter(row.values()))
        try:
            responses = {label: response_of(evaluated) for label, evaluated in row.items()}
            cases.append(Case(principle, prompt_from(first.inputs, prompt), responses, id=first.trace_id))
        except InvalidCaseError as error:
            errors.append(error)
            cases.append(failure_of(error, first.trace_id))
    if len(errors) == len(rows) and all(isinstance(error, SelectorError) for error in errors):
        raise ConfigError(f"{errors[0].message} No row fits it.") from errors[0]
    return cases


def _outputs(selector: Selector | None) -> Callable[[_EvaluatedRow], Response]:
    return lambda row: response_from(row.outputs, selector)


def _whole_run(row: _EvaluatedRow) -> Response:
    """What a row's trace records after the prompt; the agent's own instructions, which precede that, are left out."""
    return conversation_from([row.trace] if row.trace else [])[1]


def _criteria_figures(
    principle: Principle,
    labels: Sequence[str],
    cases: Sequence[Case | JudgeFailure],
    outcomes: Sequence[Outcome],
    scale: ScoreScale,
    confidence: float,
) -> dict[str, RunFigures]:
    return {
        criterion: _figures(labels, cases, on_criterion(outcomes, criterion), scale, confidence)
        for criterion in (principle.criteria if isinstance(principle, Rubric) else ())
    }


def _figures(
    labels: Sequence[str],
    cases: Sequence[Case | JudgeFailure],
    outcomes: Sequence[Outcome],
    scale: ScoreScale,
    confidence: float,
) -> RunFigures:
    judged = [(c, o) for c, o in zip(cases, outcomes, strict=True) if isinstance(c, Case) and isinstance(o, Verdict)]
    if not judged:
        return RunFigures(win_rates={}, scores={}, gains={}, ranking=None)
    scores = np.array([[scores_of(verdict, scale)[label] for label in labels] for _, verdict in judged])
    wins = np.array([_wins(case, verdict, labels) for case, verdict in judged])
    gains = scores - scores[:, :1]
    low, high = (MIN_SCORE, MAX_SCORE) if scale == "raw" else (0.0, 1.0)

    def estimate(values: Any, low: float, high: float) -> MeanEstimate:
        ends = mean_interval(values, low=low, high=high, confidence=confidence)
        return MeanEstimate(value=float(values.mean()), low=ends[0], high=ends[1])

    return RunFigures(
        win_rates={label: estimate(wins[:, i], 0.0, 1.0) for i, label in enumerate(labels)},
        scores={label: estimate(scores[:, i], low, high) for i, label in enumerate(labels)},
        gains={label: estimate(gains[:, i], low - high, high - low) for i, label in enumerate(labels) if i},
        ranking=analyse(labels, [ListScores.of(case, verdict) for case, verdict in judged]),
    )


def _wins(case: Case, verdict: Verdict, labels: Sequence[str]) -> list[float]:
    """The share of a row's win for each label."""
    best = verdict.best
    # Under a rubric the ranking follows from the scores, and so says nothing about equal ones.
    ties = isinstance(case.principle, Rubric)
    first = [
        case.responses[label] == case.responses[best]
        or (ties and math.isclose(verdict.scores[label], verdict.scores[best], abs_tol=1e-9))
        for label in labels
    ]
    return [is_first / sum(first) for is_first in first]


def _log_run(comparison: RunComparison, name: str, principle: Principle, runs: Mapping[str, Run], rows: Any) -> None:
    """Log the figures as metrics, the runs as parameters and the rows as a table."""
    metrics: dict[str, float] = {
        f"{name}/rows": len(comparison.outcomes) - comparison.failures,
        f"{name}/failures": comparison.failures,
        f"{name}/unmatched": comparison.unmatched,
    }
    metrics |= _metrics(name, comparison)
    names = criterion_names(comparison.criteria, name)
    for criterion, figures in comparison.criteria.items():
        metrics |= _metrics(names[criterion], figures)
    mlflow.log_metrics(metrics)
    mlflow.log_params({f"run/{label}": run.info.run_id for label, run in runs.items()})
    if isinstance(principle, Rubric):
        mlflow.log_dict(principle.to_json(), "rubric.json")
    else:
        mlflow.log_text(principle.text, "principle.md")
    columns: dict[str, list[Any]] = {"inputs": [], "best": []}
    for row, outcome in zip(rows, comparison.outcomes, strict=True):
        verdict = outcome if isinstance(outcome, Verdict) else None
        columns["inputs"].append(next(iter(row.values())).inputs)
        columns["best"].append(verdict.best if verdict else None)
        for label in runs:
            columns.setdefault(f"{label}/outputs", []).append(row[label].outputs)
            columns.setdefault(f"{label}/score", []).append(verdict.scores[label] if verdict else None)
            for criterion in names:
                score = verdict.criteria[criterion].scores[label] if verdict else None
                columns.setdefault(f"{label}/{criterion}/score", []).append(score)
        columns.setdefault("reasoning", []).append(verdict.explanation if verdict else None)
        columns.setdefault("error", []).append(outcome.summary if isinstance(outcome, JudgeFailure) else None)
    mlflow.log_table(columns, COMPARISON_TABLE)


def _metrics(name: str, figures: RunFigures) -> dict[str, float]:
    metrics = {}
    for figure, by_label in (("win_rate", figures.win_rates), ("score", figures.scores), ("gain", figures.gains)):
        for label, estimate in by_label.items():
            metrics[f"{name}/{label}/{figure}"] = estimate.value
            metrics[f"{name}/{label}/{figure}_low"] = estimate.low
            metrics[f"{name}/{label}/{figure}_high"] = estimate.high
    for system in figures.ranking.systems if figures.ranking else ():
        metrics[f"{name}/{system.name}/strength"] = system.strength
        metrics[f"{name}/{system.name}/strength_low"] = system.low
        metrics[f"{name}/{system.name}/strength_high"] = system.high
        metrics[f"{name}/{system.name}/p_best"] = system.best
    return metrics
