"""Which of several runs answers better, row by row."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import mlflow
import numpy as np
from mlflow.entities import Run, Trace

from rewardanything_core import BaseJudge, Case, InvalidCaseError, JudgeFailure, Principle, Verdict, default_judge
from rewardanything_mlflow.feedback import Scale, log_verdict, name_of, scores_of
from rewardanything_mlflow.fields import Selector, prompt_from, responses_from
from rewardanything_mlflow.judges import Outcome, judge_all

EVAL_TABLE = "eval_results_table.json"
"""Where ``mlflow.evaluate`` puts its table."""

TABLE = "comparison.json"
"""Where `compare_runs` puts its own."""

MOST_LINKS = 100
"""How many traces MLflow links to a run at a time."""

RESAMPLES = 2000
"""Draws of the bootstrap."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over rows, with its confidence interval."""

    value: float
    """The mean over the judged rows."""

    low: float
    """Lower end of the interval."""

    high: float
    """Upper end of the interval."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How several runs did on the rows that all of them have."""

    run_id: str
    """The new run, which holds these figures as metrics and the rows as a table."""

    win_rates: dict[str, Estimate]
    """label -> share of rows in which the judge put it first, 0..1, with a Wilson interval. The labels are the runs'
    names. Responses that are the same text share a win."""

    scores: dict[str, Estimate]
    """label -> mean score, with a percentile bootstrap interval over rows."""

    gains: dict[str, Estimate]
    """label -> mean difference of its score from the first run's, row by row, with such an interval; not for the
    first run."""

    outcomes: list[Verdict | JudgeFailure]
    """One for each row, in the first run's order."""

    unmatched: int
    """How many rows were left out because not every run has them."""

    @property
    def failures(self) -> int:
        """How many rows could not be judged; no figure counts them."""
        return sum(isinstance(outcome, JudgeFailure) for outcome in self.outcomes)


@dataclass(frozen=True, kw_only=True)
class _Row:
    inputs: Any
    outputs: Any
    trace_id: str | None


def compare_runs(
    runs: Sequence[str | Run | Any],
    *,
    principle: Principle | str,
    judge: BaseJudge | None = None,
    name: str | None = None,
    scale: Scale = "raw",
    prompt: Selector | None = None,
    response: Selector | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Judge the runs' responses to the same inputs side by side, one listwise verdict a row.

    The runs are those of `mlflow.genai.evaluate` (their traces) or `mlflow.evaluate` (their tables, with the columns
    ``inputs`` and ``outputs``). Each trace gets its score and the reasoning as feedback ``name_compared``; a new run
    gets the figures and shows the traces.

    Args:
        runs: Two or more: run ids, `mlflow.entities.Run`, or what an evaluation returned.
        principle: What to prefer.
        judge: The judge. None: one `load_judge()` for the process.
        name: What the figures and the feedback are called. None: the principle's name.
        scale: ``raw`` for 1..5, ``normalized`` for 0..1.
        prompt: Where the prompt is in the inputs: a key, a dotted path or a function. None: where it is obvious.
        response: Where the response is in the outputs, likewise.
        confidence: Coverage of the intervals, in (0, 1).
        seed: Seed of the bootstrap.

    Raises:
        ValueError: there are not two runs, or no row that all of them have.
    """
    principle, name = Principle.of(principle), name_of(Principle.of(principle), name)
    found = [run if isinstance(run, Run) else mlflow.get_run(getattr(run, "run_id", run)) for run in runs]
    if len({run.info.run_id for run in found}) < 2 or len({run.info.run_id for run in found}) < len(found):
        raise ValueError("compare_runs needs two or more different runs.")
    tables = dict(zip(_labels(found), map(_rows, found), strict=True))
    first = next(iter(tables.values()))
    shared = [key for key in first if all(key in table for table in tables.values())]
    unmatched = len({key for table in tables.values() for key in table}) - len(shared)
    if not shared:
        raise ValueError("The runs have no inputs in common; their rows are matched by equal inputs.")
    rows = [{label: table[key] for label, table in tables.items()} for key in shared]
    cases = [_case(principle, row, prompt, response) for row in rows]
    outcomes = judge_all(judge or default_judge(), cases)
    with mlflow.start_run(run_name=f"compare {name}", nested=mlflow.active_run() is not None) as run:
        comparison = Comparison(
            run_id=run.info.run_id,
            outcomes=outcomes,
            unmatched=unmatched,
            **_figures(list(tables), cases, outcomes, scale, confidence, seed),
        )
        _log_run(comparison, name, principle, dict(zip(tables, found, strict=True)), rows)
    for row, outcome in zip(rows, outcomes, strict=True):
        for label, cell in row.items():
            if cell.trace_id is not None:
                log_verdict(outcome, trace_id=cell.trace_id, name=f"{name}_compared", label=label, scale=scale)
    traces = [cell.trace_id for row in rows for cell in row.values() if cell.trace_id is not None]
    for start in range(0, len(traces), MOST_LINKS):
        mlflow.MlflowClient().link_traces_to_run(traces[start : start + MOST_LINKS], comparison.run_id)
    return comparison


def _labels(runs: Sequence[Run]) -> list[str]:
    """The runs' names, with a piece of the id where two are the same."""
    names = [name_of(Principle("-"), run.info.run_name or run.info.run_id) for run in runs]
    seen = Counter(names)
    return [n if seen[n] == 1 else f"{n} {run.info.run_id[:8]}" for n, run in zip(names, runs, strict=True)]


def _rows(run: Run) -> dict[tuple[str, int], _Row]:
    """A run's rows by their inputs; rows with the same inputs are numbered."""
    traces: Any = mlflow.search_traces(
        locations=[run.info.experiment_id],
        run_id=run.info.run_id,
        return_type="list",
        order_by=["timestamp_ms ASC"],
    )
    rows = [_traced(trace) for trace in traces] or list(_tabled(run))
    if not rows:
        raise ValueError(f"Run {run.info.run_id} has neither traces nor the table {EVAL_TABLE}.")
    counted: Counter[str] = Counter()
    keyed = {}
    for row in rows:
        key = json.dumps(row.inputs, sort_keys=True, default=str)
        keyed[key, counted[key]] = row
        counted[key] += 1
    return keyed


def _traced(trace: Trace) -> _Row:
    root = next((span for span in trace.data.spans if span.parent_id is None), None)
    return _Row(
        inputs=root.inputs if root else None, outputs=root.outputs if root else None, trace_id=trace.info.trace_id
    )


def _tabled(run: Run) -> Iterable[_Row]:
    if EVAL_TABLE in {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}:
        table = mlflow.load_table(EVAL_TABLE, run_ids=[run.info.run_id])
        for row in table.to_dict("records"):
            yield _Row(inputs=row.get("inputs", row), outputs=row.get("outputs", row), trace_id=None)


def _case(
    principle: Principle, row: Mapping[str, _Row], prompt: Selector | None, response: Selector | None
) -> Case | JudgeFailure:
    first = next(iter(row.values()))
    try:
        responses = {label: responses_from(cell.outputs, response) for label, cell in row.items()}
        return Case(principle, prompt_from(first.inputs, prompt), responses, id=first.trace_id)  # type: ignore[arg-type]
    except InvalidCaseError as error:
        return JudgeFailure(case_id=first.trace_id, error_type=type(error).__name__, message=str(error))


def _figures(
    labels: Sequence[str],
    cases: Sequence[Case | JudgeFailure],
    outcomes: Sequence[Outcome],
    scale: Scale,
    confidence: float,
    seed: int,
) -> dict[str, dict[str, Estimate]]:
    judged = [(c, o) for c, o in zip(cases, outcomes, strict=True) if isinstance(c, Case) and isinstance(o, Verdict)]
    if not judged:
        return {"win_rates": {}, "scores": {}, "gains": {}}
    scores = np.array([[scores_of(verdict, scale)[label] for label in labels] for _, verdict in judged])
    wins = np.array([_wins(case, verdict, labels) for case, verdict in judged]).sum(axis=0)
    drawn = np.random.default_rng(seed).integers(0, len(judged), size=(RESAMPLES, len(judged)))
    gains = scores - scores[:, :1]
    return {
        "win_rates": {label: _wilson(won, len(judged), confidence) for label, won in zip(labels, wins, strict=True)},
        "scores": {label: _bootstrap(scores[:, i], drawn, confidence) for i, label in enumerate(labels)},
        "gains": {label: _bootstrap(gains[:, i], drawn, confidence) for i, label in enumerate(labels) if i},
    }


def _wins(case: Case, verdict: Verdict, labels: Sequence[str]) -> list[float]:
    best = [case.responses[label] == case.responses[verdict.best] for label in labels]
    return [won / sum(best) for won in best]


def _wilson(wins: float, rows: int, confidence: float) -> Estimate:
    z, share = NormalDist().inv_cdf(0.5 + confidence / 2), wins / rows
    middle = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    reach = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) / (1 + z * z / rows)
    return Estimate(value=float(share), low=max(0.0, float(middle - reach)), high=min(1.0, float(middle + reach)))


def _bootstrap(values: Any, drawn: Any, confidence: float) -> Estimate:
    means = values[drawn].mean(axis=1)
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Estimate(value=float(values.mean()), low=float(low), high=float(high))


def _log_run(comparison: Comparison, name: str, principle: Principle, runs: Mapping[str, Run], rows: Any) -> None:
    """Figures as metrics, the runs as parameters, the rows as a table."""
    metrics: dict[str, float] = {
        f"{name}/rows": len(comparison.outcomes) - comparison.failures,
        f"{name}/failures": comparison.failures,
        f"{name}/unmatched": comparison.unmatched,
    }
    for figure, by_label in (("win_rate", "win_rates"), ("score", "scores"), ("gain", "gains")):
        for label, estimate in getattr(comparison, by_label).items():
            metrics[f"{name}/{label}/{figure}"] = estimate.value
            metrics[f"{name}/{label}/{figure}_low"] = estimate.low
            metrics[f"{name}/{label}/{figure}_high"] = estimate.high
    mlflow.log_metrics(metrics)
    mlflow.log_params({f"run/{label}": run.info.run_id for label, run in runs.items()})
    mlflow.log_text(principle.text, "principle.md")
    columns: dict[str, list[Any]] = {"inputs": [], "best": []}
    for row, outcome in zip(rows, comparison.outcomes, strict=True):
        verdict = outcome if isinstance(outcome, Verdict) else None
        columns["inputs"].append(next(iter(row.values())).inputs)
        columns["best"].append(verdict.best if verdict else None)
        for label in runs:
            columns.setdefault(f"{label}/outputs", []).append(row[label].outputs)
            columns.setdefault(f"{label}/score", []).append(verdict.scores[label] if verdict else None)
        columns.setdefault("reasoning", []).append(verdict.explanation if verdict else None)
        columns.setdefault("error", []).append(outcome.message if isinstance(outcome, JudgeFailure) else None)
    mlflow.log_table(columns, TABLE)
