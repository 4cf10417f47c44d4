"""From the values of LangChain and LangSmith (strings, messages, dicts) to the texts of a case."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from langchain_core.messages import BaseMessage
from langchain_core.prompt_values import PromptValue

from rewardanything_core import InvalidCaseError, Message
from rewardanything_langchain.messages import (
    NotTextError,
    conversation_text,
    is_conversation,
    is_message,
    message_text,
    only_message_text,
    role_of,
)

Selector: TypeAlias = str | Callable[[Any], Any] | None
"""A key, a function of the whole value, or None: the only entry of a dict, or else the whole value."""


class SelectorError(InvalidCaseError):
    """A selector that the user gave does not fit the value."""


def select(value: Any, selector: Selector, name: str) -> Any:
    """The part of a value that a selector names.

    Args:
        value: The inputs, outputs or reference outputs of a row.
        selector: A key, a function of the value, or None for the only entry of a dict, or else the whole value.
        name: What the value is called in error messages.

    Returns:
        None if the value is None or an empty dict, which is what LangSmith passes for a run without outputs.

    Raises:
        SelectorError: there is no such key, or the function raised.
    """
    if value is None or value == {}:
        return None
    if callable(selector):
        try:
            return selector(value)
        except Exception as error:
            raise SelectorError(
                f"The selector of the {name} raised {type(error).__name__}: {error}; there is {_shape(value)}.",
                field=name,
            ) from error
    if selector is not None:
        if not isinstance(value, Mapping) or selector not in value:
            raise SelectorError(f"The {name} have no key {selector!r}; there is {_shape(value)}.", field=name)
        return value[selector]
    if isinstance(value, Mapping) and not is_message(value) and len(value) == 1:
        ((key, part),) = value.items()
        return None if key == "messages" and part == [] else part
    return value


def prompt_of(value: Any) -> str | list[Message]:
    """A prompt as text or chat messages.

    Args:
        value: A text, a prompt value, messages, ``{"messages": ...}``, or another dict, whose fields become lines.

    Raises:
        InvalidCaseError: there is none, or a part of it cannot be judged as text.
    """
    if value is None:
        raise InvalidCaseError("There is no input, which the judge needs as the prompt.", field="prompt")
    if isinstance(value, PromptValue):
        value = value.to_messages()
    messages = [value] if is_message(value) else _messages_in(value)
    if messages is not None:
        try:
            return [
                {"role": role_of(message), "content": message_text(message, separator="\n")} for message in messages
            ]
        except NotTextError as error:
            raise InvalidCaseError(f"The prompt cannot be judged: {error}.", field="prompt") from None
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {text_of(part, 'prompt')}" for name, part in value.items() if part is not None)
    return text_of(value, "prompt")


def text_of(value: Any, field: str = "responses") -> str:
    """A response as text: a message's text and tool calls, the turns of a conversation, or a structure as JSON.

    Args:
        value: A text, a message, a conversation, ``{"messages": ...}``, or any other structure.
        field: The part of the case that it becomes, for error messages.

    Raises:
        InvalidCaseError: there is none, or a part of it cannot be judged as text.
    """
    if value is None:
        raise InvalidCaseError("There is no output to judge.", field=field)
    if isinstance(value, str):
        return value
    try:
        if is_message(value):
            return only_message_text(value)
        if (messages := _messages_in(value)) is not None:
            return conversation_text(messages)
    except NotTextError as error:
        raise InvalidCaseError(
            f"The {field} cannot be judged: {error}. Only text and tool calls can be.", field=field
        ) from None
    try:
        return json.dumps(_fields_of(value), ensure_ascii=False, default=_fields_of)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidCaseError(f"The {field} cannot be written as JSON: {error}.", field=field) from error


def split_conversation(value: Any) -> tuple[list[Message], str]:
    """A conversation as the prompt that started it and the rest, which is judged.

    Args:
        value: Messages, or ``{"messages": ...}``.

    Returns:
        The messages up to the first one of the user, and the text of those after it.

    Raises:
        InvalidCaseError: it is not a conversation in which something follows a message of the user.
    """
    messages = _messages_in(value) or []
    roles = [role_of(message) for message in messages]
    start = roles.index("user") + 1 if "user" in roles else len(messages)
    if start == len(messages):
        raise InvalidCaseError(
            "There is no input, which the judge needs as the prompt, and the outputs are not a conversation that a "
            "user's message starts.",
            field="prompt",
        )
    prompt = prompt_of(messages[:start])
    assert not isinstance(prompt, str)
    return prompt, text_of(messages[start:])


def _messages_in(value: Any) -> list[Any] | None:
    """The messages of a conversation or of a dict that holds nothing else; None for another value."""
    if isinstance(value, Mapping) and not is_message(value):
        fields = {name: part for name, part in value.items() if part is not None}
        value = fields.get("messages") if len(fields) == 1 else None
    return list(value) if is_conversation(value) else None


def _fields_of(value: Any) -> Any:
    """A value that JSON does not know, as one that it does."""
    if isinstance(value, BaseMessage):
        try:
            return {"role": role_of(value), "content": message_text(value)}
        except NotTextError as error:
            raise ValueError(str(error)) from None
    if callable(getattr(value, "model_dump", None)):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return value if isinstance(value, Mapping | list | tuple | int | float) else str(value)


def _shape(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Mapping) else f"a {type(value).__name__}"
