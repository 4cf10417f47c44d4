"""The text of chat messages and of replies from chat APIs: OpenAI, Anthropic, Bedrock Converse and LangChain.

A reply is rendered in full: its text, and a line ``calls {"name": ..., "arguments": ...}`` for each tool call. The
model's reasoning is not part of its reply. Anything else, such as an image, is an error and never left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant", "system": "system", "tool": "tool"}
"""LangChain's names of roles -> OpenAI's."""

_CONTENT = {"content", "tool_calls", "function_call", "refusal"}
"""A message has at least one of these."""

_TEXTS = {"text", "output_text", "input_text"}
_REASONING = {"thinking", "redacted_thinking", "reasoning", "reasoning_content"}
_TOOL_CALLS = {
    "tool_use", "server_tool_use", "mcp_tool_use", "tool_call", "invalid_tool_call", "server_tool_call",
    "function_call", "custom_tool_call",
}  # fmt: skip
_TOOL_RESULTS = {"tool_result", "function_call_output", "custom_tool_call_output"}
_BUILT_IN_CALLS = {
    "mcp_call", "web_search_call", "file_search_call", "code_interpreter_call", "local_shell_call", "shell_call",
}  # fmt: skip
"""Calls of tools that the API itself runs. Their items hold results too, so they are rendered as JSON in full."""

_METADATA = {
    "id", "object", "type", "index", "created", "created_at", "model", "provider", "usage", "metrics", "metadata",
    "finish_reason", "stop_reason", "stopReason", "logprobs", "system_fingerprint", "service_tier", "custom_outputs",
    "ResponseMetadata",
}  # fmt: skip
"""Fields of an API's reply that describe it and are not part of what was answered."""


class NotTextError(ValueError):
    """A message has a part that cannot be judged as text, or no text at all."""


def role_of(value: Any) -> str | None:
    """The role of a chat message in OpenAI's terms. None: the value is not a chat message."""
    if not isinstance(value, Mapping) or not _CONTENT & set(value):
        return None
    if "role" not in value:
        return _ROLES.get(str(value.get("type")))
    role = value["role"]
    return _ROLES.get(role, role) if isinstance(role, str) else None


def is_chat(value: Any) -> bool:
    """Whether the value is a list of chat messages."""
    return isinstance(value, list | tuple) and bool(value) and all(role_of(turn) is not None for turn in value)


def reply_text(value: Any) -> str | None:
    """The text of one reply in a known shape.

    Args:
        value: A text, a chat message, a list of them, a list of content blocks or of output items, or the whole reply
            of an API, as plain JSON types.

    Returns:
        None if the value has another shape. In a list of messages, the turns from the assistant's first one on: a
        single turn as its text alone, several with their roles.

    Raises:
        NotTextError: the shape is known, but a part cannot be judged as text, or there is no text.
    """
    if isinstance(value, str):
        return value
    if is_chat(value):
        return _conversation_text(value)
    if role_of(value) is not None:
        return _only_message_text(value)
    if isinstance(value, list | tuple):
        return _not_empty(_joined(value)) if value and all(map(_is_part, value)) else None
    return _api_reply_text(value) if isinstance(value, Mapping) else None


def message_text(message: Mapping[str, Any], *, separator: str = "") -> str:
    """The text of a message, with a line for each tool call; empty if it has neither.

    Args:
        message: A chat message as plain JSON types.
        separator: What to put between neighbouring text blocks. APIs split a text into blocks at citations, so by
            default nothing.

    Raises:
        NotTextError: a part is neither text nor a tool call.
    """
    for key in ("audio", "images", "attachments"):
        if message.get(key):
            raise NotTextError(f"a message has {key}")
    calls: list[Any] = []
    for key in ("tool_calls", "invalid_tool_calls"):
        given = message.get(key) or []
        if not isinstance(given, list | tuple):
            raise NotTextError(f"a message has {key} of type {type(given).__name__}")
        calls += given
    if message.get("function_call"):
        calls.append(message["function_call"])
    ids = {call.get("id") for call in calls if isinstance(call, Mapping)} - {None}
    content = message.get("content")
    blocks = [content] if isinstance(content, str | Mapping) else content or []
    if not isinstance(blocks, list | tuple):
        raise NotTextError(f"a message has content of type {type(content).__name__}")
    parts = [block for block in blocks if not (isinstance(block, Mapping) and _call_id(block) in ids)]
    parts += [{**call, "type": "tool_call"} if isinstance(call, Mapping) else call for call in calls]
    refusal = message.get("refusal") or _mapping(message.get("additional_kwargs")).get("refusal")
    if refusal:
        parts.append({"type": "refusal", "refusal": refusal})
    return _joined(parts, separator)


def _conversation_text(messages: Any) -> str | None:
    roles = [role_of(message) for message in messages]
    if "assistant" not in roles:
        return None
    first = roles.index("assistant")
    if first == len(roles) - 1:
        return _only_message_text(messages[first])
    return "\n".join(
        f"{role}: {message_text(message)}" for role, message in zip(roles[first:], messages[first:], strict=True)
    )


def _only_message_text(message: Mapping[str, Any]) -> str:
    text = message_text(message)
    return text if message.get("content") == "" else _not_empty(text)


def _not_empty(text: str) -> str:
    if not text:
        raise NotTextError("it has neither text nor tool calls")
    return text


def _api_reply_text(value: Mapping[str, Any]) -> str | None:
    choices, output = value.get("choices"), value.get("output")
    if isinstance(choices, list | tuple):  # OpenAI's chat completions
        return _choice_text(choices[0]) if len(choices) == 1 else None
    if isinstance(output, Mapping) and "stopReason" in value:  # Bedrock Converse
        return reply_text(output.get("message"))
    if value.get("object") == "response" and isinstance(output, list | tuple):  # OpenAI's Responses API
        return _not_empty(_joined(output))
    for key in ("message", "messages", "output"):
        if isinstance(value.get(key), Mapping | list | tuple):
            others = [name for name, part in value.items() if name != key and part and name not in _METADATA]
            return None if others else reply_text(value[key])
    return None


def _choice_text(choice: Any) -> str | None:
    if not isinstance(choice, Mapping):
        return None
    if isinstance(choice.get("message"), Mapping):
        return _only_message_text(choice["message"])
    return choice["text"] if isinstance(choice.get("text"), str) else None


def _joined(parts: Iterable[Any], separator: str = "") -> str:
    """Parts as text: neighbouring texts together, everything else on a line of its own."""
    lines: list[str] = []
    texts: list[str] = []
    for is_text, text in _rendered(parts):
        if is_text:
            texts.append(text)
            continue
        if texts:
            lines.append(separator.join(texts))
            texts = []
        lines.append(text)
    if texts:
        lines.append(separator.join(texts))
    return "\n".join(line for line in lines if line)


def _rendered(parts: Iterable[Any]) -> Iterator[tuple[bool, str]]:
    """For each part but reasoning, whether it is running text, and its text."""
    for part in parts:
        if isinstance(part, str):
            yield True, part
            continue
        kind = _kind(part)
        if kind in _TEXTS and isinstance(part.get("text"), str):
            yield True, part["text"]
        elif kind == "refusal" and isinstance(part.get("refusal"), str):
            yield True, part["refusal"]
        elif kind == "json" and "json" in part:
            yield True, _json(part["json"])
        elif kind == "message":
            yield False, message_text(part)
        elif kind in _TOOL_CALLS:
            yield False, f"calls {_call(part)}"
        elif kind in _BUILT_IN_CALLS:
            yield False, f"calls {_json({name: field for name, field in part.items() if field is not None})}"
        elif kind in _TOOL_RESULTS:
            yield False, f"tool: {_result_text(part)}"
        elif kind.endswith("_tool_result"):  # of a tool that the API itself ran
            yield False, f"tool: {_json(part.get('content'))}"
        elif kind not in _REASONING:
            raise NotTextError(f"a message has a part of type {kind!r}")


def _kind(part: Any) -> str:
    """The type of a content block or output item; Bedrock's blocks have a key in its place."""
    if not isinstance(part, Mapping):
        return type(part).__name__
    if role_of(part) is not None:
        return "message"
    if isinstance(part.get("type"), str):
        return str(part["type"])
    bedrock = {"text": "text", "json": "json", "toolUse": "tool_use", "toolResult": "tool_result"}
    kinds = [kind for key, kind in {**bedrock, "reasoningContent": "reasoning"}.items() if key in part]
    return kinds[0] if kinds else f"({', '.join(map(str, part))})"


def _is_part(value: Any) -> bool:
    """Whether a value is unmistakably a content block or an output item, and not a record of the user's."""
    if not isinstance(value, Mapping):
        return False
    if "type" not in value:
        return _kind(value) in ("tool_use", "tool_result", "reasoning")
    return _kind(value) in {"message", "refusal"} | _TEXTS | _REASONING | _TOOL_CALLS | _TOOL_RESULTS | _BUILT_IN_CALLS


def _call_id(block: Mapping[str, Any]) -> Any:
    if _kind(block) not in _TOOL_CALLS:
        return None
    return block.get("call_id") or block.get("id")


def _call(call: Mapping[str, Any]) -> str:
    """A tool call in the form of OpenAI's chat API, whichever API it is from."""
    call = _mapping(call.get("toolUse")) or call
    function = _mapping(call.get("function")) or _mapping(call.get("custom")) or call
    arguments = next((function[key] for key in ("arguments", "args", "input") if key in function), None)
    if "name" not in function or arguments is None:
        return _json({name: field for name, field in call.items() if name != "type"})
    return _json({"name": function["name"], "arguments": arguments if isinstance(arguments, str) else _json(arguments)})


def _result_text(part: Mapping[str, Any]) -> str:
    result = _mapping(part.get("toolResult")) or part
    content = result.get("content", result.get("output"))
    if isinstance(content, list | tuple):
        return _joined(content)
    return content if isinstance(content, str) else _json(content)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
