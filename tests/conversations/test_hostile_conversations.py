"""What a stranger may send: a clear error or messages that JSON can hold, and never anything else."""

from __future__ import annotations

import json
import tracemalloc
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from weather import CONVERSATION

from rewardanything_core import InvalidCaseError
from rewardanything_core.conversations import (
    final_text,
    is_conversation,
    json_values,
    read_messages,
    shorten,
    transcript,
    turns_as_json,
)


def read(value: Any) -> list[Any]:
    return list(read_messages(value, where="response"))


CYCLE: dict[str, Any] = {"role": "user", "content": "a"}
CYCLE["metadata"] = [CYCLE]
DEEP: Any = "x"
for _ in range(5000):
    DEEP = [DEEP]
BOMB: Any = [0]
for _ in range(60):
    BOMB = [BOMB, BOMB]


class Raises:
    def model_dump(self) -> Any:
        raise RuntimeError("not today")


class Endless:
    def model_dump(self) -> Any:
        return Endless()


class Node(pydantic.BaseModel):
    role: str = "user"
    content: Any = None


LOOP = Node()
LOOP.content = [LOOP]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ([CYCLE], r"0\.metadata\.0 contains itself"),
        ([LOOP], "contains itself"),
        ([{"role": "tool", "content": DEEP}], "nested more than 100 levels"),
        ([{"role": "tool", "content": BOMB}], "more than 10,000 values"),
        ([{"role": "user", "content": "a\ud800"}], r"0\.content has a character that UTF-8 cannot encode, '\\ud800'"),
        ([{"role": "user", "content": "a", "metadata": {"\ud800": 1}}], "UTF-8 cannot encode"),
        (
            [{"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {"x": 10**6000}}]}],
            "an integer of thousands",
        ),
        ([Raises()], "a Raises that raised RuntimeError: not today"),
        ([Endless()], "nested more than 100 levels"),
        ([SimpleNamespace(role="user")], "is of type SimpleNamespace"),
        ([object()], "is of type object"),
        (Node, "is the class Node"),
        ([{"role": "user", "content": "a", "metadata": {1: "x", "1": "y"}}], "has the key '1' twice"),
        ([None], "message 0 is None"),
        ([[]], "message 0 is a list"),
        ({"messages": None}, "not a known form"),
        ({"data": {"spans": [None]}}, "span"),
        ({"resourceSpans": [1]}, "span that is not a mapping"),
        ({"run_type": "chain", "inputs": None, "child_runs": [3]}, "run that is not a mapping"),
    ],
)
def test_hostile_values_are_refused_with_a_reason(value: Any, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_values, "MAX_VALUES", 10_000)
    with pytest.raises(InvalidCaseError, match=problem) as raised:
        read(value)
    assert len(str(raised.value)) < 1000


KEYS = (
    "role content type text tool_calls tool_call_id output input message messages choices function name arguments "
    "args id toolUse toolResult refusal reasoning thinking image image_url source url data lc kwargs generations parts "
    "attributes events spans inputs outputs run_type child_runs trajectory thought_0 tool_name_0 tool_args_0 history "
    "citations"
).split()
WORDS = (
    "assistant user tool human ai message text tool_use tool_result function_call reasoning image document "
    "web_search_call llm chain constructor tool_call gen_ai.user.message file_search_call_output item_reference"
).split()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_messages_or_an_invalid_case(value: Any) -> None:
    is_conversation(value)
    try:
        messages = read(value)
    except InvalidCaseError:
        return
    assert all(set(one) <= {"role", "content", "tool_calls", "tool_call_id", "name", "is_error"} for one in messages)
    json.dumps([messages, turns_as_json(messages)], allow_nan=False).encode()
    transcript(messages).encode()
    final_text(messages)
    shorten(messages, max_chars=100)
    assert read(messages) == messages


def long_conversation(turns: int, chars: int) -> list[dict[str, Any]]:
    text = "The weather of day one. " * (chars // 24)
    call = {"id": "c", "function": {"name": "f", "arguments": json.dumps({"text": "x" * 100})}}
    asked = [{"role": "user", "content": "?"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    return [*asked, {"role": "tool", "tool_call_id": "c", "content": text}] * (turns // 3)


@pytest.mark.parametrize("scale", [1, 2])
def test_memory_grows_with_the_length_of_a_conversation(scale: int) -> None:
    """10 MB in 200 turns; texts are shared, not copied, until they are rendered."""
    value = long_conversation(201 * scale, 150_000)
    tracemalloc.start()
    messages = read(value)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(messages) == 201 * scale and peak < 4_000_000 * scale
    size = sum(len(one["content"] or "") for one in messages)
    assert size > 9_000_000 * scale and len(transcript(messages)) > size
    short, done = shorten(messages, max_chars=1000)
    assert len(done) == 67 * scale and len(transcript(short)) < 200_000 * scale


def test_what_is_read_is_not_changed() -> None:
    value = [dict(message) for message in CONVERSATION]
    before = json.dumps(value)
    messages = read(value)
    messages[0]["content"] = "changed"
    shorten(messages, max_chars=100)
    assert json.dumps(value) == before
