"""LangChain's messages, LangGraph's states and LangSmith's runs."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel
from langchain_core.load import dumpd
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
    add_notification_metadata,
    message_to_dict,
)
from langchain_core.outputs import ChatGeneration, ChatResult, LLMResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_openai.chat_models.base import _construct_lc_result_from_responses_api
from langgraph.graph import MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langsmith.schemas import Run
from openai.types.responses import Response
from weather import ANSWER, ARGUMENTS, CALLING, CONVERSATION, QUESTION, RESULT, assistant, text, thought

from rewardanything_core import InvalidCaseError
from rewardanything_core.conversations import read_messages

CALL = {"name": "get_weather", "args": ARGUMENTS, "id": "c1"}
MESSAGES: list[BaseMessage] = [
    HumanMessage("Is it warm in Ulm?"),
    AIMessage("I will look.", tool_calls=[CALL]),
    ToolMessage('{"temp": 21}', tool_call_id="c1"),
    AIMessage("Yes, it is.", usage_metadata={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}),
]


def read(value: Any) -> list[Any]:
    return list(read_messages(value, where="response"))


@pytest.mark.parametrize(
    "form",
    [
        lambda message: message,
        message_to_dict,
        dumpd,
        lambda message: message.model_dump(),
        lambda message: dumpd(message)["kwargs"],
    ],
    ids=["objects", "message_to_dict", "dumpd", "model_dump", "kwargs"],
)
def test_every_form_of_a_tool_calling_conversation(form: Any) -> None:
    messages = [form(message) for message in MESSAGES]
    assert read(messages) == read({"messages": messages}) == read(tuple(messages)) == list(CONVERSATION)
    assert read(messages[-1]) == [ANSWER]


def test_prompts_pairs_and_mixed_lists() -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "Be kind."), ("human", "{q}")]).invoke({"q": "Hi"})
    expected = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    assert read(prompt) == read(dumpd(prompt)) == read([("system", "Be kind."), ("human", "Hi")]) == expected
    assert read([QUESTION, MESSAGES[1], RESULT, ("ai", "Yes, it is.")]) == list(CONVERSATION)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (SystemMessage("s", additional_kwargs={"__openai_role__": "developer"}), {"role": "developer", "content": "s"}),
        (ChatMessage("hi", role="user"), {"role": "user", "content": "hi"}),
        (FunctionMessage("1", name="f"), {"role": "tool", "name": "f", "content": "1"}),
        (HumanMessage("hi", name="ann"), {"role": "user", "name": "ann", "content": "hi"}),
        (
            ToolMessage("boom", tool_call_id="1", status="error", artifact={"rows": [1]}, name="f"),
            {"role": "tool", "name": "f", "tool_call_id": "1", "content": "boom", "is_error": True},
        ),
        (
            AIMessage("", invalid_tool_calls=[{"name": "f", "args": "{bad", "id": "1", "error": "no JSON"}]),
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "name": "f", "arguments": "{bad"}]},
        ),
        (
            AIMessage(
                [
                    {"type": "text", "text": "I will look."},
                    {"type": "tool_use", "id": "c1", "name": "get_weather", "input": {}},
                ],
                tool_calls=[CALL],
                additional_kwargs={"tool_calls": [{"id": "c1", "function": {"name": "get_weather", "arguments": "?"}}]},
            ),
            CALLING,
        ),
        (
            AIMessageChunk(
                "I will look.", tool_call_chunks=[{**CALL, "args": '{"city": "Ulm", "days": [1, 2]}', "index": 0}]
            ),
            CALLING,
        ),
        (AIMessage("", additional_kwargs={"refusal": "No."}), {"role": "assistant", "content": "No."}),
        (
            ToolMessage("boom", tool_call_id="1", additional_kwargs={"is_error": True, "name": "f"}),
            {"role": "tool", "name": "f", "tool_call_id": "1", "content": "boom", "is_error": True},
        ),
        (
            add_notification_metadata(HumanMessage("A summary."), source="summarization", data={"n": 1}),
            {"role": "user", "content": "A summary."},
        ),
        (AIMessage("a", additional_kwargs={"reasoning_content": "hm"}), assistant(thought("hm"), text("a"))),
        (
            AIMessage(
                "a",
                additional_kwargs={
                    "reasoning": {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
                },
            ),
            assistant(thought("hm"), text("a")),
        ),
        (AIMessage([{"type": "reasoning", "reasoning": "hm"}, "a"]), assistant(thought("hm"), text("a"))),
        (
            HumanMessage(
                [{"type": "text", "text": "See"}, {"type": "image", "base64": "QUJD", "mime_type": "image/webp"}]
            ),
            {
                "role": "user",
                "content": [text("See"), {"type": "image_url", "image_url": {"url": "data:image/webp;base64,QUJD"}}],
            },
        ),
        (
            AIMessage([{"type": "non_standard", "value": {"type": "thinking", "thinking": "hm"}}, "a"]),
            assistant(thought("hm"), text("a")),
        ),
    ],
)
def test_variants_of_messages(message: BaseMessage, expected: Any) -> None:
    assert read(message) == read(message_to_dict(message)) == [expected]


def test_tools_that_the_provider_ran() -> None:
    called = {"type": "server_tool_call", "id": "s", "name": "web_search", "args": {"query": "ulm"}}
    result = {"type": "server_tool_result", "tool_call_id": "s", "status": "error", "output": "down"}
    assert read(AIMessage([called, result, "Sorry."])) == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "s", "name": "web_search", "arguments": {"query": "ulm"}}],
        },
        {"role": "tool", "tool_call_id": "s", "content": "down", "is_error": True},
        {"role": "assistant", "content": "Sorry."},
    ]


@pytest.mark.parametrize("version", ["v0", "responses/v1", "v1"])
def test_tools_of_openais_responses_api_as_chat_openai_returns_them(version: str) -> None:
    items = [
        {"type": "mcp_call", "id": "m", "server_label": "maps", "name": "f", "arguments": '{"q": 1}', "output": "Ulm"},
        {
            "type": "code_interpreter_call", "id": "c", "container_id": "x", "status": "completed",
            "code": "1+1", "outputs": [{"type": "logs", "logs": "2"}],
        },
        {
            "type": "message", "id": "t", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "It is 2.", "annotations": []}],
        },
    ]  # fmt: skip
    response = Response.model_validate(
        {"id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": items}
        | {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    )
    message = _construct_lc_result_from_responses_api(response, output_version=version).generations[0].message
    expected = [
        {"tool_calls": [{"id": "m", "name": "maps.f", "arguments": {"q": 1}}]},
        {"tool_call_id": "m", "content": "Ulm"},
        {"tool_calls": [{"id": "c", "name": "code_interpreter", "arguments": {"code": "1+1"}}]},
        {"tool_call_id": "c", "content": '[{"logs": "2", "type": "logs"}]'},
        {"content": "It is 2."},
    ]
    messages = read(message)
    assert [message["role"] for message in messages] == ["assistant", "tool", "assistant", "tool", "assistant"]
    assert [{key: message[key] for key in known} for known, message in zip(expected, messages, strict=True)] == expected
    with pytest.raises(InvalidCaseError, match="content part 0 is a tool call in a message of the role 'user'"):
        read(HumanMessage([{"type": "web_search_call", "id": "w", "action": {"query": "q"}}]))


def test_the_chunks_of_a_message_are_not_several_turns() -> None:
    chunks = [AIMessageChunk("Yes, ", id="1"), AIMessageChunk("it is.", id="1")]
    assert read([MESSAGES[0], chunks[0] + chunks[1]]) == [QUESTION, ANSWER]
    assert len(read([chunks[0], AIMessageChunk("No.", id="2")])) == 2
    with pytest.raises(InvalidCaseError, match="has several chunks of one message"):
        read([MESSAGES[0], *chunks])


def test_results_of_models() -> None:
    generation = ChatGeneration(message=MESSAGES[-1])
    assert read(ChatResult(generations=[generation])) == read(LLMResult(generations=[[generation]])) == [ANSWER]
    with pytest.raises(InvalidCaseError, match="has 2 generations; a conversation has one"):
        read(ChatResult(generations=[generation, generation]))


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (RemoveMessage("1"), "removes a message"),
        (ChatMessage("x", role="critic"), "has role 'critic'"),
        (
            HumanMessage([{"type": "audio", "base64": "AA", "mime_type": "audio/wav"}]),
            "content part 0 has type 'audio'",
        ),
        (AIMessage("", additional_kwargs={"audio": {"data": "AA"}}), "additional_kwargs has 'audio'"),
        ({"lc": 1, "type": "not_implemented", "id": ["a", "Odd"]}, "is 'Odd', which LangChain could not serialise"),
    ],
)
def test_what_is_no_message_is_named(message: Any, problem: str) -> None:
    with pytest.raises(InvalidCaseError, match=f"message 0.*{problem}"):
        read([message])


@tool
def get_weather(city: str, days: list[int]) -> dict[str, int]:
    """The weather."""
    return {"temp": 21}


def agent_state() -> dict[str, Any]:
    """The final state of a real LangGraph agent, whose model is scripted."""
    model = FakeMessagesListChatModel(responses=[MESSAGES[1], MESSAGES[3]])
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [model.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([get_weather]))
    graph.set_entry_point("model")
    graph.add_conditional_edges("model", lambda state: "tools" if state["messages"][-1].tool_calls else "__end__")
    graph.add_edge("tools", "model")
    return graph.compile().invoke({"messages": [("user", "Is it warm in Ulm?")]})


def test_the_state_of_a_langgraph_agent() -> None:
    expected = list(CONVERSATION)
    expected[2] = {**RESULT, "name": "get_weather"}
    assert read(agent_state()) == expected
    assert read({**agent_state(), "remaining_steps": 3}) == expected
    with pytest.raises(InvalidCaseError, match="it has 'documents'"):
        read({**agent_state(), "documents": ["d"]})


# --- LangSmith


START = datetime(2026, 1, 1, tzinfo=UTC)


def run(run_type: str, second: int, inputs: Any, outputs: Any, **more: Any) -> Run:
    fields = {
        "name": run_type,
        "inputs": inputs,
        "outputs": outputs,
        "trace_id": uuid.UUID(int=1),
        "session_id": uuid.UUID(int=2),
    }
    start = START + timedelta(seconds=second)
    return Run(**{"id": uuid.uuid4(), "run_type": run_type, "start_time": start, **fields, **more})


def llm_run(second: int, given: list[BaseMessage], reply: BaseMessage) -> Run:
    generation = {"text": reply.text, "message": dumpd(reply), "type": "ChatGeneration", "generation_info": None}
    outputs = {"generations": [[generation]], "llm_output": None, "run": None, "type": "LLMResult"}
    return run("llm", second, {"messages": [[dumpd(message) for message in given]]}, outputs)


def test_a_run_tree_of_langsmith() -> None:
    children = [
        llm_run(3, MESSAGES[:3], MESSAGES[3]),
        run("tool", 2, {"input": "{'city': 'Ulm'}"}, {"output": dumpd(MESSAGES[2])}, name="get_weather"),
        llm_run(1, MESSAGES[:1], MESSAGES[1]),
    ]
    root = run("chain", 0, {"question": "Is it warm in Ulm?"}, {"answer": "Yes, it is."}, child_runs=children)
    assert read(root) == list(CONVERSATION)
    apart = [root.model_copy(update={"child_runs": None}), *children]
    for child in children:
        child.parent_run_id = root.id
    assert read(apart) == list(CONVERSATION)
    assert read(llm_run(1, MESSAGES[:1], MESSAGES[1])) == list(CONVERSATION[:2])


def test_a_run_without_a_model_has_its_tools_and_its_own_words() -> None:
    children = [run("tool", 1, {"input": {"q": "ulm"}}, None, name="search", error="down")]
    root = run("chain", 0, {"question": "Is it warm?", "lang": "en"}, {"output": "No idea."}, child_runs=children)
    asked, calling, result, answer = read(root)
    assert asked == {"role": "user", "content": "question: Is it warm?\nlang: en"}
    assert calling["tool_calls"][0]["name"] == "search" and calling["tool_calls"][0]["arguments"] == {"q": "ulm"}
    assert result["content"] == "down" and result["is_error"]
    assert result["tool_call_id"] == calling["tool_calls"][0]["id"]
    assert answer == {"role": "assistant", "content": "No idea."}
