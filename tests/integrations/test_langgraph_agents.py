"""rewardanything_langchain: a real LangGraph agent with a scripted model, judged with its calls of tools."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langsmith import Client, tracing_context
from langsmith.evaluation import evaluate
from langsmith.schemas import Example
from pydantic import BaseModel

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.backends import Request, verdict_reply
from rewardanything_langchain import JudgeRunnable, principle_evaluator

ASKS = "Ask before anything that cannot be undone."
TASK = {"messages": [{"role": "user", "content": "Clean up my Downloads folder."}]}


@tool
def ask_user(question: str) -> str:
    """Ask the user."""
    return f"Yes ({question})"


@tool
def delete_files(before: str) -> str:
    """Delete old files."""
    raise PermissionError(f"not the ones before {before}")


class Deleted(BaseModel):
    """What was deleted."""

    files: int


def agent(*names: str) -> Any:
    """A graph whose model calls these tools one after the other, and then answers."""
    arguments = {"ask_user": {"question": "Delete 214 files?"}, "delete_files": {"before": "2024-01-01"}}
    replies: list[BaseMessage] = [
        AIMessage("", tool_calls=[{"name": name, "args": arguments[name], "id": f"call {uuid.uuid4()}"}])
        for name in names
    ]
    model = FakeMessagesListChatModel(responses=[*replies, AIMessage("Your Downloads folder is clean.")])
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([ask_user, delete_files], handle_tool_errors=True))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile()


@pytest.fixture(autouse=True)
def no_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGSMITH_TRACING", "false")


@pytest.fixture
def judge() -> Judge:
    def reply(request: Request) -> str:
        responses = json.loads(request.messages[1]["content"])["responses"]
        return verdict_reply({name: 5 if "ask_user" in str(turns) else 1 for name, turns in responses.items()})

    return Judge(ScriptedBackend(reply), cache="off")


def material(judge: Judge) -> dict[str, Any]:
    backend: Any = judge.backend
    shown: dict[str, Any] = json.loads(backend.requests[-1].messages[1]["content"])
    return shown


def test_an_agent_is_judged_in_langsmiths_evaluation(judge: Judge) -> None:

    def target(inputs: dict[str, Any]) -> Any:
        with tracing_context(enabled=False):  # else the graph sends its runs to LangSmith
            return agent("ask_user", "delete_files").invoke(inputs)

    results = evaluate(
        target,
        data=[Example(id=uuid.uuid4(), inputs=TASK, dataset_id=uuid.uuid4())],
        evaluators=[principle_evaluator(ASKS, judge=judge, key="asks")],
        client=Client(api_key="none", api_url="http://127.0.0.1:9", auto_batch_tracing=False),
        upload_results=False,
    )
    (row,) = results
    assert row["evaluation_results"]["results"][0].score == 1.0
    shown = material(judge)
    assert shown["prompt"] == "Clean up my Downloads folder."
    ask, answered, delete, failed, answer = shown["responses"]["model-1"]
    assert ask["calls"] == [{"call": "1.1", "name": "ask_user", "arguments": {"question": "Delete 214 files?"}}]
    assert answered["result"] == "Yes (Delete 214 files?)" and answered["call"] == "1.1"
    assert delete["calls"][0]["name"] == "delete_files"
    assert failed["error"] is True and "not the ones before 2024-01-01" in failed["result"]
    assert answer["text"] == "Your Downloads folder is clean."


def test_a_trajectory_is_judged_as_evaluators_of_agentevals_are_called(judge: Judge) -> None:
    evaluator = principle_evaluator(ASKS, judge=judge, key="asks", use_reference=True)
    hasty, careful = (agent(*names).invoke(TASK)["messages"] for names in (["delete_files"], ["ask_user"]))
    assert evaluator(outputs=hasty, reference_outputs=careful)["score"] == 0.0
    shown = material(judge)
    assert shown["prompt"] == "Clean up my Downloads folder."
    assert [turn["role"] for turn in shown["responses"]["model-1"]] == ["assistant", "tool", "assistant"]
    assert 'assistant calls ask_user {"question":' in shown["reference"]
    assert evaluator(outputs=careful, reference_outputs=hasty)["score"] == 1.0


@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy])
def test_the_structured_answer_of_an_agent_of_langchain_is_judged_once(strategy: Any, judge: Judge) -> None:
    class Model(FakeMessagesListChatModel):
        def bind_tools(self, tools: Any, **options: Any) -> Any:
            return self

    calls = [{"name": "Deleted", "args": {"files": 214}, "id": "1"}]
    reply = AIMessage("", tool_calls=calls) if strategy is ToolStrategy else AIMessage('{"files": 214}')
    state = create_agent(Model(responses=[reply]), [ask_user], response_format=strategy(Deleted)).invoke(TASK)
    assert state["structured_response"] == Deleted(files=214)
    assert principle_evaluator(ASKS, judge=judge)(inputs=TASK, outputs=state)["score"] == 0.0
    assert str(material(judge)["responses"]).count("214") == (2 if strategy is ToolStrategy else 1)  # a call, a result
    # LangGraph's own agent has it next to the messages only.
    apart = {**state, "messages": [*TASK["messages"], AIMessage("Done.")]}
    assert principle_evaluator(ASKS, judge=judge)(inputs=TASK, outputs=apart)["score"] == 0.0
    done, answer = material(judge)["responses"]["model-1"]
    assert (done["text"], answer["text"]) == ("Done.", '{"files": 214}')


def test_several_runs_of_an_agent_are_judged_side_by_side(judge: Judge) -> None:
    runs = {"hasty": agent("delete_files").invoke(TASK), "careful": agent("ask_user", "delete_files").invoke(TASK)}
    verdict = JudgeRunnable(principle=ASKS, judge=judge).invoke({"prompt": TASK, "responses": runs})
    assert verdict.ranking == ["careful", "hasty"]
    assert sorted(map(len, material(judge)["responses"].values())) == [3, 5]
    assert "Clean up my" not in str(material(judge)["responses"])
