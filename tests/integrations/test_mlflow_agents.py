"""rewardanything_mlflow: agents and sessions, judged from the traces of real traced functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.entities import AssessmentSource, SpanType
from mlflow_stores import tracking_store

import rewardanything_mlflow as ra
from rewardanything_core import ConfigError, Judge, Principle, ScriptedBackend
from rewardanything_core.backends import Request, verdict_reply

ASKS = Principle("Ask before anything that cannot be undone.", name="asks")
ANSWER = "Your Downloads folder is clean."
STEPS = {
    "hasty": [("delete_files", {"before": "2024-01-01"})],
    "careful": [("ask_user", {"question": "Delete 214 files?"}), ("delete_files", {"before": "2024-01-01"})],
}


@mlflow.trace(span_type=SpanType.TOOL)
def ask_user(question: str) -> str:
    return f"Yes ({question})"


@mlflow.trace(span_type=SpanType.TOOL)
def delete_files(before: str) -> dict[str, Any]:
    return {"deleted": 214, "before": before}


TOOLS = {"ask_user": ask_user, "delete_files": delete_files}


def program(kind: str, session: str | None = None) -> Any:
    """A traced agent with a stubbed model, which calls one tool after the other and then answers."""

    @mlflow.trace(span_type=SpanType.CHAT_MODEL)
    def chat(messages: list[dict[str, Any]], reasoning_effort: str, retries: int) -> dict[str, Any]:
        done = sum(message["role"] == "tool" for message in messages)
        if done == len(STEPS[kind]):
            return {"role": "assistant", "content": ANSWER}
        name, arguments = STEPS[kind][done]
        call = {"id": f"c{done}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        return {"role": "assistant", "content": None, "tool_calls": [call]}

    @mlflow.trace(span_type=SpanType.AGENT)
    def agent(task: str) -> str:
        if session is not None:
            mlflow.update_current_trace(metadata={"mlflow.trace.session": session})
        messages = [{"role": "system", "content": f"You are {kind}."}, {"role": "user", "content": task}]
        while True:
            reply = chat(messages, "low", 2)
            messages.append(reply)
            if not reply.get("tool_calls"):
                return str(reply["content"])
            for call in reply["tool_calls"]:
                result = TOOLS[call["function"]["name"]](**json.loads(call["function"]["arguments"]))
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": json.dumps(result)})

    return agent


tracking = pytest.fixture(scope="module", autouse=True)(tracking_store)


@pytest.fixture(autouse=True)
def experiment(tracking: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_GENAI_EVAL_MAX_WORKERS", "4")
    monkeypatch.setenv("MLFLOW_GENAI_EVAL_SKIP_TRACE_VALIDATION", "true")
    mlflow.set_experiment(request.node.name)


def reply(request: Request) -> str:
    """5 for responses in which the agent asks, and else 1."""
    responses = json.loads(request.messages[1]["content"])["responses"]
    scores = {name: 5 if '"ask_user"' in json.dumps(turns) else 1 for name, turns in responses.items()}
    return verdict_reply(scores, thoughts="Turn 1 decides.")


@pytest.fixture
def judge() -> Judge:
    return Judge(ScriptedBackend(reply), cache="off")


def material(judge: Judge) -> dict[str, Any]:
    backend: Any = judge.backend
    shown: dict[str, Any] = json.loads(backend.requests[-1].messages[1]["content"])
    return shown


def feedback_of(traces: list[Any]) -> dict[str, Any]:
    return {one.name: one for trace in traces for one in mlflow.get_trace(trace.info.trace_id).info.assessments}


def test_a_traced_agent_is_judged_with_its_calls(judge: Judge) -> None:
    scorers = [
        ra.PrincipleScorer(principle=ASKS, judge=judge, on="trace", threshold=3),
        ra.PrincipleScorer(principle=ASKS, judge=judge, name="text"),
    ]
    agent = program("careful")
    data = [{"inputs": {"task": "Clean up my Downloads folder."}}]
    result = mlflow.genai.evaluate(data=data, predict_fn=agent, scorers=scorers)
    assert (result.metrics["asks/mean"], result.metrics["text/mean"]) == (5, 1)  # equal words, other deeds
    requests = [json.loads(request.messages[1]["content"]) for request in judge.backend.requests]  # type: ignore[attr-defined]
    (shown,) = [one for one in requests if one["responses"] != {"model-1": ANSWER}]
    assert [turn["content"] for turn in shown["prompt"]] == ["You are careful.", "Clean up my Downloads folder."]
    ask, reply, delete, deleted, answer = shown["responses"]["model-1"]
    assert ask["calls"] == [{"call": "1.1", "name": "ask_user", "arguments": {"question": "Delete 214 files?"}}]
    assert (
        reply["result"] == '"Yes (Delete 214 files?)"'
        and deleted["result"] == '{"deleted": 214, "before": "2024-01-01"}'
    )
    assert delete["calls"][0]["name"] == "delete_files" and answer["text"] == ANSWER
    (trace,) = mlflow.search_traces(run_id=result.run_id, return_type="list")
    mlflow.log_feedback(trace_id=trace.info.trace_id, name="good", value=True, source=AssessmentSource("HUMAN", "me"))
    (item,) = ra.labels_from_mlflow([mlflow.get_trace(trace.info.trace_id)], principle=ASKS, on="trace")
    assert len(item.responses["response"].messages) == 5 and item.human == {"response": 1.0}  # type: ignore[union-attr]
    given = feedback_of([trace])["asks"]
    assert given.metadata["turns"] == "1" and given.feedback.value == 5


def test_a_session_is_judged_as_one_conversation(judge: Judge) -> None:
    for kind, session, task in [
        ("hasty", "s1", "Clean up."), ("careful", "s1", "Again, please."), ("hasty", "s2", "Clean up."),
    ]:  # fmt: skip
        program(kind, session)(task)
    mlflow.flush_trace_async_logging()
    traces = mlflow.search_traces(return_type="list", order_by=["timestamp_ms ASC"])
    mlflow.log_expectation(
        trace_id=traces[0].info.trace_id,
        name="expected_response",
        value="It asks both times.",
        source=AssessmentSource("HUMAN", "me"),
        metadata={"mlflow.trace.session": "s1"},
    )
    scorer = ra.PrincipleScorer(principle=ASKS, judge=judge, on="session")
    assert scorer.is_session_level_scorer
    result = mlflow.genai.evaluate(data=mlflow.search_traces(), scorers=[scorer])
    assert result.metrics == {"asks/mean": 3, "asks/judged": 2}
    shown = [json.loads(request.messages[1]["content"]) for request in judge.backend.requests]  # type: ignore[attr-defined]
    both, alone = sorted(shown, key=lambda one: -len(one["responses"]["model-1"]))
    assert len(alone["responses"]["model-1"]) == 3 and "reference" not in alone
    assert both["reference"] == "It asks both times."
    assert [turn["content"] for turn in both["prompt"]] == ["You are hasty.", "Clean up."]
    turns = both["responses"]["model-1"]
    assert [call["name"] for turn in turns for call in turn.get("calls", ())] == [
        "delete_files",
        "ask_user",
        "delete_files",
    ]
    assert [turn["text"] for turn in turns if turn["role"] == "user"] == ["Again, please."]
    given = feedback_of(traces[:1])["asks"]
    assert given.metadata["case_id"] == "s1" and given.feedback.value == 5


def test_runs_of_agents_are_compared_by_what_they_did(judge: Judge) -> None:
    runs = []
    data = [{"inputs": {"task": f"Clean folder {number}."}} for number in range(2)]
    for kind in ("hasty", "careful"):
        with mlflow.start_run(run_name=kind):
            constant = ra.PrincipleScorer(principle=ASKS, judge=judge)
            runs.append(mlflow.genai.evaluate(data=data, predict_fn=program(kind), scorers=[constant]))
    compared = ra.compare_runs(runs, principle=ASKS, judge=judge, on="trace")
    assert compared.win_rates["careful"].value == 1.0 and compared.gains["careful"].value == 4
    shown = material(judge)
    assert sorted(map(len, shown["responses"].values())) == [3, 5]
    assert "You are" not in str(shown)  # what the task was is common to both, and their instructions are not
    assert ra.compare_runs(runs, principle=ASKS, judge=judge).win_rates["careful"].value == 0.5
    for options, message in (({"response": "a"}, "leave out response="), ({"on": "session"}, "'row' or 'trace'")):
        with pytest.raises(ConfigError, match=message):
            ra.compare_runs(runs, principle=ASKS, judge=judge, **{"on": "trace", **options})


def test_verdicts_on_agents_are_logged_as_spans_with_their_turns(judge: Judge) -> None:
    ra.autolog(judge)
    try:
        call = {"role": "assistant", "tool_calls": [{"id": "1", "name": "ask_user", "arguments": {}}]}
        judge.judge(ASKS, "Clean up.", {"a": [call, {"role": "tool", "content": "no"}], "b": "Done."})
    finally:
        ra.autolog(disable=True)
    mlflow.flush_trace_async_logging()
    (trace,) = mlflow.search_traces(return_type="list")
    logged = trace.data.spans[0].inputs["responses"]
    assert logged["b"] == "Done." and logged["a"][0]["tool_calls"][0]["name"] == "ask_user"


def test_options_that_select_a_part_are_refused_for_whole_traces(judge: Judge) -> None:
    for options in ({"response": "answer"}, {"prompt": "task"}, {"candidates": True}):
        with pytest.raises(ValueError, match="judges whole traces"):
            ra.PrincipleScorer(principle=ASKS, judge=judge, on="session", **options)
    scorer = ra.PrincipleScorer(principle=ASKS, judge=judge, on="trace")
    assert "There is no trace to judge" in scorer(outputs="Done.").error.error_message  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="on='session' cannot be aligned"):
        ra.PrincipleScorer(principle=ASKS, judge=judge, on="session").align([])
