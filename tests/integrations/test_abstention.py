"""A case that a cascade leaves to a person is shown as that by every host: never a number, and no failure."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path

import cascades
import dspy
import pandas as pd
import pytest
from cascades import SURE, UNSURE, stage
from serving import serving
from typer.testing import CliRunner

from rewardanything_core import Abstention, Cascade
from rewardanything_core.bench.running import run_bench
from rewardanything_core.bench.training_items import read_training_items
from rewardanything_core.cli.app import app
from rewardanything_core.gate import check
from rewardanything_core.gate.reports.junit import junit_report
from rewardanything_core.tables.frames import judge_frames
from rewardanything_dspy import NotJudged, PrincipleMetric
from rewardanything_langchain import PrincipleEvaluator, principle_evaluator
from rewardanything_mlflow import PrincipleScorer
from rewardanything_mlflow.metric import _aggregates, _score
from rewardanything_pytest import messages
from rewardanything_rl import PrincipleReward


def unsure() -> Cascade:
    """Leaves cases that the cheap judge is not sure of to a person."""
    return Cascade([stage(cascades.cheap), stage(cascades.unsure)], thresholds=[0.9, 0.9], abstain=True)


def never() -> Cascade:
    """Leaves everything to a person."""
    return unsure().with_thresholds([None, None])


def test_graded_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = cascades.SETTINGS.format(judge="abstain = true", first="threshold = 0.9")
    Path("ra-judge.toml").write_text(settings.replace(":strong", ":unsure") + "threshold = 0.9\n")
    Path("in.jsonl").write_text("".join(f"{json.dumps(cascades.ROWS[n])}\n" for n in (1, 3, 2)))
    arguments = ["grade", "in.jsonl", "-o", "out.jsonl", "--principle", "Be good."]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output  # nothing failed
    assert "1 left to a person, 0 failed" in done.stderr
    rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert rows[1]["error"].startswith("Abstained: No judge was sure enough, so a person is to decide.")
    assert rows[1]["scores"] is rows[1]["best"] is None
    assert rows[0]["error"] is rows[2]["error"] is None
    again = CliRunner().invoke(app, [*arguments, "--retry-failed"])
    assert "2 done before" in again.stderr
    assert "1 left to a person" in again.stderr


def test_data_frames() -> None:
    frame = pd.DataFrame({"prompt": [SURE["prompt"], UNSURE["prompt"]], "responses": [SURE["responses"]] * 2})
    (out,) = judge_frames([frame], principle="Be good.", judge=unsure())
    assert out.scores.notna().tolist() == [True, False]
    assert out.error[1].startswith("Abstained: ")


def test_benchmarks(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in cascades.ROWS[:9]))
    report = run_bench(unsure(), read_training_items([str(tmp_path / "labels.jsonl")], principle="Be good."))
    assert (report.abstained, report.failures, report.exit_code) == (3, (), 0)
    for name in ("pairwise_accuracy", "pairwise_accuracy_failures_wrong"):
        assert (report.figures[name].value, report.figures[name].n) == (1.0, 6)
    assert "3 of 9 judgements were left to a person, and no figure includes them." in report.notes
    assert report.to_dict()["abstained"] == 3


def test_checks() -> None:
    rows = [{"id": str(n), "prompt": f"q{n}", "response": f"good {n}"} for n in range(1, 13)]
    report = check(rows, [row | {"response": row["response"] + " bad"} for row in rows], "Be good.", judge=never())
    assert {type(pair.failure) for pair in report.failures} == {Abstention}
    tests = ET.fromstring(junit_report(report)).iter("skipped")
    assert all(test.get("message").startswith("Abstained: ") for test in tests)


def test_mlflow() -> None:
    feedback = PrincipleScorer(principle="Be good.", judge=never())(inputs={"q": "q1"}, outputs="good 1")
    (feedback,) = feedback if isinstance(feedback, list) else [feedback]
    assert feedback.value is None
    assert feedback.error.error_code == "AbstainedError"
    outcomes = unsure().judge_batch([SURE, UNSURE])
    assert _aggregates(outcomes, "raw") == {"judged": 1, "failures": 0, "abstained": 1, **_of_one(4.5)}
    assert [_score(outcome, "raw") for outcome in outcomes] == [4.5, None]


def _of_one(score: float) -> dict[str, float]:
    return {"mean": score, "variance": 0.0, "p90": score}


def test_dspy() -> None:
    metric = PrincipleMetric("Be good.", judge=never(), max_failures=1)  # the first failure would stop the run
    score = metric(dspy.Example(question="q1").with_inputs("question"), dspy.Prediction(answer="good"))
    assert isinstance(score, NotJudged)
    assert math.isnan(score)
    assert score.error.startswith("Abstained: ")


def test_langchain() -> None:
    result = PrincipleEvaluator(principle="Be good.", judge=never()).evaluate_strings(input="q1", prediction="good")
    assert (result["score"], result["value"]) == (None, None)
    assert result["reasoning"].startswith("Not judged. Abstained: ")
    result = principle_evaluator("Be good.", judge=never())(inputs={"q": "q1"}, outputs={"a": "good"})
    assert result["score"] is None
    assert result["metadata"]["error_type"] == "AbstainedError"


def test_trl() -> None:
    reward = PrincipleReward("Be good.", judge=unsure(), max_failed_calls=1, on_failure="raise")
    assert reward(["q1", "q1"], ["good", "bad"])[0] > 0.5
    assert reward(["q3", "q3"], ["good", "bad"]) == [None, None]


def test_pytest() -> None:
    text = messages.not_judged(never().judge_batch([SURE]), total=1, when="", verbose=False)
    assert text.startswith("was left to a person: no judge was sure enough in 1 of 1 judgements")


def test_the_server() -> None:
    with serving(never()) as server:
        answer = server.client.post("/v1/judge", json=SURE)
        body = answer.json()["error"]
        assert (answer.status_code, body["type"]) == (422, "abstained")
        assert body["failure"]["error_type"] == "AbstainedError"
        assert body["failure"]["stages"] is None  # failures of stages may name hosts
