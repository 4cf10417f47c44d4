"""From what a policy wrote and did to what is judged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from rewardanything_core import ConfigError, InvalidCaseError, Message
from rewardanything_core.conversations import Response, read_messages, read_response
from rewardanything_core.conversations.json_values import written

Thinking = Literal["strip", "opened", "keep"]
"""What to do with the policy's thinking.

``strip``: a ``<think>`` block at the beginning is removed. ``opened``: the chat template opens the block, so that
everything up to ``</think>`` is removed. ``keep``: everything is judged.
"""

_OPENING = re.compile(r"\A\s*<think>")
_CLOSING = "</think>"


def check_thinking(thinking: str) -> None:
    """Raise ConfigError if the value is not one of `Thinking`."""
    if thinking not in ("strip", "opened", "keep"):
        raise ConfigError(f"thinking must be 'strip', 'opened' or 'keep', not {thinking!r}.")


def answer_of(text: str, thinking: Thinking) -> str:
    """The text without the policy's thinking: what a user would be shown.

    Tags elsewhere are part of the answer, as in a server's reasoning parser: otherwise a policy could hide text before
    a stray ``</think>``. A block without its closing tag leaves an empty answer.

    Args:
        text: What the policy wrote.
        thinking: What to do with its thinking.
    """
    if thinking == "keep" or (thinking == "strip" and not text.lstrip().startswith("<think>")):
        return text
    return text.partition(_CLOSING)[2].lstrip()


def response_of(completion: Any, thinking: Thinking) -> Response:
    """A completion as it is judged: a text, or the turns of an agent with its tool calls and their results.

    Args:
        completion: A string, or messages in any form that `read_messages` knows.
        thinking: What to do with the policy's thinking, in its texts and in fields such as ``reasoning_content``.

    Raises:
        InvalidCaseError: it is neither, or it has a part that cannot be read.
    """
    if isinstance(completion, str):
        return answer_of(completion, thinking)
    if isinstance(completion, Mapping):
        raise InvalidCaseError(
            "The completion must be a text or a list of messages, not a mapping.", field="completion"
        )
    messages = read_messages(completion, where="completion")
    if thinking != "keep":
        messages = tuple(_without_thinking(message, thinking) for message in messages)
    return read_response(messages, where="completion")


def guarded_text(response: Response, thinking: Thinking) -> str:
    """What the policy wrote of a response, for the guard: its texts and the arguments of its tool calls.

    The tags around its own thinking are left out where that is kept.

    Args:
        response: The response.
        thinking: What was done with the policy's thinking.
    """
    if isinstance(response, str):
        return without_tags(response, thinking)
    texts: list[str] = []
    for message in response.messages:
        if message["role"] == "assistant":
            content = message["content"]
            parts = content if isinstance(content, list) else [{"text": content or ""}]
            texts += [without_tags(part["text"], thinking) for part in parts if "text" in part]
            texts += [written(call["arguments"]) for call in message.get("tool_calls", ())]
    return "\n".join(filter(None, texts))


def without_tags(text: str, thinking: Thinking) -> str:
    """A text without the tags around the policy's own thinking where that is kept.

    Args:
        text: What is judged.
        thinking: What was done with the policy's thinking.
    """
    opening = _OPENING.match(text) if thinking == "keep" else None
    if opening is None or _CLOSING not in text:
        return text
    return text[opening.end() :].replace(_CLOSING, "", 1)


def _without_thinking(message: Message, thinking: Thinking) -> Message:
    content = message["content"]
    if message["role"] != "assistant" or content is None:
        return message
    if isinstance(content, str):
        return {**message, "content": answer_of(content, thinking)}
    parts = [part for part in content if part["type"] != "reasoning"]
    if parts and parts[0]["type"] == "text":
        parts[0] = {**parts[0], "text": answer_of(parts[0]["text"], thinking)}
    return {**message, "content": parts or None}
