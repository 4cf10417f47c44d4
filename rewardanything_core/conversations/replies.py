"""The response in what a program returned or recorded, which may repeat the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewardanything_core.conversations.place import Place
from rewardanything_core.conversations.reading import read_messages
from rewardanything_core.conversations.spans import message_key
from rewardanything_core.conversations.trajectory import Response, Trajectory, read_response
from rewardanything_core.types import Message


def read_reply(value: Any, *, where: str, prompt: str | Sequence[Message] = ()) -> Response:
    """The response in messages that a program returned.

    Reasoning is part of a trajectory. It is not part of a reply that is a single message without tool calls, since the
    user who reads that does not see it.

    Args:
        value: A text, or messages in any form that `read_messages` knows.
        where: See `read_messages`.
        prompt: What the program was given. Messages that begin with it are the response from there on; others are the
            response from the assistant's first message on.

    Raises:
        InvalidCaseError: a part cannot be read, nothing is from the assistant, or its only message is empty.
    """
    if isinstance(value, str | Trajectory):
        return value
    messages = after_prompt(read_messages(value, where=where), () if isinstance(prompt, str) else prompt)
    return _response(messages, Place(where))


def split_conversation(
    value: Any, *, where: str, prompt: str | Sequence[Message] = ()
) -> tuple[list[Message], Response]:
    """A whole conversation as the prompt that started it and the response, which is everything after that.

    Args:
        value: Messages in any form that `read_messages` knows, such as a trace.
        where: See `read_messages`.
        prompt: The messages that the program was given. The conversation may have others between them, such as the
            program's own instructions. Where it does not have all of them, and for a text, the response begins with
            the first message of the assistant or a tool after one of the user.

    Raises:
        InvalidCaseError: as for `read_reply`; or nothing precedes the response.
    """
    messages = read_messages(value, where=where)
    start = _end_of(() if isinstance(prompt, str) else prompt, messages) or _first_action(messages)
    if start == 0:
        raise Place(where).error("has no message before the assistant's first one")
    return list(messages[:start]), _response(messages[start:], Place(where))


def after_prompt(messages: Sequence[Message], prompt: Sequence[Message]) -> tuple[Message, ...]:
    """The messages without the prompt's, if they begin with it; otherwise those from the assistant's first one on.

    Args:
        messages: Messages in normal form.
        prompt: Messages in normal form.
    """
    start = len(prompt)
    if not prompt or list(map(message_key, messages[:start])) != list(map(message_key, prompt)):
        roles = [message["role"] for message in messages]
        start = roles.index("assistant") if "assistant" in roles else len(messages)
    return tuple(messages[start:])


def _end_of(prompt: Sequence[Message], messages: Sequence[Message]) -> int:
    """The number of messages up to the last one of a prompt; 0 if one of its messages is missing."""
    wanted = [message_key(message) for message in prompt]
    found = 0
    for number, message in enumerate(messages, start=1):
        if found < len(wanted) and message_key(message) == wanted[found]:
            found += 1
            if found == len(wanted):
                return number
    return 0


def _first_action(messages: Sequence[Message]) -> int:
    """The index of the first message of the assistant or a tool after one of the user, or else of the first at all."""
    roles = [message["role"] for message in messages]
    start = roles.index("user") if "user" in roles else 0
    return next((n for n in range(start, len(roles)) if roles[n] in ("assistant", "tool")), len(roles))


def _response(messages: Sequence[Message], place: Place) -> Response:
    if not any(message["role"] in ("assistant", "tool") for message in messages):
        raise place.error("has no message of the assistant")
    if len(messages) == 1 and not messages[0].get("tool_calls"):
        messages = (_without_reasoning(messages[0]),)
        if messages[0]["content"] is None:
            raise place.error("has neither text nor tool calls")
    return read_response(messages, where=place.field)


def _without_reasoning(message: Message) -> Message:
    if not isinstance(message["content"], list):
        return message
    parts = [part for part in message["content"] if part["type"] != "reasoning"]
    return {**message, "content": parts or None}
