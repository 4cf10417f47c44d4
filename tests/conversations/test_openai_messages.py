"""OpenAI's chat and Responses APIs, and chat messages of servers, trainers and our own."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.responses import Response, ResponseFunctionToolCall, ResponseOutputMessage
from openai.types.responses.response_output_item import ResponseOutputItem
from pydantic import TypeAdapter
from weather import ANSWER, ARGUMENTS, CALLING, CONVERSATION, QUESTION, RESULT, assistant, text, thought

from rewardanything_core import InvalidCaseError
from rewardanything_core.conversations import read_messages

FUNCTION = {"name": "get_weather", "arguments": json.dumps(ARGUMENTS)}
OPENAI_CALL = {"id": "c1", "type": "function", "function": FUNCTION}
IMAGE = {"type": "image_url", "image_url": {"url": "https://example.org/ulm.png"}}


def read(value: Any) -> list[Any]:
    return list(read_messages(value, where="response"))


def completion(*messages: dict[str, Any]) -> ChatCompletion:
    choices = [{"index": i, "finish_reason": "stop", "message": one} for i, one in enumerate(messages)]
    fields = {"id": "x", "created": 1, "model": "m", "object": "chat.completion", "choices": choices}
    return ChatCompletion.model_validate(
        {**fields, "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}
    )


def response(*items: dict[str, Any]) -> Response:
    return Response.model_validate(
        {
            "id": "resp",
            "created_at": 1,
            "model": "m",
            "object": "response",
            "output": list(items),
            "status": "completed",
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "instructions": "Be brief.",
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "reasoning": {"effort": "low"},
            "truncation": "disabled",
        }
    )


def test_a_tool_calling_conversation_of_the_chat_api() -> None:
    calling = ChatCompletionMessage.model_validate(
        {"role": "assistant", "content": "I will look.", "tool_calls": [OPENAI_CALL]}
    )
    messages = [QUESTION, calling, RESULT, completion(ANSWER).choices[0].message]
    assert read(messages) == read({"messages": messages, "model": "m", "tools": [1]}) == list(CONVERSATION)
    assert read(completion(ANSWER)) == [ANSWER]
    assert read(calling) == [CALLING]


def test_normal_form_is_read_as_itself() -> None:
    rich = [
        {"role": "system", "content": "Be kind."},
        {
            "role": "user",
            "name": "ann",
            "content": [text("What is this?"), {**IMAGE, "image_url": {"url": "x", "detail": "low"}}],
        },
        {**assistant(thought("A tower."), text("A tower.", annotations=[{"url": "u"}])), "name": "guide"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": None, "name": "f", "arguments": "{broken"}]},
        {"role": "tool", "content": None, "name": "f", "is_error": True},
        {"role": "tool", "content": "", "tool_call_id": "c9"},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": None},
    ]
    assert read(rich) == rich
    assert read(CONVERSATION) == list(CONVERSATION)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"role": "assistant", "content": None, "refusal": "No."}, {"role": "assistant", "content": "No."}),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "assistant", "content": "No."},
        ),
        (
            {"role": "assistant", "content": "", "function_call": FUNCTION},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": None, "name": "get_weather", "arguments": ARGUMENTS}],
            },
        ),
        ({"role": "function", "name": "f", "content": "1"}, {"role": "tool", "name": "f", "content": "1"}),
        ({"role": "assistant", "content": "a", "reasoning_content": "hm"}, assistant(thought("hm"), text("a"))),
        (
            {"role": "assistant", "content": "a", "reasoning": "hm", "reasoning_content": "hm"},
            assistant(thought("hm"), text("a")),
        ),
        (
            {"role": "assistant", "content": "a", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]},
            assistant(thought("hm"), text("a")),
        ),
        (
            {"role": "assistant", "content": "a", "annotations": [{"type": "url_citation", "url": "u"}]},
            assistant(text("a", annotations=[{"type": "url_citation", "url": "u"}])),
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": "a"}, "b", IMAGE]},
            {"role": "user", "content": [text("a"), text("b"), IMAGE]},
        ),
        (
            {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "a"}]},
            {"role": "tool", "tool_call_id": "1", "content": "a"},
        ),
        ({"role": "tool", "content": {"rows": [1, None]}}, {"role": "tool", "content": '{"rows": [1, null]}'}),
        (
            {"role": "tool", "content": [{"type": "file", "path": "a.txt"}]},
            {"role": "tool", "content": '[{"type": "file", "path": "a.txt"}]'},
        ),
    ],
)
def test_variants_of_chat_messages(message: Any, expected: Any) -> None:
    assert read(message) == [expected]


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ('{"a": 1.5}', {"a": 1.5}),
        ("[1]", [1]),
        ("", ""),
        ("{broken", "{broken"),
        ('{"a": 1, "a": 2}', '{"a": 1, "a": 2}'),
        ('{"a": NaN}', '{"a": NaN}'),
        ('{"a": 1e999}', '{"a": 1e999}'),
        ("[" * 200 + "]" * 200, "[" * 200 + "]" * 200),
        ("[" * 100_000, "[" * 100_000),
        ({"a": float("nan")}, {"a": "NaN"}),
        (None, {}),
    ],
)
def test_arguments_are_parsed_only_if_nothing_is_lost(written: Any, arguments: Any) -> None:
    call = {"id": "1", "function": {"name": "f", "arguments": written}}
    (message,) = read({"role": "assistant", "content": None, "tool_calls": [call]})
    assert message["tool_calls"] == [{"id": "1", "name": "f", "arguments": arguments}]


def test_completions_of_trl_and_verl() -> None:
    trl_call = {"type": "function", "function": {"name": "get_weather", "arguments": ARGUMENTS}}
    completions = [
        {"role": "assistant", "content": "I will look.", "tool_calls": [trl_call]},
        {"role": "tool", "name": "get_weather", "content": '{"temp": 21}'},
        ANSWER,
    ]
    expected = [
        {**CALLING, "tool_calls": [{"id": None, "name": "get_weather", "arguments": ARGUMENTS}]},
        {"role": "tool", "name": "get_weather", "content": '{"temp": 21}'},
        ANSWER,
    ]
    assert read(completions) == expected
    assert read({"messages": np.array(completions, dtype=object)}) == expected  # as a Parquet file gives them back


def test_items_of_the_responses_api() -> None:
    items = [
        {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "First look."}]},
        {
            "type": "message",
            "id": "m1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "I will look.", "annotations": []}],
        },
        {"type": "function_call", "id": "fc", "call_id": "c1", **FUNCTION},
    ]
    output = response(*items).output
    assert isinstance(output[2], ResponseFunctionToolCall)
    given = [QUESTION, *output, {"type": "function_call_output", "call_id": "c1", "output": '{"temp": 21}'}]
    last = ResponseOutputMessage.model_validate(
        {
            "id": "m2",
            "role": "assistant",
            "status": "completed",
            "type": "message",
            "content": [{"type": "output_text", "text": "Yes, it is.", "annotations": []}],
        }
    )
    calling = {**assistant(thought("First look."), text("I will look.")), "tool_calls": CALLING["tool_calls"]}
    assert read([*given, last]) == [QUESTION, calling, RESULT, ANSWER]
    assert read(response(*items)) == [calling]
    assert read({"input": [*given, last], "model": "m"}) == [QUESTION, calling, RESULT, ANSWER]


BUILT_IN: list[tuple[dict[str, Any], list[Any]]] = [
    (
        {
            "type": "web_search_call",
            "id": "w",
            "status": "completed",
            "action": {"type": "search", "query": "ulm", "queries": ["ulm"]},
        },
        [("web_search", {"action": {"type": "search", "query": "ulm", "queries": ["ulm"]}})],
    ),
    (
        {
            "type": "file_search_call",
            "id": "f",
            "status": "completed",
            "queries": ["q"],
            "results": [{"text": "found", "score": 1}],
        },
        [("file_search", {"queries": ["q"]}), '"text": "found"'],
    ),
    (
        {
            "type": "code_interpreter_call",
            "id": "c",
            "code": "1+1",
            "container_id": "k",
            "status": "completed",
            "outputs": [{"type": "logs", "logs": "2"}],
        },
        [("code_interpreter", {"code": "1+1"}), '"logs": "2"'],
    ),
    (
        {
            "type": "mcp_call",
            "id": "m",
            "name": "read",
            "server_label": "files",
            "arguments": '{"p": 1}',
            "output": "text",
        },
        [("files.read", {"p": 1}), "text"],
    ),
    (
        {
            "type": "mcp_call",
            "id": "m",
            "name": "read",
            "server_label": "files",
            "arguments": "{}",
            "error": {"type": "http_error", "code": 404, "message": "gone"},
        },
        [("files.read", {}), "gone"],
    ),
    ({"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": '{"raw": 1}'}, [("patch", '{"raw": 1}')]),
    (
        {"type": "shell_call", "id": "s", "call_id": "c", "status": "completed", "action": {"commands": ["ls"]}},
        [("shell", {"action": {"commands": ["ls"]}})],
    ),
    (
        {"type": "apply_patch_call_output", "id": "a", "call_id": "c", "status": "failed", "output": "no file"},
        ["no file"],
    ),
    (
        {
            "type": "computer_call",
            "id": "u",
            "call_id": "c",
            "status": "completed",
            "pending_safety_checks": [],
            "action": {"type": "click", "x": 1, "y": 2, "button": "left"},
        },
        [("computer", {"pending_safety_checks": [], "action": {"button": "left", "type": "click", "x": 1, "y": 2}})],
    ),
    (
        {"type": "mcp_approval_request", "id": "q", "name": "rm", "server_label": "files", "arguments": '{"p": 1}'},
        [("mcp_approval_request", {"name": "rm", "server_label": "files", "arguments": '{"p": 1}'})],
    ),
]


@pytest.mark.parametrize(("item", "expected"), BUILT_IN, ids=[item["type"] for item, _ in BUILT_IN])
def test_items_of_built_in_tools_are_calls_with_results(item: Any, expected: list[Any]) -> None:
    typed = TypeAdapter(ResponseOutputItem).validate_python(item)
    for given in (typed, [typed], item, response(item)):
        messages = read(given)
        found: list[Any] = [(call["name"], call["arguments"]) for one in messages for call in one.get("tool_calls", ())]
        results = [str(one["content"]) for one in messages if one["role"] == "tool"]
        assert found == [one for one in expected if isinstance(one, tuple)]
        assert all(text in result for text, result in zip(expected[len(found) :], results, strict=True))
        if "error" in item or item.get("status") == "failed":
            assert messages[-1]["is_error"]


def test_a_generated_image_and_a_screenshot_are_images() -> None:
    (_, result) = read({"type": "image_generation_call", "id": "i", "status": "completed", "result": "QUJD"})
    assert result["content"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]
    shot = {"type": "computer_screenshot", "image_url": "https://example.org/s.png"}
    (result,) = read([{"type": "computer_call_output", "call_id": "c", "output": shot}])
    assert result["content"] == [{"type": "image_url", "image_url": {"url": "https://example.org/s.png"}}]
    user = {
        "role": "user",
        "content": [{"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "high"}],
    }
    assert read(user)[0]["content"][0]["image_url"] == {"url": "data:image/png;base64,QUJD", "detail": "high"}


def test_encrypted_reasoning_is_marked() -> None:
    item = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gAAA"}
    assert read(response(item, {"type": "function_call", "call_id": "c1", **FUNCTION}))[0]["content"] == [
        thought("[redacted reasoning]")
    ]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([QUESTION, {"role": "critic", "content": "x"}], r"message 1 has role 'critic'; roles are system"),
        (
            [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}],
            r"message 0, content part 0 has type 'input_audio'",
        ),
        ([{"role": "user", "content": "a", "mood": "sad"}], r"message 0 has 'mood', which the judge would not see"),
        ([{"role": "assistant", "content": None, "audio": {"data": "AA"}}], r"message 0 has 'audio'"),
        ([{"role": "assistant"}], r"message 0 has no 'content'"),
        ([{"role": "assistant", "content": 7}], r"message 0 has content 7 of type int, not text"),
        ([{"role": "assistant", "content": b"raw"}], r"message 0 has bytes as its content"),
        (
            [{"role": "assistant", "content": "", "tool_calls": ["f"]}],
            r"message 0, tool call 0 is 'f' of type str, not a mapping",
        ),
        (
            [{"role": "assistant", "content": "", "tool_calls": [{"function": {"arguments": "{}"}}]}],
            r"tool call without a name",
        ),
        ([{"role": "user", "content": "", "tool_calls": [OPENAI_CALL]}], r"has tool calls, but the role 'user'"),
        ([{"role": "user", "content": [{"type": "text"}]}], r"message 0, content part 0 has no 'text'"),
        ([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}], r"content part 0 has 'file_id'"),
        ({"messages": [QUESTION], "documents": ["d"]}, r"it has 'documents'"),
        (completion(ANSWER, ANSWER), r"has 2 choices; a conversation has one"),
        ([{"type": "item_reference", "id": "x"}], r"message 0 refers to the item 'x' by its id only"),
        ([{"type": "video_part"}], r"message 0 has the keys 'type', which is not a known form"),
        ("just a text", r"it is 'just a text' of type str, which is not a known form"),
        ([["a", "b"]], r"message 0 is a list"),
        ([], r"has no messages"),
        (None, r"it is None of type NoneType"),
    ],
)
def test_what_is_unknown_is_named(value: Any, problem: str) -> None:
    with pytest.raises(InvalidCaseError, match=f"^The response cannot be read: .*{problem}") as raised:
        read(value)
    assert raised.value.field == "response"


def test_settings_of_a_request_are_left_out_and_texts_next_to_the_messages_are_not() -> None:
    request = {"messages": [QUESTION], "reasoning_effort": "low", "retries": 2, "context": {"user_id": "u1"}}
    assert list(read_messages(request, where="prompt")) == [QUESTION]
    for hidden in ({"context": "It is warm."}, {"notes": "It is warm."}, {"context": {"note": "It is warm."}}):
        with pytest.raises(InvalidCaseError, match="which the judge would not see"):
            read_messages(request | hidden, where="prompt")
