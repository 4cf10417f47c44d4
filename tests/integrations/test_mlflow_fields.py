"""How rewardanything_mlflow reads prompts, responses and references from the fields of an MLflow row."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from mlflow.types.responses import ResponsesAgentResponse

from rewardanything_core import InvalidCaseError
from rewardanything_mlflow.fields import candidates_from, prompt_from, reference_from, response_from

CALL = {"name": "f", "arguments": '{"x": 1}'}
TOOL_USE = {"id": "1", "name": "f", "input": {"x": 1}}
OPENAI_CALL = {"id": "1", "type": "function", "function": CALL}
USER = {"role": "user", "content": "yo"}
HI = {"role": "assistant", "content": "hi"}


def calling(content: Any = None, arguments: Any = None, call_id: str | None = "1") -> dict[str, Any]:
    """A call in normal form."""
    call = {"id": call_id, "name": "f", "arguments": {"x": 1} if arguments is None else arguments}
    return {"role": "assistant", "content": content, "tool_calls": [call]}


def sunny(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "sunny"}


class SdkCompletion:
    def model_dump(self) -> dict[str, Any]:
        return {"choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}}], "model": "m"}


@dataclasses.dataclass
class Reply:
    role: str
    content: str


AGENT_REPLY = ResponsesAgentResponse(
    output=[
        {"type": "function_call", "id": "fc", "call_id": "c", **CALL},
        {"type": "function_call_output", "call_id": "c", "output": "sunny"},
        {"type": "message", "id": "m", "role": "assistant", "content": [{"type": "output_text", "text": "hi"}]},
    ],
    custom_outputs={"session": "1"},
)


@pytest.mark.parametrize(
    ("outputs", "selector", "expected"),
    [
        ("hi", None, "hi"),
        ("", None, ""),
        ({"answer": "hi"}, None, "hi"),
        ({"answer": HI}, None, "hi"),
        (HI, None, "hi"),
        ({"role": "assistant", "content": ""}, None, ""),
        ({"role": "assistant", "content": [{"type": "text", "text": "hi"}]}, None, "hi"),
        ([USER, HI], None, "hi"),
        ({"messages": [USER, HI]}, None, "hi"),
        ({"messages": [USER, HI], "finish_reason": "stop", "custom_outputs": {"a": 1}}, None, "hi"),
        ({"model": "m", "message": HI, "usage": {"total_tokens": 3}}, None, "hi"),
        (SdkCompletion(), None, "hi"),
        (SdkCompletion(), "choices.0.message.content", "hi"),
        (Reply("assistant", "hi"), None, "hi"),
        ({"choices": [{"text": "hi", "index": 0}]}, None, "hi"),
        ({"a.b": "hi", "c": "d"}, "a.b", "hi"),
        ({"x": {"y": ["no", "hi"]}}, "x.y.1", "hi"),
        ({"x": 1, "y": "hi"}, lambda outputs: outputs["y"], "hi"),
        # tool calls, refusals and results are part of the answer, reasoning is not
        ({"role": "assistant", "content": None, "tool_calls": [OPENAI_CALL]}, None, [calling()]),
        ({"role": "assistant", "tool_calls": [OPENAI_CALL]}, None, [calling()]),
        ({"role": "assistant", "content": "hi", "tool_calls": [OPENAI_CALL]}, None, [calling("hi")]),
        ({"role": "assistant", "content": "", "function_call": CALL}, None, [calling(call_id=None)]),
        ({"role": "assistant", "content": None, "refusal": "no"}, None, "no"),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, None, "no"),
        (
            {"role": "assistant", "content": [{"type": "tool_use", **TOOL_USE}]},
            None,
            [calling()],
        ),
        (
            [{"type": "text", "text": "a"}, {"type": "tool_use", **TOOL_USE}, {"type": "text", "text": "b"}],
            None,
            [calling("a"), {"role": "assistant", "content": "b"}],
        ),
        ({"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{bad"}}]}, None,
         [calling(None, "{bad", None)]),
        (AGENT_REPLY, None, [calling(call_id="c"), sunny("c"), HI]),
        (AGENT_REPLY.model_dump()["output"], None, [calling(call_id="c"), sunny("c"), HI]),
        # Bedrock
        (
            {"output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}}, "stopReason": "end_turn"},
            None,
            "hi",
        ),
        ([{"text": "a"}, {"toolUse": {"toolUseId": "1", "name": "f", "input": {"x": 1}}}], None, [calling("a")]),
        # LangChain
        (AIMessage("hi"), None, "hi"),
        (AIMessage("", tool_calls=[{"name": "f", "args": {"x": 1}, "id": None}]), None, [calling(call_id=None)]),
        (AIMessage("", invalid_tool_calls=[{"name": "f", "args": "{bad", "id": "1", "error": None}]), None,
         [calling(None, "{bad")]),
        (AIMessage("", additional_kwargs={"refusal": "no"}), None, "no"),
        (
            AIMessage(
                [{"type": "text", "text": "hi"}, {"type": "tool_use", **TOOL_USE}],
                tool_calls=[{"name": "f", "args": {"x": 1}, "id": "1"}],
            ),
            None,
            [calling("hi")],
        ),
        (
            {
                "messages": [
                    HumanMessage("yo"),
                    AIMessage("", tool_calls=[{"name": "f", "args": {"x": 1}, "id": "1"}]),
                    ToolMessage("sunny", tool_call_id="1"),
                    AIMessage("hi"),
                ]
            },
            None,
            [calling(), sunny("1"), HI],
        ),
    ],
)  # fmt: skip
def test_a_response_is_read_in_full(outputs: Any, selector: Any, expected: str) -> None:
    response = response_from(outputs, selector)
    assert (response if isinstance(response, str) else list(response.messages)) == expected


def test_what_repeats_the_prompt_is_not_part_of_the_response() -> None:
    prompt = [
        {"role": "user", "content": "yo"},
        {"role": "assistant", "content": "?"},
        {"role": "user", "content": "hi"},
    ]
    assert response_from({"messages": [*prompt, HI]}, prompt=prompt) == "hi"
    messages = response_from({"messages": [*prompt, HI]}, prompt=[USER, HI]).messages  # type: ignore[union-attr]
    assert messages == (*prompt[1:], HI)


class Labelled(NamedTuple):
    category: str
    summary: str


@pytest.mark.parametrize(
    "outputs",
    [
        {"model": "m", "message": HI, "done": True, "done_reason": "stop", "eval_count": 3},  # Ollama
        {"role": "assistant", "meta": {"model": "m"}, "name": None, "content": [{"text": "hi"}]},  # Haystack
        {"role": "assistant", "parts": [{"type": "step-start"}, {"type": "text", "text": "hi", "state": "done"}]},
        {
            "id": "1",
            "finish_reason": "COMPLETE",
            "message": {"role": "assistant", "content": [{"text": "hi"}]},
        },  # Cohere
    ],
)
def test_replies_of_other_libraries(outputs: Any) -> None:
    assert response_from(outputs) == "hi"


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (None, "outputs is empty"),
        (float("nan"), "outputs is empty"),
        (pd.NA, "outputs is empty"),
        (pd.NaT, "outputs is empty"),
        (b"hi", "outputs is bytes"),
        ({"answer": b"hi"}, "'answer'"),
        ({"error": "overloaded"}, "'error'"),
        ({"promptFeedback": {"blockReason": "SAFETY"}}, "'promptFeedback'"),
        (Labelled("spam", "An offer."), "'category', 'summary'"),
        (3, "is of type int"),
        ({}, "(none)"),
        ([], "is of type list"),
        (["a", "b"], "candidates=True"),
        (np.array(["a", "b"]), "candidates=True"),
        ({"a": 1}, "'a'"),
        ({"a": {"b": 1}, "c": "x", "d": "y"}, "'a', 'c', 'd'"),
        ({"gpt": "a", "ours": "b"}, "'gpt', 'ours'"),
        ({"answer": "hi", "tokens": 3}, "'answer', 'tokens'"),
        ({"messages": [USER, HI], "summary": "x"}, "'summary'"),
        ({"output": "hi", "tool_calls": [1]}, "'output', 'tool_calls'"),
        ({"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}, "candidates=True"),
        ([{"text": "a"}, {"text": "b"}], "is of type list"),
        ([{"role": "user", "content": "hi"}], "no message of the assistant"),
        ({"role": "assistant"}, "'content'"),
        ({"role": "assistant", "content": None}, "neither text nor tool calls"),
        ({"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}]}, "neither text nor tool calls"),
        ({"role": "assistant", "content": [{"type": "image", "source": {}}]}, "without its data"),
        ({"role": "assistant", "content": [{"image": {"format": "png"}}]}, "without its data"),
        (object(), "of type object"),
        ({"role": "assistant", "content": None, "audio": {"id": "a", "data": "x"}}, "audio"),
        ({"role": "assistant", "content": 3}, "type int"),
        ({"object": "response", "output": []}, "has no messages"),
        ({"object": "response", "output": [{"type": "item_reference", "id": "x"}]}, "refers to the item 'x'"),
    ],
)
def test_an_unclear_response_is_an_error_that_names_the_field(outputs: Any, message: str) -> None:
    with pytest.raises(InvalidCaseError, match="response") as error:
        response_from(outputs)
    assert message in str(error.value)
    assert error.value.field == "response"


KEYS = "role content type text tool_calls output message messages choices function name input toolUse refusal id"
PLAIN_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS.split()),
            inner
            | st.sampled_from(["assistant", "user", "text", "message", "function_call", "tool_use", "tool_result"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(PLAIN_JSON)
def test_any_json_is_a_text_or_an_invalid_case_and_nothing_else(value: Any) -> None:
    for read in (response_from, prompt_from, candidates_from):
        try:
            read(value)
        except InvalidCaseError as error:
            assert error.field in ("response", "prompt")


@pytest.mark.parametrize(
    ("outputs", "selector", "expected"),
    [
        (["a", "b"], None, {"0": "a", "1": "b"}),
        (["a"], None, {"0": "a"}),
        ([HI, {"choices": [{"message": HI}]}], None, {"0": "hi", "1": "hi"}),
        ({"gpt": {"answer": "a"}, "ours": {"answer": "b"}}, None, {"gpt": "a", "ours": "b"}),
        ({"gpt": "a", "ours": "b"}, None, {"gpt": "a", "ours": "b"}),
        ({"drafts": ["a", "b"], "model": "m"}, "drafts", {"0": "a", "1": "b"}),
        ({"choices": [{"message": {"content": "a"}}, {"message": {"content": "b"}}]}, None, {"0": "a", "1": "b"}),
    ],
)
def test_candidates(outputs: Any, selector: Any, expected: dict[str, str]) -> None:
    assert candidates_from(outputs, selector) == expected


@pytest.mark.parametrize(
    "outputs", [None, [], {}, "a", HI, {"output": [HI]}, ["a", 3], {"a": "x", "b": {"c": 1, "d": 2}}]
)
def test_candidates_must_all_be_responses(outputs: Any) -> None:
    with pytest.raises(InvalidCaseError, match=r"response|candidate"):
        candidates_from(outputs)


CHAT = [{"role": "system", "content": "Be."}, {"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(
    ("inputs", "selector", "expected"),
    [
        ("hi", None, "hi"),
        ({"question": "hi"}, None, "hi"),
        ({"question": "hi", "k": 3, "user_id": "u1", "history": []}, None, "hi"),
        (CHAT, None, CHAT),
        ({"messages": CHAT, "model": "gpt"}, None, CHAT),
        ({"messages": CHAT, "context": {"conversation_id": "1", "user_id": "u"}}, None, CHAT),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]}, None, CHAT[1:]),
        ({"request": {"messages": CHAT}}, "request", CHAT),
        ({"question": "hi", "context": "there"}, "question", "hi"),
        ({"question": "hi", "context": "there"}, lambda i: f"{i['context']} {i['question']}", "there hi"),
        ([HumanMessage("Hi")], None, CHAT[1:]),
        (
            [USER, {"role": "assistant", "content": None, "tool_calls": [OPENAI_CALL]}],
            None,
            [USER, calling()],
        ),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
            None,
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}],
        ),
    ],
)
def test_prompts(inputs: Any, selector: Any, expected: Any) -> None:
    assert prompt_from(inputs, selector) == expected


@pytest.mark.parametrize(
    ("inputs", "selector", "message"),
    [
        ({"question": "a", "context": "b"}, None, r"'question', 'context'.*prompt="),
        ({"messages": CHAT, "documents": ["b"]}, None, r"'messages', 'documents'.*prompt="),
        ({"question": "a"}, "query", "no 'query' in inputs"),
        (None, None, "inputs is empty"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}], None, "without its data"),
        ({"question": "a", "client": object()}, None, "client is of type object.*set prompt="),
    ],
)
def test_an_unclear_prompt_is_an_error_that_says_what_to_do(inputs: Any, selector: Any, message: str) -> None:
    with pytest.raises(InvalidCaseError, match=message) as error:
        prompt_from(inputs, selector)
    assert error.value.field == "prompt"


def test_a_selector_that_raises_is_an_error_of_the_row() -> None:
    with pytest.raises(InvalidCaseError, match="response= raised KeyError: 'b', for outputs, which has the keys 'a'"):
        response_from({"a": "x"}, lambda outputs: outputs["b"])


def test_references() -> None:
    assert reference_from({"expected_response": "x"}, "expected_response") == "x"
    assert reference_from({"expected_response": {"content": "x"}}, "expected_response") == "x"
    assert reference_from({"expected_facts": ["x"]}, "expected_response") is None
    assert reference_from({"expected_response": None}, "expected_response") is None
    assert reference_from({"expected_response": float("nan")}, "expected_response") is None
    assert reference_from({"expected_response": "x"}, None) is None
    assert reference_from(None, "expected_response") is None
    for unclear in ({"a": "x", "b": "y"}, ["x", "y"], 3):
        with pytest.raises(InvalidCaseError, match=r"'expected_response', which .* is not a reference"):
            reference_from({"expected_response": unclear}, "expected_response")
