"""Labels of the viewer as human feedback in MLflow, read back by what reads people's feedback."""

from __future__ import annotations

import json
from pathlib import Path

import mlflow
import pytest
from mlflow_stores import own_experiment, tracking_store

from rewardanything_core import Case, ConfigError
from rewardanything_core.store.labels import Label
from rewardanything_core.viewer.export import json_lines, label_rows
from rewardanything_mlflow import labels_from_mlflow, log_labels

tracking = pytest.fixture(scope="module")(tracking_store)
experiment = pytest.fixture(autouse=True)(own_experiment)


def exported(path: Path, *labels: Label) -> Path:
    path.write_bytes(b"".join(json_lines(label_rows(labels))))
    return path


def test_labels_become_human_feedback_on_their_trace_or_on_a_new_one(experiment, tmp_path) -> None:
    with mlflow.start_span("app") as span:
        span.set_inputs({"question": "Where is my refund?"})
        span.set_outputs("On its way.")
    traced = Case("Be polite.", "Where is my refund?", ["On its way."], id=span.trace_id)
    other = Case("Be polite.", "Hello?", {"a": "Hi!", "b": "What?"}, id="q2")
    path = exported(
        tmp_path / "labels.jsonl",
        Label(case=traced, person="Ann", scores={"0": 4}, note="friendly"),
        Label(case=traced, person="Bob", scores={"0": 2}),
        Label(case=other, person="Ann", winner="a"),
    )
    assert log_labels(path, name="manners") == 3
    (item,) = labels_from_mlflow([mlflow.get_trace(span.trace_id)], "manners", principle="Be polite.", scale=(1, 5))
    assert (item.human, item.comment) == ({"response": 3.0}, "friendly")
    new = [t for t in mlflow.search_traces(return_type="list") if t.info.trace_id != span.trace_id]
    (feedback,) = new[0].info.assessments
    assert (feedback.value, feedback.source.source_type, feedback.source.source_id) == ("a", "HUMAN", "Ann")
    assert json.loads(new[0].data.request) == {"prompt": "Hello?"}


def test_a_file_without_decisions_logs_nothing(tmp_path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_text('{"prompt": "p", "response": "r", "score": 1}\n')
    with pytest.raises(ConfigError, match="no 'decisions'"):
        log_labels(path)
    with pytest.raises(ConfigError, match="no file"):
        log_labels(tmp_path / "other.jsonl")
