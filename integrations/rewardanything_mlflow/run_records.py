"""What evaluations leave in a run besides scores: the principles, and a trace for each row of a table."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from typing import Any

import mlflow
from mlflow.entities import Run, SpanType
from mlflow.genai.evaluation import context

from rewardanything_core import Principle, Rubric
from rewardanything_mlflow.feedback import ScoreScale, log_verdict
from rewardanything_mlflow.judging import Outcome

_log = logging.getLogger("rewardanything_mlflow")

PRINCIPLES = "principles"
"""The folder of a run's artifacts with the principles that its rows were judged by."""

TABLE_ROW = "rewardanything.table_row"
"""The tag of a trace that represents a row of a table; its value is the row's number, from 0."""

_lock = threading.Lock()
_logged: set[tuple[str, str, str]] = set()


def log_principle(principle: Principle, name: str) -> None:
    """Log a principle as ``principles/<name>.md``, or a rubric as ``.json``, once in each run that is in progress.

    A run that cannot take it gets a warning in the log, since verdicts matter more.

    Args:
        principle: What is judged by.
        name: The name of the feedback.
    """
    run_id = _run_in_progress()
    if run_id is None:
        return
    is_rubric = isinstance(principle, Rubric)
    text = json.dumps(principle.to_json(), ensure_ascii=False, indent=2) if is_rubric else principle.text
    with _lock:
        if (run_id, name, text) in _logged:
            return
        _logged.add((run_id, name, text))
    client = mlflow.MlflowClient()
    try:
        if client.get_run(run_id).info.status == "RUNNING":
            client.log_text(run_id, text, f"{PRINCIPLES}/{name}.{'json' if is_rubric else 'md'}")
    except Exception as error:  # noqa: BLE001 - any storage may be behind it
        _log.warning("The principle of %s could not be logged to run %s: %s", name, run_id, error)


def _run_in_progress() -> str | None:
    """The run of this thread, or the one that ``mlflow.genai.evaluate`` fills from its threads."""
    if (run := mlflow.active_run()) is not None:
        run_id: str = run.info.run_id
        return run_id
    return context.get_context().get_mlflow_run_id() if context.context_is_active() else None


class RowTraces:
    """Traces of a table's rows in the run in progress, shared by the metrics of one call."""

    def __init__(self) -> None:
        self._traces: dict[str, list[str]] = {}

    def log(
        self,
        principle: Principle,
        name: str,
        scale: ScoreScale,
        prompts: Sequence[Any],
        outputs: Sequence[Any],
        outcomes: Sequence[Outcome],
    ) -> None:
        """Log each outcome as feedback on its row's trace, which the first metric makes.

        A run that cannot take it gets a warning in the log.

        Args:
            principle: What was judged by.
            name: The name of the feedback.
            scale: Its scale.
            prompts: The rows' prompts.
            outputs: The rows' responses.
            outcomes: The rows' outcomes.
        """
        run = mlflow.active_run()
        if run is None:
            return
        try:
            self._log(run, principle, name, scale, prompts, outputs, outcomes)
        except Exception as error:  # noqa: BLE001 - any storage may be behind it
            _log.warning("The rows' traces could not be logged to run %s: %s", run.info.run_id, error)

    def _log(
        self,
        run: Run,
        principle: Principle,
        name: str,
        scale: ScoreScale,
        prompts: Sequence[Any],
        outputs: Sequence[Any],
        outcomes: Sequence[Outcome],
    ) -> None:
        traces = self._traces.get(run.info.run_id, [])
        is_new = len(traces) != len(outcomes)
        if is_new:
            traces = self._traces[run.info.run_id] = []
        for row, outcome in enumerate(outcomes):
            if is_new:
                with mlflow.start_span("row", SpanType.CHAIN) as span:
                    span.set_inputs(prompts[row])
                    span.set_outputs(outputs[row])
                    mlflow.update_current_trace(tags={TABLE_ROW: str(row)})
                    traces.append(span.trace_id)
                    # On the trace in progress, feedback is stored together with it.
                    log_verdict(outcome, trace_id=span.trace_id, name=name, scale=scale, principle=principle)
            else:
                log_verdict(outcome, trace_id=traces[row], name=name, scale=scale, principle=principle)
        # MLflow stores traces from threads of its own. With those of the next evaluation they could take all of an
        # SQLite store's connections and wait for each other; see `check_store`.
        mlflow.flush_trace_async_logging()
