"""Rubrics in MLflow: one judgement of a row, and scores with reasoning for each criterion."""

from __future__ import annotations

import dataclasses
import json

import mlflow
import pandas as pd
import pytest
from checks import invoke, write_jsonl
from mlflow.entities import AssessmentSourceType
from mlflow_stores import own_experiment, tracking_store
from pydantic import BaseModel
from rubric_rows import BAD, GATED, GOOD, RUBRIC, one_criterion_missing
from servers import QUICK_FAULTS

import rewardanything_mlflow as ra
from rewardanything_core import ConfigError, Rubric, from_endpoint
from rewardanything_core.canary import Canary
from rewardanything_mlflow.feedback import criterion_names

NAMES = ["answers", "answers.faithful", "answers.brief"]


tracking = pytest.fixture(scope="module")(tracking_store)
experiment = pytest.fixture(autouse=True)(own_experiment)


@pytest.fixture
def judge(server, own_store):
    """A judge whose server fails now and then, and omits a criterion whenever it sees BAD."""
    server.reply = one_criterion_missing
    server.fault_rate, server.fault_kinds = 0.1, QUICK_FAULTS
    with from_endpoint("hosted_vllm/fake", api_base=server.url, api_key="x", store=own_store) as made:
        yield made


def rows(outputs):
    return [{"inputs": {"q": f"q{index}"}, "outputs": text} for index, text in enumerate(outputs)]


def requests(server, text):
    return sum(text in str(body["messages"]) for body in server.bodies)


def test_a_row_gets_feedback_for_the_whole_and_each_criterion(judge, server) -> None:
    server.fault_rate = 0
    result = mlflow.genai.evaluate(
        data=rows([GOOD, GATED, BAD]), scorers=[ra.PrincipleScorer(principle=RUBRIC, judge=judge)]
    )
    assert requests(server, GOOD) == requests(server, GATED) == 1
    assert result.metrics == {
        "answers/mean": (4 + 1) / 2,
        "answers/judged": 2,
        "answers.faithful/mean": 3.5,
        "answers.brief/mean": 2.5,
    }
    feedback = {}
    for trace_id in result.result_df["trace_id"]:
        trace = mlflow.get_trace(trace_id)
        assessments = {one.name: one for one in trace.info.assessments}
        assert sorted(assessments) == sorted(NAMES)
        feedback[trace.info.request_preview] = assessments
    gated = feedback['{"q": "q1"}']
    assert [gated[name].value for name in NAMES] == [1, 2, 4]
    assert gated["answers"].rationale.startswith("The response misses what the rubric requires: faithful (2).")
    assert gated["answers.brief"].rationale == "By brief in the text of the response."
    assert gated["answers"].metadata["missed"] == gated["answers.faithful"].metadata["missed"] == "faithful"
    assert "missed" not in gated["answers.brief"].metadata
    assert gated["answers.brief"].metadata["criterion"] == "brief"
    assert {one.source.source_type for one in gated.values()} == {AssessmentSourceType.LLM_JUDGE}
    assert gated["answers.brief"].metadata["record_id"] == gated["answers"].metadata["record_id"]
    for one in feedback['{"q": "q2"}'].values():
        assert one.feedback.value is None
        assert one.feedback.error.error_code == "VerdictParseError"


def test_faults_harm_their_own_rows_only(judge) -> None:
    outputs = [GOOD] * 20 + [BAD] + [GATED] * 20
    result = mlflow.genai.evaluate(
        data=rows(outputs), scorers=[ra.PrincipleScorer(principle=RUBRIC.to_json(), judge=judge)]
    )
    assert result.metrics["answers/judged"] == 40
    assert result.metrics["answers.faithful/mean"] == 3.5
    assert all(result.result_df[f"{name}/value"].isna().sum() == 1 for name in NAMES)


def test_a_threshold_holds_for_the_whole_and_requirements_for_criteria(judge) -> None:
    scorers = ra.principle_scorers(RUBRIC, judge=judge, threshold=0.5, scale="normalized")
    passed = mlflow.genai.evaluate(data=rows([GOOD]), scorers=scorers)
    assert passed.passed, passed.reason
    assert passed.metrics["answers.brief/mean"] == 0
    failed = mlflow.genai.evaluate(data=rows([GATED]), scorers=scorers)
    assert not failed.passed
    assert "answers.faithful: " in failed.reason and "answers: " in failed.reason and "brief:" not in failed.reason


def test_candidates_have_feedback_for_each_criterion(judge) -> None:
    scorer = ra.PrincipleScorer(principle=RUBRIC, judge=judge, candidates=True)
    feedback = {one.name: one.value for one in scorer(inputs="q", outputs={"x": GOOD, "y": GATED})}
    assert feedback == {
        "answers/x": 4, "answers/y": 1, "answers.faithful/x": 5, "answers.faithful/y": 2,
        "answers.brief/x": 1, "answers.brief/y": 4,
    }  # fmt: skip


@pytest.mark.parametrize("outputs", [[GOOD, BAD, GATED], [GOOD]])
def test_metrics_of_a_table_have_columns_for_each_criterion_from_one_judgement(judge, server, outputs) -> None:
    server.fault_rate = 0
    metrics = ra.principle_metrics(RUBRIC, judge=judge.with_options(cache="off"))
    assert [metric.name for metric in metrics] == NAMES
    data = pd.DataFrame({"inputs": [f"q{index}" for index in range(len(outputs))], "outputs": outputs})
    for evaluation in (1, 2):
        result = mlflow.models.evaluate(
            data=data, predictions="outputs", extra_metrics=list(metrics), evaluators="default"
        )
        assert requests(server, GOOD) == evaluation
    table = result.tables["eval_results_table"]
    assert table["answers.brief/score"][0] == 1
    assert table["answers.brief/justification"][0] == "By brief in the text of the response."
    assert result.metrics["answers.faithful/judged"] == len(set(outputs) - {BAD})
    if len(outputs) > 1:
        assert table["answers/score"].tolist()[::2] == [4, 1]
        assert all(pd.isna(table[f"{name}/score"][1]) for name in NAMES)
        assert all("VerdictParseError" in table[f"{name}/justification"][1] for name in NAMES)
        assert result.metrics["answers.faithful/mean"] == 3.5


def test_compared_runs_have_figures_for_each_criterion(judge) -> None:
    scorer = ra.PrincipleScorer(principle="Anything.", judge=judge)
    first = mlflow.genai.evaluate(data=rows([GOOD, GOOD, GATED]), scorers=[scorer])
    second = mlflow.genai.evaluate(data=rows([GATED, BAD, GATED + " too"]), scorers=[scorer])
    comparison = ra.compare_runs([first, second], principle=RUBRIC, judge=judge)
    assert comparison.failures == 1
    figures = {name: list(each.scores.values()) for name, each in comparison.criteria.items()}
    assert [estimate.value for estimate in figures["faithful"]] == [3.5, 2]
    assert [estimate.value for estimate in figures["brief"]] == [2.5, 4]
    a, b = comparison.scores
    assert comparison.criteria["brief"].gains[b].value == 1.5
    # Equal scores share a win, since a rubric's ranking is only the order of its scores.
    assert comparison.win_rates[a].value == 0.75
    assert comparison.criteria["brief"].win_rates[a].value == 0.25
    run = mlflow.get_run(comparison.run_id)
    assert run.data.metrics[f"answers.brief/{b}/gain"] == 1.5
    assert mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/rubric.json") == RUBRIC.to_json()
    table = mlflow.load_table("comparison.json", run_ids=[comparison.run_id])
    assert table[f"{a}/faithful/score"].dropna().tolist() == [5, 2]
    for result, values in ((first, {4, 1, None}), (second, {1, None})):
        traces = mlflow.search_traces(run_id=result.run_id, return_type="list")
        found = [one for trace in traces for one in trace.info.assessments if one.name.startswith("answers_compared")]
        assert {one.value for one in found if one.name == "answers_compared"} == values
        assert sum(one.name == "answers_compared.brief" and one.feedback.error is not None for one in found) == 1


def test_autolog_has_the_rubric_and_each_criterion(judge) -> None:
    ra.autolog(judge)
    try:
        with mlflow.start_span("row") as span:
            judge.judge(RUBRIC, "q", [GATED])
    finally:
        ra.autolog(disable=True)
    child = next(one for one in mlflow.get_trace(span.trace_id, flush=True).data.spans if one.name == "judge")
    assert Rubric.of(child.inputs["principle"]) == RUBRIC
    assert child.outputs["missed"] == {"0": ["faithful"]}
    assert child.outputs["criteria"]["brief"]["scores"] == {"0": 4}


def test_names_of_criteria_are_valid_and_distinct() -> None:
    names = criterion_names(["a/b", "a_b", "正確", "???"], "r")
    assert list(names.values()) == ["r.a_b", "r.a_b_2", "r.正確", "r.principle"]


def test_weights_are_part_of_a_scorers_definition(judge) -> None:
    # MLflow identifies scorers by a hash of this.
    scorer = ra.PrincipleScorer(principle=RUBRIC, judge=judge)
    assert BaseModel.model_dump(scorer, mode="json")["principle"] == RUBRIC.to_json()


def test_a_rubric_is_aligned_criterion_by_criterion(judge) -> None:
    with pytest.raises(ConfigError, match="for each criterion"):
        ra.PrincipleScorer(principle=RUBRIC, judge=judge).align([])


def test_results_of_a_canary_are_a_line_in_mlflow(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl("cases.jsonl", [{"prompt": f"q{i}", "response": "say 3", "principle": "p"} for i in range(12)])
    invoke("canary", "record", "cases.jsonl", "--runs", 2, "-o", "canary.json")
    invoke("canary", "run", "canary.json", "--mlflow", "nightly")
    canary = Canary.load(tmp_path / "canary.json")
    runs = json.loads(json.dumps(canary.runs).replace("3.0", "2.0"))
    dataclasses.replace(canary, runs=tuple(runs)).save(tmp_path / "canary.json")
    invoke("canary", "run", "canary.json", "--mlflow", "nightly", code=1)
    (run,) = mlflow.search_runs(experiment_names=["nightly"], output_format="list")
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "canary/moved")
    assert [(each.step, each.value) for each in history] == [(0, 0.0), (1, 1.0)]
    assert run.data.metrics["canary/shift"] == 3.0
    assert run.data.tags["outcome"] == "moved" and run.data.params["cases"] == "12"
