"""A response that is more than a text: the messages with which an agent answered the prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

from rewardanything_core.conversations.reading import read_messages
from rewardanything_core.conversations.rendering import final_text, images_of, message_text, transcript, turns_as_json
from rewardanything_core.errors import InvalidCaseError
from rewardanything_core.types import Message


@dataclass(frozen=True, eq=False)
class Trajectory:
    """The messages that follow a prompt: what an agent said, the tools that it called, and what they returned.

    Two are equal if a judge would be shown the same; ids of calls, which differ between runs, do not matter.
    """

    messages: tuple[Message, ...]
    """The messages in normal form, in order."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trajectory) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)

    @cached_property
    def identity(self) -> str:
        """A text that is equal for equal trajectories."""
        return identity(self.messages)

    @cached_property
    def transcript(self) -> str:
        """The whole course as plain text; see `transcript`."""
        return transcript(self.messages)

    @cached_property
    def final_text(self) -> str:
        """What the agent said last."""
        return final_text(self.messages)


Response: TypeAlias = str | Trajectory
"""A response to judge."""


def read_response(value: Any, *, where: str) -> Response:
    """A response in normal form: a text, or what an agent said and did.

    Args:
        value: A text, a `Trajectory`, or the messages of one in any form that `read_messages` knows.
        where: See `read_messages`.

    Returns:
        A text also where the messages are a single text of the assistant.

    Raises:
        InvalidCaseError: it is neither, or the messages have no content.
    """
    if isinstance(value, str | Trajectory):
        return value
    if isinstance(value, Mapping) and not value:
        raise InvalidCaseError(f"The {where} is empty.", field=where)
    messages = read_messages(value, where=where)
    if all(message["content"] is None and not message.get("tool_calls") for message in messages):
        raise InvalidCaseError(f"The {where} has neither text nor tool calls.", field=where)
    if len(messages) == 1 and messages[0]["role"] == "assistant" and is_plain(messages[0]):
        return message_text(messages[0])
    return Trajectory(messages)


def response_text(response: Response) -> str:
    """A response as text: the text itself, or the transcript."""
    return response if isinstance(response, str) else response.transcript


def assistant_texts(response: Response) -> list[str]:
    """What the assistant wrote in a response, text by text, without reasoning and tools."""
    if isinstance(response, str):
        return [response]
    texts = []
    for message in response.messages:
        if message["role"] == "assistant":
            content = message["content"]
            parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
            texts += [part["text"] for part in parts if part["type"] == "text"]
    return texts


def with_assistant_texts(response: Response, texts: Sequence[str]) -> Response:
    """The response with other texts in place of its `assistant_texts`, in the same order.

    Args:
        response: The response.
        texts: The new texts, as many as `assistant_texts` returns.
    """
    remaining = iter(texts)
    if isinstance(response, str):
        return next(remaining)
    messages: list[Message] = []
    for message in response.messages:
        content = message["content"]
        if message["role"] == "assistant" and isinstance(content, list):
            content = [{**part, "text": next(remaining)} if part["type"] == "text" else part for part in content]
        elif message["role"] == "assistant":
            text = next(remaining)
            content = None if content is None else text
        messages.append({**message, "content": content})
    return Trajectory(tuple(messages))


def response_final_text(response: Response) -> str:
    """What a response says in the end: the text itself, or a trajectory's last text."""
    return response if isinstance(response, str) else response.final_text


def with_final_text(response: Response, text: str) -> Response:
    """The response with another text in place of its last one.

    A trajectory in which the assistant has no message gets one.

    Args:
        response: The response.
        text: The text.
    """
    if isinstance(response, str):
        return text
    messages = list(response.messages)
    place = next((n for n in reversed(range(len(messages))) if messages[n]["role"] == "assistant"), None)
    if place is None:
        return Trajectory((*messages, {"role": "assistant", "content": text}))
    content = messages[place]["content"]
    others = [part for part in content if part["type"] != "text"] if isinstance(content, list) else []
    messages[place] = {**messages[place], "content": [*others, {"type": "text", "text": text}] if others else text}
    return Trajectory(tuple(messages))


def response_json(response: Response) -> str | list[Message]:
    """A response as a JSON value, for `read_response`."""
    return response if isinstance(response, str) else list(response.messages)


def identity(messages: Sequence[Message]) -> str:
    """What a judge would be shown of messages, as canonical JSON: their turns without ids, and their images."""
    images = [part["image_url"] for part in images_of(messages)]
    return json.dumps([turns_as_json(messages), images], ensure_ascii=False, sort_keys=True)


def sort_key(response: Response) -> str:
    """A text that is different for different responses."""
    return response if isinstance(response, str) else response.identity


def is_plain(message: Message) -> bool:
    """Whether a message is nothing but a role and a text."""
    content = message["content"]
    if any(key not in ("role", "content") for key in message) or message["role"] == "tool":
        return False
    if isinstance(content, list):
        return all(part["type"] == "text" and "annotations" not in part for part in content)
    return isinstance(content, str)
