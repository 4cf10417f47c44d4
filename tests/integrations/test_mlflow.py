"""rewardanything_mlflow through MLflow's own entry points, on an SQLite store."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import warnings

import mlflow
import pandas as pd
import pytest
from mlflow.entities import AssessmentSourceType
from mlflow.genai.optimize.optimizers import BasePromptOptimizer
from mlflow.genai.optimize.types import PromptOptimizerOutput
from mlflow.tracing import constant
from mlflow_stores import own_experiment, tracking_store
from paths import ROOT
from servers import Fault, score_text

import rewardanything_mlflow as ra
from rewardanything_core import (
    ConfigError,
    Judge,
    JudgeFailure,
    Principle,
    Rubric,
    ScriptedBackend,
    from_endpoint,
)
from rewardanything_core.backends import verdict_reply
from rewardanything_core.ranking import rank
from rewardanything_mlflow import pool_check
from rewardanything_mlflow.feedback import metric_names

INTEGRATIONS = ROOT / "integrations"
BRIEF = Principle("Prefer the shorter answer.", name="brief")


tracking = pytest.fixture(scope="module")(tracking_store)
experiment = pytest.fixture(autouse=True)(own_experiment)


def reply(request):
    """Each response scores by the number in it; a case with "BAD" in a response gets no verdict."""
    responses = json.loads(request.messages[1]["content"])["responses"]
    if any("BAD" in text for text in responses.values()):
        return "I would rather not say."
    return verdict_reply({name: score_text(str(text)) for name, text in responses.items()}, thoughts="By the number.")


@pytest.fixture
def judge(own_store):
    with Judge(ScriptedBackend(reply), store=own_store) as made:
        yield made


def table(outputs, **columns):
    return pd.DataFrame({"inputs": [f"q{i}" for i in range(len(outputs))], "outputs": outputs, **columns})


def rows(outputs, **fields):
    return [{"inputs": {"q": f"q{i}"}, "outputs": text, **fields} for i, text in enumerate(outputs)]


def cell(frame, column, i=0):
    return frame.sort_values("request_time")[column].tolist()[i]


# --- the metric


@pytest.mark.parametrize("entry", ["mlflow.evaluate", "mlflow.models.evaluate"])
def test_the_table_has_scores_justifications_and_aggregates(judge, entry):
    evaluate = mlflow.evaluate if entry == "mlflow.evaluate" else mlflow.models.evaluate
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        result = evaluate(
            data=table(["say 2", "say 5", "BAD 3"]),
            predictions="outputs",
            extra_metrics=[ra.principle_metric(BRIEF, judge=judge)],
            evaluators="default",
        )
    assert result.metrics == {
        "brief/mean": 3.5,
        "brief/variance": 2.25,
        "brief/p90": pytest.approx(4.7),
        "brief/judged": 2,
        "brief/failures": 1,
    }
    logged = result.tables["eval_results_table"]
    assert logged["brief/score"].tolist()[:2] == [2, 5]
    assert pd.isna(logged["brief/score"][2])
    assert logged["brief/justification"][0] == "By the number."
    assert logged["brief/justification"][2].startswith("VerdictParseError: ")


def test_all_rows_fail_and_no_number_appears(judge):
    metric = ra.principle_metric(BRIEF, judge=judge)
    result = mlflow.models.evaluate(
        data=table(["BAD", "BAD"]), predictions="outputs", extra_metrics=[metric], evaluators="default"
    )
    assert result.metrics == {"brief/judged": 0, "brief/failures": 2}


@pytest.mark.parametrize("outputs", [["say 2", "say 5"], ["BAD", "say 5"], ["say 1"]])
def test_the_trial_call_with_row_0_is_not_paid_for_twice(outputs):
    backend = ScriptedBackend(reply)
    with Judge(backend, cache="off", retries=0) as judge:
        metric = ra.principle_metric(BRIEF, judge=judge)
        for repeat in (1, 2):
            mlflow.models.evaluate(
                data=table(outputs), predictions="outputs", extra_metrics=[metric], evaluators="default"
            )
            assert backend.calls == repeat * len(outputs)


def test_columns_scale_targets_and_several_principles(judge):
    data = pd.DataFrame(
        {
            "question": [{"messages": [{"role": "user", "content": "Hi"}]}] * 2,
            "answer": ["say 2", "say 5"],
            "good": ["say 4", None],
        }
    )
    metrics = ra.principle_metrics(["Be brief.", "Be kind.", BRIEF], judge=judge, scale="normalized", prompt="question")
    result = mlflow.models.evaluate(
        data=data, predictions="answer", targets="good", extra_metrics=metrics, evaluators="default"
    )
    assert [m.name for m in metrics] == ["principle", "principle_2", "brief"]
    assert {name: result.metrics[f"{name}/mean"] for name in ("principle", "principle_2", "brief")} == {
        "principle": 0.625,
        "principle_2": 0.625,
        "brief": 0.625,
    }
    seen = [json.loads(r.messages[1]["content"]) for r in judge.backend.requests]
    assert sum("say 4" in json.dumps(case) for case in seen) == 3


def test_a_missing_column_says_which_argument_names_it(judge):
    metric = ra.principle_metric(BRIEF, judge=judge)
    data = table(["say 2"]).rename(columns={"inputs": "question"})
    with pytest.raises(ra.JudgeUnavailableError, match=r"no column 'inputs'.*prompt=\"question\""):
        mlflow.models.evaluate(data=data, predictions="outputs", extra_metrics=[metric], evaluators="default")
    scorer = ra.PrincipleScorer(principle=BRIEF, judge=judge)
    feedback = scorer(inputs={"question": "q", "audience": "children"}, outputs="say 2")
    assert 'prompt= to a key, as in prompt="question"' in feedback.error.error_message


# --- the scorer


def test_feedback_has_source_rationale_and_provenance(judge):
    scorer = ra.PrincipleScorer(principle=BRIEF, judge=judge, threshold=3)
    result = mlflow.genai.evaluate(data=rows(["say 4", "say 5"]), scorers=[scorer])
    assert result.passed, result.reason
    assert result.metrics == {"brief/mean": 4.5, "brief/judged": 2}
    (assessment,) = mlflow.get_trace(cell(result.result_df, "trace_id")).info.assessments
    assert assessment.name == "brief"
    assert assessment.rationale == "By the number."
    assert assessment.source.source_type == AssessmentSourceType.LLM_JUDGE
    assert assessment.source.source_id == judge.model
    metadata = assessment.metadata
    assert metadata["template_hash"] == judge.template.hash
    assert metadata["mlflow.scorer.framework"] == "rewardanything"
    assert metadata["seed"] == "0"
    assert metadata["record_id"]
    assert all(isinstance(value, str) for value in metadata.values())
    digest = getattr(constant.AssessmentMetadataKey, "SCORER_DIGEST", None)  # from MLflow 3.17 on
    assert digest is None or metadata[digest].startswith("sha256:")


def test_a_failure_is_an_error_and_never_a_number(judge):
    scorer = ra.PrincipleScorer(principle=BRIEF, judge=judge, threshold=1)
    result = mlflow.genai.evaluate(data=rows(["say 4", "BAD", None]), scorers=[scorer])
    assert not result.passed
    assert result.metrics == {"brief/mean": 4, "brief/judged": 1}
    frame = result.result_df
    assert sorted(frame["brief/value"].notna()) == [False, False, True]
    assert "not a verdict" in result.reason
    assert "There is no response" in result.reason
    by_code = {
        a.feedback.error.error_code
        for trace_id in frame["trace_id"]
        for a in mlflow.get_trace(trace_id).info.assessments
        if a.feedback.error
    }
    assert by_code == {"VerdictParseError", "InvalidCaseError"}


def test_below_the_threshold_does_not_pass(judge):
    scorer = ra.PrincipleScorer(principle=BRIEF, judge=judge, threshold=0.5, scale="normalized")
    result = mlflow.genai.evaluate(data=rows(["say 2"]), scorers=[scorer])
    assert not result.passed
    assert result.metrics["brief/mean"] == 0.25
    assert "By the number." in result.reason


@pytest.mark.parametrize("outputs", [["say 2", "say 5"], {"0": {"content": "say 2"}, "1": {"content": "say 5"}}])
def test_candidates_are_judged_together(judge, outputs):
    scorer = ra.PrincipleScorer(principle=BRIEF, judge=judge, candidates=True)
    result = mlflow.genai.evaluate(data=[{"inputs": {"q": "x"}, "outputs": outputs}], scorers=[scorer])
    assert judge.backend.calls == 1
    assert result.metrics == {"brief/0/mean": 2, "brief/1/mean": 5}
    assessments = {a.name: a for a in mlflow.get_trace(cell(result.result_df, "trace_id")).info.assessments}
    assert assessments["brief/1"].metadata["rank"] == "1"
    assert "model-" not in assessments["brief/1"].rationale


def test_predictions_and_traces_of_an_earlier_run_are_scored(judge):
    @mlflow.trace
    def app(messages):
        return {"choices": [{"message": {"role": "assistant", "content": "say 3"}}]}

    data = [{"inputs": {"messages": [{"role": "user", "content": "Hi"}]}, "expectations": {"expected_response": "4"}}]
    scorer = ra.PrincipleScorer(principle=BRIEF, judge=judge)
    result = mlflow.genai.evaluate(data=data, predict_fn=app, scorers=[scorer])
    assert result.metrics["brief/mean"] == 3
    again = mlflow.genai.evaluate(data=mlflow.search_traces(run_id=result.run_id), scorers=[scorer])
    assert again.metrics["brief/mean"] == 3
    assert judge.backend.calls == 1


def test_scorers_without_a_judge_share_one(monkeypatch, own_store):
    made = []

    def load():
        made.append(Judge(ScriptedBackend(reply), store=own_store))
        return made[-1]

    monkeypatch.setattr("rewardanything_core.loading.shared.load_judge", load)
    scorers = ra.principle_scorers([BRIEF, BRIEF])
    assert [s.name for s in scorers] == ["brief", "brief_2"]
    assert not made
    result = mlflow.genai.evaluate(data=rows([f"say {i}" for i in range(1, 6)]), scorers=scorers)
    assert len(made) == 1
    assert made[0].backend.calls == 5
    assert result.metrics["brief_2/mean"] == 3


@pytest.mark.parametrize("outputs", [None, "say 4"])
def test_without_a_judge_the_evaluation_stops_at_once(outputs, monkeypatch):
    """MLflow would write a missing extra or a wrong setting to every row, and go on to the end."""
    monkeypatch.setenv("RA_JUDGE_MODEL", "scripted:no_such_module:reply")
    calls = []

    def app(q):
        calls.append(q)
        return "say 3"

    data = [{"inputs": {"q": f"q{i}"}, **({"outputs": outputs} if outputs else {})} for i in range(50)]
    scorer = ra.PrincipleScorer(principle=BRIEF)
    for _ in range(2):  # the same scorer works once the settings are corrected
        with pytest.raises(ra.JudgeUnavailableError, match=r"There is no judge, .*no_such_module") as error:
            mlflow.genai.evaluate(data=data, scorers=[scorer], predict_fn=None if outputs else app)
        assert isinstance(error.value.__cause__, ConfigError)
    assert mlflow.last_active_run().info.status == "FAILED"
    assert len(calls) < 2 * len(data)


@pytest.mark.parametrize(("code", "part"), [(401, "the key"), (404, "was not found")])
def test_a_judge_that_cannot_be_used_stops_the_evaluation(code, part, server, own_store):
    server.reply = Fault.status(code)
    with (
        from_endpoint("hosted_vllm/misspelt", api_base=server.url, api_key="x", store=own_store, attempts=1) as judge,
        pytest.raises(ra.JudgeUnavailableError, match=part),
    ):
        mlflow.genai.evaluate(
            data=rows([f"say {i}" for i in range(1, 6)]),
            scorers=[ra.PrincipleScorer(principle=BRIEF, judge=judge)],
        )


@pytest.mark.parametrize("code", [401, 404])
def test_a_judge_that_cannot_be_used_stops_the_table_and_the_comparison(code, server, own_store, judge):
    runs = [evaluated("a", ["say 2"], judge), evaluated("b", ["say 3"], judge)]
    server.reply = Fault.status(code)
    with from_endpoint(
        "hosted_vllm/misspelt", api_base=server.url, api_key="x", store=own_store, attempts=1
    ) as unusable:
        with pytest.raises(ra.JudgeUnavailableError, match="cannot be used"):
            mlflow.models.evaluate(
                data=table(["say 2", "say 3"]),
                predictions="outputs",
                extra_metrics=[ra.principle_metric(BRIEF, judge=unusable)],
                evaluators="default",
            )
        with pytest.raises(ra.JudgeUnavailableError, match="cannot be used"):
            ra.compare_runs(runs, principle=BRIEF, judge=unusable)


def test_a_row_with_an_object_that_cannot_be_read_costs_that_row(judge):
    class Broken:
        def model_dump(self):
            raise RuntimeError("no idea")

    result = mlflow.models.evaluate(
        data=table([Broken(), "say 3"]),
        predictions="outputs",
        extra_metrics=[ra.principle_metric(BRIEF, judge=judge)],
        evaluators="default",
    )
    assert (result.metrics["brief/mean"], result.metrics["brief/failures"]) == (3, 1)


def test_one_refused_row_does_not_stop_the_table(server, own_store):
    server.reply = lambda body: Fault.status(400, "refused") if "BAD" in str(body) else None
    with from_endpoint("hosted_vllm/fake", api_base=server.url, api_key="x", store=own_store, attempts=1) as judge:
        result = mlflow.models.evaluate(
            data=table(["BAD", "say 3"]),
            predictions="outputs",
            extra_metrics=[ra.principle_metric(BRIEF, judge=judge)],
            evaluators="default",
        )
    assert (result.metrics["brief/judged"], result.metrics["brief/failures"]) == (1, 1)


@pytest.mark.parametrize(
    "option",
    [
        {"prompt": "misspelt"},
        {"prompt": lambda inputs: inputs["misspelt"]},
        {"response": "misspelt"},
        {"response": lambda outputs: outputs["misspelt"]},
        {"reference": "misspelt"},
    ],
)
def test_a_selector_that_has_fitted_no_row_stops_the_evaluation(judge, option):
    scorer = ra.PrincipleScorer(principle=BRIEF, judge=judge, **option)
    data = [
        {"inputs": {"q": str(i)}, "outputs": {"answer": "say 3"}, "expectations": {"gold": "say 4"}} for i in range(5)
    ]
    with pytest.raises(ra.JudgeUnavailableError, match=r"misspelt.*No row has fitted it so far") as error:
        mlflow.genai.evaluate(data=data, scorers=[scorer])
    assert f"{next(iter(option))}=" in str(error.value)
    assert any(field in str(error.value) for field in ("'q'", "'answer'", "'gold'"))
    assert judge.backend.calls == 0


def test_a_selector_that_does_not_fit_one_row_costs_that_row(judge, monkeypatch):
    monkeypatch.setenv("MLFLOW_GENAI_EVAL_MAX_WORKERS", "1")
    outputs = [{"answer": "say 3"}, {"error": "timeout"}, None, {"answer": "say 5"}]
    scorer = ra.PrincipleScorer(principle=BRIEF, judge=judge, response="answer")
    scorer(inputs="q", outputs=outputs[0])
    result = mlflow.genai.evaluate(data=rows(outputs), scorers=[scorer])
    assert result.metrics == {"brief/mean": 4, "brief/judged": 2}
    errors = result.result_df["brief/error_message"].dropna().tolist()
    assert len(errors) == 2
    assert any("There is no 'answer' in outputs, which has the keys 'error'" in error for error in errors)


@pytest.mark.parametrize("make", [ra.PrincipleScorer, ra.principle_metric])
def test_a_judge_of_the_wrong_type_is_refused_at_once(make):
    with pytest.raises(ValueError, match="judge"):
        make(principle=BRIEF, judge=object())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"threshold": 0.5}, r"within 1\.\.5"),
        ({"threshold": 3, "scale": "normalized"}, r"within 0\.\.1"),
        ({"scale": "percent"}, "scale"),
        ({"judg": None}, "judg"),
    ],
)
def test_scorer_options_are_checked(wrong, message):
    with pytest.raises(ValueError, match=message):
        ra.PrincipleScorer(principle=BRIEF, **wrong)


# --- what the judge reads

CALL = {"name": "get_weather", "arguments": '{"city": "Ulm"}'}
CALLS = {"calls": [{"call": "1.1", "name": "get_weather", "arguments": {"city": "Ulm"}}]}
CALLING = {"turn": 1, "role": "assistant", **CALLS}

REPLIES = [
    # OpenAI chat
    (
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": CALL}]},
        [CALLING],
    ),
    (
        {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "say 2"}}]},
        "say 2",
    ),
    # OpenAI Responses
    (
        {
            "id": "resp_1",
            "object": "response",
            "status": "completed",
            "output": [
                {"id": "rs_1", "type": "reasoning", "summary": []},
                {"id": "fc_1", "type": "function_call", "call_id": "c1", **CALL},
                {
                    "id": "msg_1",
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "say 3", "annotations": []}],
                },
            ],
        },
        [CALLING, {"turn": 2, "role": "assistant", "text": "say 3"}],
    ),
    # Bedrock Converse
    (
        {
            "output": {
                "message": {
                    "role": "assistant",
                    "content": [
                        {"text": "say 4"},
                        {"toolUse": {"toolUseId": "1", "name": "get_weather", "input": {"city": "Ulm"}}},
                    ],
                }
            },
            "stopReason": "end_turn",
            "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
            "metrics": {"latencyMs": 1},
        },
        [{"turn": 1, "role": "assistant", "text": "say 4", **CALLS}],
    ),
    # Anthropic
    (
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "claude",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "x"},
                {"type": "text", "text": "say "},
                {"type": "text", "text": "5"},
            ],
            "stop_reason": "end_turn",
        },
        "say 5",
    ),
]

NOT_REPLIES = [
    ({"category": "say 2", "summary": "say 3"}, "'category', 'summary'"),
    ({"answer": "say 2", "sources": ["say 3"]}, "'answer', 'sources'"),
    (["say 2", "say 3"], "candidates=True"),
    ({"role": "assistant", "content": None}, "neither text nor tool calls"),
    ({"role": "assistant", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}, "has an image"),
    ({"role": "assistant"}, "'content'"),
    ({"stopReason": "end_turn"}, "'stopReason'"),
    ({"choices": [{"message": {"content": "say 2"}}, {"message": {"content": "say 3"}}]}, "candidates=True"),
]


def test_the_judge_reads_the_whole_reply_of_each_api(judge):
    scorer = ra.PrincipleScorer(principle=BRIEF, judge=judge)
    result = mlflow.genai.evaluate(data=rows([reply for reply, _ in REPLIES]), scorers=[scorer])
    assert result.metrics["brief/judged"] == len(REPLIES)
    cases = [json.loads(request.messages[1]["content"]) for request in judge.backend.requests]
    assert {case["prompt"]: list(case["responses"].values()) for case in cases} == {
        f"q{i}": [text] for i, (_, text) in enumerate(REPLIES)
    }


def test_outputs_of_another_shape_are_errors_that_name_the_fields_and_the_way_out(judge):
    scorer = ra.PrincipleScorer(principle=BRIEF, judge=judge)
    result = mlflow.genai.evaluate(data=rows([reply for reply, _ in NOT_REPLIES]), scorers=[scorer])
    assert "brief/mean" not in result.metrics
    assert judge.backend.calls == 0
    errors = {
        request["q"]: message
        for request, message in zip(result.result_df["request"], result.result_df["brief/error_message"], strict=True)
    }
    for i, (_, part) in enumerate(NOT_REPLIES):
        assert part in errors[f"q{i}"]


def test_the_whole_of_other_outputs_is_judged_as_json_on_request(judge):
    scorer = ra.PrincipleScorer(principle=BRIEF, judge=judge, response=json.dumps)
    mlflow.genai.evaluate(data=rows([{"category": "say 2", "summary": "x"}]), scorers=[scorer])
    (request,) = judge.backend.requests
    assert '{"category": "say 2", "summary": "x"}' in json.loads(request.messages[1]["content"])["responses"].values()


def test_names_are_valid_for_metrics():
    assert metric_names([Principle("a", name="no/thing: $1!"), Principle("b"), Principle("c")]) == [
        "no_thing_ _1",
        "principle",
        "principle_2",
    ]


# --- what a run holds besides scores


def artifacts(run_id):
    client = mlflow.MlflowClient()
    found = client.list_artifacts(run_id, "principles")
    return {file.path: mlflow.artifacts.load_text(f"runs:/{run_id}/{file.path}") for file in found}


def test_a_run_holds_its_principles_and_each_assessment_says_what_it_judges_by(judge):
    rubric = Rubric({"short": "Is short.", "kind": "Is kind."}, name="both")
    scorers = [ra.PrincipleScorer(principle=principle, judge=judge) for principle in (BRIEF, rubric)]
    result = mlflow.genai.evaluate(data=rows(["say 2", "BAD"]), scorers=scorers)
    held = artifacts(result.run_id)
    assert held["principles/brief.md"] == BRIEF.text
    assert Principle.of(json.loads(held["principles/both.json"])) == rubric
    guidelines = {
        one.name: one.metadata["guideline"]
        for trace in mlflow.search_traces(run_id=result.run_id, return_type="list")
        for one in trace.info.assessments
    }
    texts = {"both": rubric.text, "both.short": "Is short.", "both.kind": "Is kind."}
    assert guidelines == {"brief": BRIEF.text, **texts}


def test_a_principle_is_logged_to_no_run_but_the_one_in_progress(judge):
    scorer = ra.PrincipleScorer(principle=BRIEF, judge=judge)
    result = mlflow.genai.evaluate(data=rows(["say 2"]), scorers=[scorer])
    later = ra.PrincipleScorer(principle="Be kind.", name="kind", judge=judge)
    assert later(inputs="q", outputs="say 3").value == 3
    assert list(artifacts(result.run_id)) == ["principles/brief.md"]


def test_the_rows_of_a_table_have_traces_with_scores_and_reasoning(judge):
    principles = [BRIEF, Principle("Be kind.", name="kind")]

    def evaluated(outputs, **options):
        with mlflow.start_run() as run:
            mlflow.models.evaluate(
                data=table(outputs),
                predictions="outputs",
                extra_metrics=ra.principle_metrics(principles, judge=judge, **options),
                evaluators="default",
            )
        mlflow.flush_trace_async_logging()
        traces = mlflow.search_traces(run_id=run.info.run_id, return_type="list", order_by=["timestamp_ms ASC"])
        assert sorted(artifacts(run.info.run_id)) == ["principles/brief.md", "principles/kind.md"]
        return traces

    first, second = evaluated(["say 2", "BAD"])
    root = first.data.spans[0]
    assert (root.inputs, root.outputs) == ("q0", "say 2")
    feedback = {one.name: one for one in first.info.assessments}
    assert {name: one.value for name, one in feedback.items()} == {"brief": 2, "kind": 2}
    assert feedback["brief"].rationale == "By the number."
    assert {one.name: one.feedback.error.error_code for one in second.info.assessments} == dict.fromkeys(
        ("brief", "kind"), "VerdictParseError"
    )
    assert len(evaluated(["say 4"])) == 1
    assert evaluated(["say 4", "say 5"], traces=False) == []


# --- log_verdict, compare_runs, autolog


def test_log_verdict_on_a_trace(judge):
    with mlflow.start_span("app") as span:
        span.set_outputs("say 3")
    mlflow.flush_trace_async_logging()
    verdict = judge.judge(BRIEF, "q", {"a": "say 3", "b": "say 1"})
    ra.log_verdict(verdict, trace_id=span.trace_id, name="both")
    ra.log_verdict(verdict, trace_id=span.trace_id, name="one", label="b", scale="normalized")
    failure = JudgeFailure(case_id=None, error_type="RateLimitError", message="slow down")
    ra.log_verdict(failure, trace_id=span.trace_id, name="none")
    feedback = {a.name: a.feedback for a in mlflow.get_trace(span.trace_id).info.assessments}
    assert {name: f.value for name, f in feedback.items()} == {"both/a": 3, "both/b": 1, "one": 0, "none": None}
    assert feedback["none"].error.error_code == "RateLimitError"
    with pytest.raises(KeyError, match="no response labelled 'c'"):
        ra.log_verdict(verdict, trace_id=span.trace_id, label="c")


def evaluated(name, outputs, judge):
    with mlflow.start_run(run_name=name):
        return mlflow.genai.evaluate(data=rows(outputs), scorers=[ra.PrincipleScorer(principle=BRIEF, judge=judge)])


def test_compare_runs_of_traces(judge):
    a = evaluated("old", ["say 2", "say 4", "BAD", "say 3"], judge)
    b = evaluated("new", ["say 5", "say 5", "say 5", "say 3", "one more"], judge)
    before = judge.backend.calls
    result = ra.compare_runs([a, b.run_id], principle=BRIEF, judge=judge)
    assert judge.backend.calls - before == 3 + 3  # one case each, and the failing one three times
    assert (result.failures, result.unmatched, len(result.outcomes)) == (1, 1, 4)
    assert result.win_rates["new"].value == pytest.approx(2.5 / 3)  # the same text shares the win
    assert result.scores["old"].value == 3
    assert result.gains["new"].value == pytest.approx(4 / 3)
    for estimate in (*result.win_rates.values(), *result.scores.values(), *result.gains.values()):
        assert estimate.low <= estimate.value <= estimate.high
    run = mlflow.get_run(result.run_id)
    assert run.data.metrics["brief/new/win_rate"] == pytest.approx(2.5 / 3)
    assert run.data.metrics["brief/failures"] == 1
    logged = mlflow.load_table("comparison.json", run_ids=[result.run_id])
    assert logged["new/score"].notna().sum() == 3
    compared = [
        assessment.feedback.value
        for trace in mlflow.search_traces(run_id=a.run_id, return_type="list")
        for assessment in trace.info.assessments
        if assessment.name == "brief_compared"
    ]
    assert sorted(compared, key=str) == [2, 3, 4, None]
    assert len(mlflow.search_traces(run_id=result.run_id, return_type="list")) == 8


def test_compare_runs_ranks_the_runs_as_files_are_ranked(judge):
    answers = {
        "old": ["say 2", "say 4", "say 1", "say 3"],
        "new": ["say 5", "say 5", "say 5", "say 3"],
        "mid": ["say 3"] * 4,
    }
    judge = judge.with_options(passes=3)
    result = ra.compare_runs(
        [evaluated(name, texts, judge) for name, texts in answers.items()], principle=BRIEF, judge=judge
    )
    files = {
        name: [{"prompt": f"q{i}", "response": text, "id": i} for i, text in enumerate(texts)]
        for name, texts in answers.items()
    }
    (expected,) = rank(files, BRIEF, judge=judge, adaptive=False).rankings
    of = {system.name: system for system in expected.systems}
    assert [system.name for system in result.ranking.systems] == ["new", "mid", "old"]
    for system in result.ranking.systems:
        assert (system.strength, system.win_rate) == pytest.approx((of[system.name].strength, of[system.name].win_rate))
        assert (system.rank_low, system.rank_high) == (of[system.name].rank_low, of[system.name].rank_high)
    metrics = mlflow.get_run(result.run_id).data.metrics
    assert metrics["brief/new/strength"] == pytest.approx(of["new"].strength)
    assert metrics["brief/new/p_best"] > 0.9


def test_compare_runs_of_tables(judge):
    ids = []
    for outputs in (["say 2", "say 4"], ["say 3", "say 1"]):
        with mlflow.start_run(run_name="same") as run:
            mlflow.models.evaluate(
                data=table(outputs),
                predictions="outputs",
                extra_metrics=[ra.principle_metric(BRIEF, judge=judge)],
                evaluators="default",
            )
            ids.append(run.info.run_id)
    result = ra.compare_runs(ids, principle=BRIEF, judge=judge)
    assert [estimate.value for estimate in result.win_rates.values()] == [0.5, 0.5]
    assert list(result.scores) == [f"same {run_id[:8]}" for run_id in ids]


def test_compare_runs_refuses_runs_that_cannot_be_compared(judge):
    a = evaluated("a", ["say 2"], judge)
    with mlflow.start_run(run_name="b"):
        other = mlflow.genai.evaluate(
            data=[{"inputs": {"q": "else"}, "outputs": "say 1"}],
            scorers=[ra.PrincipleScorer(principle=BRIEF, judge=judge)],
        )
    with mlflow.start_run() as empty:
        pass
    for runs, message in (([a, a], "two or more"), ([a, other], "in common"), ([a, empty], "neither traces")):
        with pytest.raises(ValueError, match=message):
            ra.compare_runs(runs, principle=BRIEF, judge=judge)
    b = evaluated("c", ["say 3"], judge)
    with pytest.raises(ConfigError, match=r"'misspelt'.*No row fits it"):
        ra.compare_runs([a, b], principle=BRIEF, judge=judge, prompt="misspelt")
    with pytest.raises(ConfigError, match="judge must be"):
        ra.compare_runs([a, b], principle=BRIEF, judge=object())


def test_autolog_logs_each_verdict_once(judge, own_store):
    other = Judge(ScriptedBackend(reply), store=own_store)
    case = {"principle": BRIEF, "prompt": "q", "responses": ["say 2"]}
    ra.autolog(judge)
    ra.autolog(judge)
    try:
        with mlflow.start_span("mine") as span:
            judge.judge(BRIEF, "q", ["say 1", "say 2"])
            judge.score(BRIEF, "q", "say 3")
            judge.judge_batch([case, {**case, "responses": ["BAD"]}])
            asyncio.run(judge.ajudge_batch([case]))
            asyncio.run(judge.ajudge(BRIEF, "q", ["say 4"]))
            assert len(list(judge.judge_stream([{**case, "prompt": "another"}]))) == 1
            other.judge(BRIEF, "q", ["say 5"])
        mlflow.genai.evaluate(data=rows(["say 1"]), scorers=[ra.PrincipleScorer(principle=BRIEF, judge=judge)])
    finally:
        ra.autolog(disable=True)
    judge.judge(BRIEF, "q", ["say 5 5"])
    root, *spans = mlflow.get_trace(span.trace_id, flush=True).data.spans
    assert [(s.name, s.parent_id) for s in spans] == [("judge", root.span_id)] * 7
    assert spans[0].inputs["principle"] == BRIEF.text
    assert spans[0].outputs["reasoning"] == "By the number."
    assert spans[0].outputs["scores"] == {"0": 1, "1": 2}
    failed = [s for s in spans if s.status.status_code == "ERROR"]
    assert [s.outputs["error_type"] for s in failed] == ["VerdictParseError"]
    assert len(mlflow.search_traces(return_type="list")) == 2


def test_a_stream_belongs_to_the_span_in_which_it_was_started(judge):
    case = {"principle": BRIEF, "prompt": "q", "responses": ["say 2"]}
    ra.autolog()
    try:
        with mlflow.start_span("mine") as span:
            stream = judge.judge_stream([case, {**case, "prompt": "later"}])
            next(stream)
        assert len(list(stream)) == 1
    finally:
        ra.autolog(disable=True)
    assert [s.name for s in mlflow.get_trace(span.trace_id, flush=True).data.spans] == ["mine", "judge", "judge"]
    assert len(mlflow.search_traces(return_type="list")) == 1


def python(code, *arguments, cwd, **variables):
    environ = {
        k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_") or k == "MLFLOW_DISABLE_TELEMETRY"
    } | {"PYTHONPATH": str(INTEGRATIONS)}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=environ | variables,
        capture_output=True,
        text=True,
        timeout=200,
    )


# --- optimize_prompts


class PickBetter(BasePromptOptimizer):
    """Tries one other prompt and records the rationales that it receives."""

    def __init__(self):
        self.rationales = []

    def optimize(self, eval_fn, train_data, target_prompts, enable_tracking=True):
        tried = [target_prompts, dict.fromkeys(target_prompts, "Answer 5: {{q}}")]
        results = [eval_fn(prompts, train_data) for prompts in tried]
        self.rationales = [record.rationales for record in results[0]]
        scores = [sum(r.score for r in records) / len(records) for records in results]
        return PromptOptimizerOutput(
            optimized_prompts=tried[scores.index(max(scores))],
            initial_eval_score=scores[0],
            final_eval_score=max(scores),
        )


def test_the_optimizer_of_prompts_receives_the_reasoning(judge):
    prompt = mlflow.genai.register_prompt(name="ask", template="Answer 2: {{q}}")

    def predict(q):
        return mlflow.genai.load_prompt(prompt.uri).format(q=q)

    optimizer = PickBetter()
    result = mlflow.genai.optimize_prompts(
        predict_fn=predict,
        train_data=[{"inputs": {"q": "a"}}, {"inputs": {"q": "b"}}],
        prompt_uris=[prompt.uri],
        optimizer=optimizer,
        scorers=[ra.PrincipleScorer(principle=BRIEF, judge=judge, scale="normalized")],
    )
    assert optimizer.rationales == [{"brief": "By the number."}] * 2
    assert (result.initial_eval_score, result.final_eval_score) == (0.25, 1.0)
    assert result.optimized_prompts[0].template == "Answer 5: {{q}}"


OPTIMIZE = """
import json, mlflow, rewardanything_mlflow as ra
from mlflow.genai.optimize.optimizers import GepaPromptOptimizer
from rewardanything_core import Judge, Principle, ScriptedBackend
from rewardanything_core.backends import verdict_reply

def reply(request):
    responses = json.loads(request.messages[1]["content"])["responses"]
    return verdict_reply({name: int(text[7]) for name, text in responses.items()}, thoughts="By the number.")

mlflow.autolog(disable=True)
mlflow.set_tracking_uri("sqlite:///mlflow.db")
judge = Judge(ScriptedBackend(reply), store="verdicts.sqlite3")
prompt = mlflow.genai.register_prompt(name="ask-gepa", template="Answer 2: {{q}}")
result = mlflow.genai.optimize_prompts(
    predict_fn=lambda q: mlflow.genai.load_prompt(prompt.uri).format(q=q),
    train_data=[{"inputs": {"q": letter}} for letter in "abc"],
    prompt_uris=[prompt.uri],
    optimizer=GepaPromptOptimizer(reflection_model="openai:/fake", max_metric_calls=12),
    scorers=[ra.PrincipleScorer(principle=Principle("Shorter.", name="brief"), judge=judge, scale="normalized")],
)
print(result.initial_eval_score, result.final_eval_score, result.optimized_prompts[0].template)
"""


def test_gepa_reflects_on_the_reasoning(server, tmp_path):
    """It runs in a process of its own, since MLflow before 3.18 can deadlock; docs/integrations/mlflow.md has more."""
    server.reply = "```\nAnswer 5: {{q}}\n```"
    variables = {"OPENAI_API_BASE": server.url, "OPENAI_API_KEY": "x", "MLFLOW_GENAI_EVAL_MAX_WORKERS": "10"}
    done = python(OPTIMIZE, cwd=tmp_path, **variables)
    assert done.stdout.splitlines()[-1:] == ["0.25 1.0 Answer 5: {{q}}"], done.stderr
    assert "By the number." in json.dumps(server.bodies[0])


# --- all of it, over HTTP with faults


def test_two_hundred_rows_with_faults_are_judged_once_in_two_entry_points(server, own_store):
    lost = {f"answer {i} BAD" for i in range(0, 200, 40)}
    outputs = [f"answer {i} BAD" if i % 40 == 0 else f"answer {i}" for i in range(200)]

    def answer(body):
        text = body["messages"][1]["content"]
        return Fault.status(400, "refused") if "BAD" in text else None

    server.reply, server.fault_rate = answer, 0.1
    data = [{"inputs": {"q": f"q{i}"}, "outputs": text} for i, text in enumerate(outputs)]
    with from_endpoint("hosted_vllm/fake", api_base=server.url, api_key="x", store=own_store) as judge:
        metric = mlflow.models.evaluate(
            data=table(outputs),
            predictions="outputs",
            extra_metrics=[ra.principle_metric(BRIEF, judge=judge, traces=False)],
            evaluators="default",
        )
        judged = {json.loads(b["messages"][1]["content"])["prompt"] for b in server.bodies if "BAD" not in str(b)}
        assert len(judged) == 195
        before = server.count
        result = mlflow.genai.evaluate(data=data, scorers=[ra.PrincipleScorer(principle=BRIEF, judge=judge)])
    again = [json.loads(b["messages"][1]["content"]) for b in server.bodies[before:]]
    assert {next(iter(case["responses"].values())) for case in again} <= lost
    expected = [score_text(text) for text in outputs if text not in lost]
    mean = sum(expected) / len(expected)
    assert metric.metrics["brief/mean"] == pytest.approx(mean)
    assert (metric.metrics["brief/judged"], metric.metrics["brief/failures"]) == (195, 5)
    assert result.metrics["brief/mean"] == pytest.approx(mean)
    assert result.metrics["brief/judged"] == 195
    assert result.result_df["brief/value"].isna().sum() == 5
    assert result.result_df["brief/error_message"].notna().sum() == 5


# --- the database that hangs

EVALUATE = """
import mlflow, rewardanything_mlflow as ra, sys
from rewardanything_core import Judge, ScriptedBackend
mlflow.set_tracking_uri("sqlite:///mlflow.db")
judge = Judge(ScriptedBackend.scoring(lambda text: 3), store="verdicts.sqlite3")
scorer = ra.PrincipleScorer(principle="Be brief.", judge=judge)
print("warned" if not ra.check_store() else "fine", flush=True)
if "run" in sys.argv:
    data = [{"inputs": {"q": str(i)}, "outputs": "x"} for i in range(60)]
    print(mlflow.genai.evaluate(data=data, scorers=[scorer]).metrics)
"""


def test_a_possible_deadlock_is_announced_and_the_advice_avoids_it(tmp_path):
    done = python(EVALUATE, cwd=tmp_path)
    assert "warned" in done.stdout, done.stderr
    assert done.stderr.count("StoreWarning") == 1
    assert "40 threads on a database with 15 connections" in done.stderr
    assert "MLFLOW_GENAI_EVAL_MAX_WORKERS=10" in done.stderr
    done = python(EVALUATE, "run", cwd=tmp_path, MLFLOW_GENAI_EVAL_MAX_WORKERS="10")
    assert "StoreWarning" not in done.stderr
    assert "'principle/judged': 60" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("uri", "variables", "fine"),
    [
        ("sqlite:///x.db", {}, False),
        ("http://localhost:5000", {}, True),
        ("sqlite:///x.db", {"MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "64"}, True),
        ("sqlite:///x.db", {"MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW": "80"}, True),
        ("sqlite:///x.db", {"MLFLOW_GENAI_EVAL_MAX_WORKERS": "14"}, True),
        ("sqlite:///x.db", {"MLFLOW_GENAI_EVAL_MAX_WORKERS": "15"}, False),
        ("sqlite:///x.db", {"MLFLOW_GENAI_EVAL_PREDICT_RATE_LIMIT": "0"}, True),
        ("sqlite:///x.db", {"MLFLOW_GENAI_EVAL_PREDICT_RATE_LIMIT": "9"}, False),
    ],
)
def test_check_store(monkeypatch, uri, variables, fine):
    for name in ("MLFLOW_GENAI_EVAL_MAX_WORKERS", "MLFLOW_GENAI_EVAL_PREDICT_RATE_LIMIT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(pool_check, "_warned", set())
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert ra.check_store() is fine
            ra.check_store()
    finally:
        mlflow.set_tracking_uri(before)
    assert len(caught) == (0 if fine else 1)


def test_a_missing_mlflow_is_an_error_that_names_the_extra(tmp_path):
    code = "import sys; sys.modules['mlflow'] = None; import rewardanything_mlflow"
    done = python(code, cwd=tmp_path)
    assert "pip install 'rewardanything-core[mlflow]'" in done.stderr
    assert done.returncode == 1


def test_every_name_in_all_can_be_imported():
    assert sorted(ra.__all__) == ra.__all__
    assert all(hasattr(ra, name) for name in ra.__all__)
