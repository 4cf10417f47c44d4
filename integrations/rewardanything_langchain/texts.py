"""From what LangChain and LangSmith pass around (strings, messages, dicts) to the texts of a case."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import BaseMessage
from langchain_core.messages.utils import convert_to_openai_messages
from langchain_core.prompt_values import PromptValue

from rewardanything_core import InvalidCaseError, Message

Selector = str | Callable[[Any], Any] | None
"""A key, a function of the whole value, or None for the obvious part of it."""


def select(value: Any, selector: Selector, what: str) -> Any:
    """The part of a value that is meant: by default the only entry of a dict, or all of it.

    Raises:
        InvalidCaseError: there is no such key; the message lists those there are.
    """
    if callable(selector):
        return selector(value)
    if selector is not None:
        if not isinstance(value, Mapping) or selector not in value:
            keys = ", ".join(map(str, value)) if isinstance(value, Mapping) else f"a {type(value).__name__}"
            raise InvalidCaseError(f"The {what} have no key {selector!r}; there is {keys or 'nothing'}.", field=what)
        return value[selector]
    if isinstance(value, Mapping) and not _is_message(value) and len(value) == 1:
        return next(iter(value.values()))
    return value


def prompt_of(value: Any) -> str | list[Message]:
    """A prompt as a case takes it: text, or chat messages."""
    if isinstance(value, PromptValue):
        value = value.to_messages()
    if isinstance(value, Mapping) and "messages" in value and not _is_message(value):
        value = value["messages"]
    messages = [value] if _is_message(value) else value
    if (
        isinstance(messages, Sequence)
        and not isinstance(messages, str)
        and messages
        and all(map(_is_message, messages))
    ):
        return [_message(message) for message in cast("list[Any]", convert_to_openai_messages(list(messages)))]
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {text_of(part)}" for name, part in value.items())
    return text_of(value)


def text_of(value: Any) -> str:
    """A response as text: a message's text, the turns of a conversation, or a structure as JSON.

    Raises:
        InvalidCaseError: there is none.
    """
    if value is None:
        raise InvalidCaseError("There is no output to judge.", field="responses")
    if isinstance(value, str):
        return value
    if isinstance(value, BaseMessage):
        return str(value.text)
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping) and len(value) == 1 and "messages" in value:
        value = value["messages"]
    if isinstance(value, list) and value and all(map(_is_message, value)):
        return "\n".join(_turn(message) for message in cast("list[Any]", convert_to_openai_messages(value)))
    return json.dumps(value, ensure_ascii=False, default=str)


def _is_message(value: Any) -> bool:
    return isinstance(value, BaseMessage) or (isinstance(value, Mapping) and {"role", "content"} <= set(value))


def _message(message: Mapping[str, Any]) -> Message:
    return {"role": message["role"], "content": message["content"] if "tool_calls" not in message else _said(message)}


def _turn(message: Mapping[str, Any]) -> str:
    return f"{message['role']}: {_said(message)}"


def _said(message: Mapping[str, Any]) -> str:
    """What a message says, tool calls included: judging an agent is judging what it called."""
    content = message.get("content") or ""
    said = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False, default=str)
    calls = [json.dumps(call.get("function", call), ensure_ascii=False) for call in message.get("tool_calls") or []]
    return "\n".join([*([said] if said else []), *(f"calls {call}" for call in calls)])
