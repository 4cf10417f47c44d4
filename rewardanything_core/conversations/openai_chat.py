"""Chat messages with ``role`` and ``content``: OpenAI's, Anthropic's, Bedrock's, TRL's, veRL's, and our normal form.

Also what holds them: a chat completion, and any mapping with ``messages`` and settings of a request or a state.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardanything_core.conversations.content import (
    CALLS,
    add_content,
    has_failed,
    kind_of,
    read_call,
    read_parts,
    result_parts,
)
from rewardanything_core.conversations.json_values import parsed, written
from rewardanything_core.conversations.place import Fields, Place
from rewardanything_core.conversations.reader import ReadValue
from rewardanything_core.conversations.turns import Turns, text_part
from rewardanything_core.types import ContentPart, Message, ToolCall

ROLES = {
    "human": "user", "ai": "assistant", "model": "assistant", "function": "tool", "ipython": "tool",
    **{role: role for role in ("system", "developer", "user", "assistant", "tool")},
}  # fmt: skip
"""Names of roles -> ours."""

SETTINGS = (
    "model", "user", "stream", "tools", "tool_choice", "parallel_tool_calls", "response_format", "temperature", "top_p",
    "max_tokens", "max_completion_tokens", "max_output_tokens", "stop", "stop_sequences", "seed", "n", "reasoning",
    "metadata", "custom_inputs", "custom_outputs", "context", "user_id", "session_id", "thread_id", "conversation_id",
    "remaining_steps", "jump_to", "config", "reasoning_effort", "verbosity", "thinking", "modalities", "logit_bias",
    "stream_options", "prompt_cache_key", "safety_identifier", "extra_headers", "extra_query", "timeout",
)  # fmt: skip
"""Keys next to ``messages`` that identify or configure a request or an agent's state; see `is_setting`."""

_MAPPINGS = ("context", "reasoning", "thinking", "config")
"""Settings that are mappings; a text under such a key is something that was said."""

_BODY = ("content", "tool_calls", "function_call", "refusal", "reasoning_content", "reasoning", "invalid_tool_calls")
_REASONING = ("reasoning_content", "reasoning", "thinking", "tool_plan")  # by server and chat template; Cohere's plan
_OLLAMA = (
    "done", "done_reason", "total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count",
    "eval_duration", "remote_model", "remote_host",
)  # fmt: skip
"""Fields that Ollama puts next to a message."""


def recognises(value: Any) -> bool:
    """Whether a value is a chat message, a completion, or a mapping with ``messages``."""
    if not isinstance(value, Mapping):
        return False
    if isinstance(value.get("role"), str):
        return "parts" not in value
    return any(isinstance(value.get(key), list) for key in ("messages", "choices")) or _holds_message(value)


def read(value: Any, turns: Turns, place: Place, read_value: ReadValue) -> None:
    """Read it; see `reader.Reader`."""
    fields = Fields(value, place)
    if isinstance(value.get("role"), str):
        read_message(fields, turns)
    elif isinstance(value.get("choices"), list):
        _read_completion(fields, turns, read_value)
    elif _holds_message(value):
        read_value(fields.take("message"), turns, place.inside("message"))
        fields.close(*_OLLAMA)
    else:
        if system := fields.take("system"):  # of a request to Anthropic or Bedrock
            turns.begin("system")
            add_content(system, turns, place.inside("system"))
        structured = fields.take("structured_response")
        read_value(fields.take("messages"), turns, place)
        if structured is not None and not any(_says(message, structured) for message in turns.messages):
            turns.begin("assistant")
            turns.add_part(text_part(written(structured)))
        fields.close(
            *(key for key, item in value.items() if is_setting(key, item) or isinstance(item, bool | int | float))
        )


def _says(message: Message, value: Any) -> bool:
    """Whether a message is a JSON value: as its text, or as the arguments of a call."""
    content = message["content"] or ()
    texts = [content] if isinstance(content, str) else [part["text"] for part in content if "text" in part]
    return value in [
        *(parsed(text) for text in texts),
        *(call["arguments"] for call in message.get("tool_calls", ())),
    ]


def is_setting(name: str, value: Any) -> bool:
    """Whether a field of a request or a program's input identifies or configures it, and is not part of what was said.

    Args:
        name: The field's name.
        value: Its value.
    """
    if name in _MAPPINGS and not isinstance(value, Mapping):
        return False
    if name == "context":  # of MLflow's agents
        return set(value) <= {"id", *SETTINGS}
    return name in SETTINGS


def role_of(role: Any, place: Place) -> str:
    """Our name of a role.

    Args:
        role: The role as given.
        place: Where the message is.

    Raises:
        InvalidCaseError: there is no such role.
    """
    if (known := ROLES.get(role) if isinstance(role, str) else None) is None:
        names = "system, developer, user, assistant and tool"
        raise place.error(f"has role {role!r:.60}; roles are {names}, and 'name' tells several assistants apart")
    return known


def read_message(fields: Fields, turns: Turns, *, role: str | None = None, is_item: bool = False) -> None:
    """Read a message.

    Args:
        fields: The message.
        turns: Where to add it.
        role: Its role in our terms. None: the message says it.
        is_item: Whether it is an item of the Responses API, where a message and the calls next to it are one turn.
    """
    place = fields.place
    given = fields.take("role")
    role = role or role_of(given, place)
    name = fields.text("name")
    if not any(key in fields for key in _BODY):
        raise place.error("has no 'content'")
    content = fields.take("content")
    if role == "tool":
        call_id = fields.text("tool_call_id", "call_id")
        failed = has_failed(fields)
        fields.close("artifact", "additional_kwargs")
        turns.add_result(result_parts(content, place), tool_call_id=call_id, name=name, is_error=failed)
        if content == "":
            turns.messages[-1]["content"] = ""
        return
    if is_item:
        turns.resume(role, text=True)
    else:
        turns.begin(role, name)
    for part in _reasoning(fields):
        turns.add_part(part)
    calls = _calls(fields, role)
    by_id = {call["id"]: call for call in calls if call["id"]}
    placed = _call_ids(content, place)
    if content != "":
        add_content(_annotated(content, fields), turns, place, by_id)
    if refusal := fields.text("refusal"):
        turns.add_part({"type": "text", "text": refusal})
    for call in calls:
        if call["id"] is None or call["id"] not in placed:
            turns.add_call(call)
    if not turns.begun:
        turns.add_empty("" if content == "" else None)
    fields.close("weight", "train", "reasoning_details", "thinking_blocks", "parsed", "refusal", "tool_call_id")


def _calls(fields: Fields, role: str) -> list[ToolCall]:
    listed = [*fields.items("tool_calls"), *fields.items("invalid_tool_calls")]
    if legacy := fields.take("function_call"):
        listed.append(legacy)
    if listed and role != "assistant":
        raise fields.place.error(f"has tool calls, but the role {role!r}, not 'assistant'")
    return [read_call(call, fields.place.inside(f"tool call {number}")) for number, call in enumerate(listed)]


def _reasoning(fields: Fields) -> list[ContentPart]:
    reasoning = fields.take(*_REASONING)
    details = fields.items("reasoning_details") or fields.items("thinking_blocks")
    blocks = [{"type": "reasoning", "reasoning": reasoning}] if reasoning else [_detail(detail) for detail in details]
    here = fields.place.inside("reasoning")
    return [part for block in blocks for part in read_parts(block, here)]


def _detail(detail: Any) -> Any:
    """An element of OpenRouter's ``reasoning_details`` as a reasoning block."""
    if isinstance(detail, Mapping) and str(detail.get("type")).startswith("reasoning."):
        return {**{key: detail.get(key) for key in ("text", "summary", "data")}, "type": "reasoning"}
    return detail


def _annotated(content: Any, fields: Fields) -> Any:
    """A text with the citations that OpenAI's chat API gives at the message."""
    if not isinstance(content, str) or not content:
        return content
    annotations = fields.items("annotations")
    return {"type": "text", "text": content, "annotations": annotations} if annotations else content


def _call_ids(content: Any, place: Place) -> set[str | None]:
    """The ids of tool calls among the content blocks."""
    blocks = content if isinstance(content, list) else []
    return {read_call(block, place)["id"] for block in blocks if kind_of(block) in CALLS}


def _read_completion(fields: Fields, turns: Turns, read_value: ReadValue) -> None:
    choices = fields.items("choices")
    fields.close("prompt_logprobs", "prompt_token_ids", "kv_transfer_params", "citations")
    if len(choices) != 1:
        raise fields.place.error(f"has {len(choices)} choices; a conversation has one, so select it")
    choice = Fields(choices[0], fields.place.inside("choice 0"))
    text, message = choice.text("text"), choice.take("message")
    choice.close("content_filter_results", "matched_stop", "token_ids")
    if isinstance(message, Mapping):
        read_value({"role": "assistant", **message}, turns, choice.place)
    elif text is not None:
        turns.begin("assistant")
        add_content(text, turns, choice.place)
        if not text:
            turns.add_empty("")
    else:
        raise choice.place.error("has neither a 'message' nor a 'text'")


def _holds_message(value: Mapping[str, Any]) -> bool:
    """Whether a mapping is a message with descriptions around it, as in replies of Ollama and of MLflow."""
    message = value.get("message")
    return isinstance(message, Mapping) and isinstance(message.get("role"), str)
