"""The response in what a program returned, which may repeat the prompt."""

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
    place = Place(where)
    messages = after_prompt(read_messages(value, where=where), () if isinstance(prompt, str) else prompt)
    if not messages:
        raise place.error("has no message of the assistant")
    if len(messages) == 1 and not messages[0].get("tool_calls"):
        messages = (_without_reasoning(messages[0]),)
        if messages[0]["content"] is None:
            raise place.error("has neither text nor tool calls")
    return read_response(messages, where=where)


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


def _without_reasoning(message: Message) -> Message:
    if not isinstance(message["content"], list):
        return message
    parts = [part for part in message["content"] if part["type"] != "reasoning"]
    return {**message, "content": parts or None}
