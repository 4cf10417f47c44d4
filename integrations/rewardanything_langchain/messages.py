"""Role and text of chat messages: LangChain's objects, and dicts in the form of OpenAI or Anthropic.

A message is rendered in full: its text, and a line ``calls {"name": ..., "arguments": ...}`` for each tool call, with
or without an id and even if its arguments are not JSON. The model's reasoning is not part of a message. Anything else,
such as an image, is an error and never left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, ChatMessage

_ROLES = {"human": "user", "HumanMessageChunk": "user", "ai": "assistant", "AIMessageChunk": "assistant"}
"""LangChain's names of roles -> OpenAI's, where they differ."""

_TEXTS = {"text", "output_text", "input_text"}
_REASONING = {"thinking", "redacted_thinking", "reasoning", "reasoning_content"}
_TOOL_CALLS = {
    "tool_call", "invalid_tool_call", "server_tool_call", "tool_use", "server_tool_use", "mcp_tool_use",
    "function_call", "custom_tool_call",
}  # fmt: skip
_TOOL_RESULTS = {"tool_result", "server_tool_result", "function_call_output", "custom_tool_call_output"}


class NotTextError(ValueError):
    """A message has a part that cannot be judged as text, or no text at all."""


def is_message(value: Any) -> bool:
    """Whether a value is a LangChain message, or a dict with a role and content or tool calls."""
    if isinstance(value, BaseMessage):
        return True
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("role"), str)
        and any(key in value for key in ("content", "tool_calls", "function_call", "refusal"))
    )


def is_conversation(value: Any) -> bool:
    """Whether a value is a list of messages."""
    return isinstance(value, list | tuple) and bool(value) and all(map(is_message, value))


def role_of(message: BaseMessage | Mapping[str, Any]) -> str:
    """The role of a message in OpenAI's terms; an unknown role as it is."""
    if isinstance(message, ChatMessage):
        role = message.role
    elif isinstance(message, BaseMessage):
        role = message.additional_kwargs.get("__openai_role__", message.type.removesuffix("MessageChunk").lower())
    else:
        role = message["role"]
    return _ROLES.get(role, role)


def message_text(message: BaseMessage | Mapping[str, Any], *, separator: str = "") -> str:
    """The text of a message, with a line for each tool call; empty if it has neither.

    Args:
        message: The message.
        separator: What to put between neighbouring text blocks. APIs split a text into blocks at citations, so by
            default nothing.

    Raises:
        NotTextError: a part is neither text nor a tool call.
    """
    fields = message.model_dump() if isinstance(message, BaseMessage) else message
    more = _mapping(fields.get("additional_kwargs"))
    calls = [*(fields.get("tool_calls") or []), *(fields.get("invalid_tool_calls") or [])]
    calls += [call for call in (fields.get("function_call"), more.get("function_call")) if call]
    content = fields.get("content")
    blocks = [content] if isinstance(content, str | Mapping) else content or []
    if not isinstance(blocks, list | tuple):
        raise NotTextError(f"a message has content of type {type(content).__name__}")
    ids = {call.get("id") for call in calls if isinstance(call, Mapping)} - {None}
    parts = [block for block in blocks if not (isinstance(block, Mapping) and _call_id(block) in ids)]
    parts += [{**call, "type": "tool_call"} if isinstance(call, Mapping) else call for call in calls]
    parts += [refusal for refusal in (fields.get("refusal"), more.get("refusal")) if refusal]
    return _joined(parts, separator)


def only_message_text(message: BaseMessage | Mapping[str, Any]) -> str:
    """`message_text` of a message that stands alone.

    Raises:
        NotTextError: also if the message has neither text nor tool calls, unless its text is an empty string.
    """
    text = message_text(message)
    content = message.content if isinstance(message, BaseMessage) else message.get("content")
    if not text and content != "":
        raise NotTextError("the message has neither text nor tool calls")
    return text


def conversation_text(messages: Sequence[BaseMessage | Mapping[str, Any]]) -> str:
    """The turns of a conversation, each with its role."""
    text = only_message_text if len(messages) == 1 else message_text
    return "\n".join(f"{role_of(message)}: {text(message)}" for message in messages)


def _joined(parts: Iterable[Any], separator: str = "") -> str:
    """Parts as text: neighbouring texts together, everything else on a line of its own."""
    lines: list[str] = []
    texts: list[str] = []
    for is_text, text in _rendered(parts):
        if is_text:
            texts.append(text)
            continue
        lines += [separator.join(texts), text]
        texts = []
    return "\n".join(filter(None, [*lines, separator.join(texts)]))


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
        elif kind in _TOOL_CALLS:
            yield False, f"calls {_call(part)}"
        elif kind in _TOOL_RESULTS:
            yield False, f"tool: {_result_text(part)}"
        elif kind not in _REASONING:
            raise NotTextError(f"a message has a part of type {kind!r}")


def _kind(part: Any) -> str:
    """The type of a content block; Bedrock's blocks have a key in its place."""
    if not isinstance(part, Mapping):
        return type(part).__name__
    if isinstance(part.get("type"), str):
        return str(part["type"])
    bedrock = {"text": "text", "json": "json", "toolUse": "tool_use", "toolResult": "tool_result"}
    kinds = [kind for key, kind in {**bedrock, "reasoningContent": "reasoning"}.items() if key in part]
    return kinds[0] if kinds else f"({', '.join(map(str, part))})"


def _call_id(block: Mapping[str, Any]) -> Any:
    return (block.get("call_id") or block.get("id")) if _kind(block) in _TOOL_CALLS else None


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
    content = next((result[key] for key in ("content", "output") if key in result), None)
    if isinstance(content, list | tuple):
        return _joined(content)
    return content if isinstance(content, str) else _json(content)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
