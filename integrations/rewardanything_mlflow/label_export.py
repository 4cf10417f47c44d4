"""People's labels from ``ra-judge view`` as assessments of MLflow traces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.entities import AssessmentSource, AssessmentSourceType

from rewardanything_core import ConfigError
from rewardanything_core.bench.reading import read_rows

_TRACE_ID = "tr-"


def log_labels(source: str | Path, *, experiment: str | None = None, name: str = "label") -> int:
    """Log the decisions in a file of labels as feedback whose source is HUMAN, with the notes as rationales.

    A case whose id is that of a trace, as `PrincipleScorer` sets it, gets its feedback there; otherwise a new trace has
    the prompt and the response. A score is a number from 1 to 5. A preference between several responses is the name of
    the better one, or ``tie``, on a trace with all of them.

    Args:
        source: ``labels.jsonl``, as ``ra-judge view`` exports it.
        experiment: The experiment of new traces. None: the active one.
        name: Name of the feedback.

    Returns:
        The number of assessments.

    Raises:
        ConfigError: the file cannot be read, or a row has no decisions.
    """
    path = Path(source)
    if not path.is_file():
        raise ConfigError(f"There is no file {source}.")
    rows = list(read_rows(path))
    for where, row in rows:  # before anything is logged
        if not isinstance(row.get("decisions"), list) or "prompt" not in row:
            raise ConfigError(f"{where} has no 'decisions'.", hint="Export the labels with ra-judge view.")
    experiment_id = None if experiment is None else _experiment_id(experiment)
    mlflow.flush_trace_async_logging()  # traces of this process may still be on their way
    number = 0
    for _, row in rows:
        for response, decisions in _by_response(row):
            trace_id = _trace_of(row, response, experiment_id)
            for decision, value in decisions:
                mlflow.log_feedback(
                    trace_id=trace_id,
                    name=name,
                    value=value,
                    rationale=decision.get("note") or None,
                    source=AssessmentSource(source_type=AssessmentSourceType.HUMAN, source_id=decision["person"]),
                    metadata={
                        "guideline": str(row.get("principle", "")),
                        "blind": str(decision.get("blind")),
                        "decided": str(decision.get("created")),
                    },
                )
                number += 1
    return number


def _by_response(row: Mapping[str, Any]) -> Iterator[tuple[Any, list[tuple[Mapping[str, Any], float | str]]]]:
    """What a trace is to have as its outputs, with the decisions about it and their values."""
    if row.get("response") is not None:
        yield (
            row["response"],
            [(one, score) for one in row["decisions"] for score in (one.get("scores") or {}).values()],
        )
        return
    responses: Mapping[str, Any] = row["responses"]
    for label, response in responses.items():
        scored = [(one, one["scores"][label]) for one in row["decisions"] if label in (one.get("scores") or {})]
        if scored:
            yield response, scored
    if preferred := [(one, one["winner"]) for one in row["decisions"] if one.get("winner") is not None]:
        yield dict(responses), preferred


def _trace_of(row: Mapping[str, Any], response: Any, experiment_id: str | None) -> str:
    """The id of the trace that a row is about, or of a new one with its prompt and this response."""
    row_id = str(row.get("id", ""))
    if (
        row.get("response") is not None
        and row_id.startswith(_TRACE_ID)
        and mlflow.get_trace(row_id, silent=True) is not None
    ):
        return row_id
    prompt = row["prompt"]
    inputs = {"messages": prompt} if isinstance(prompt, list) else {"prompt": prompt}
    span = mlflow.start_span_no_context(name="labelled case", inputs=inputs, experiment_id=experiment_id)
    span.set_outputs(response)
    span.end()
    mlflow.flush_trace_async_logging()
    return str(span.trace_id)


def _experiment_id(name: str) -> str:
    found = mlflow.get_experiment_by_name(name)
    return str(found.experiment_id if found else mlflow.create_experiment(name))
