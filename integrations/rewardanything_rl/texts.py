"""From what a policy wrote to the text that is judged."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rewardanything_core import ConfigError, InvalidCaseError

Thinking = Literal["strip", "opened", "keep"]
"""What to do with the policy's thinking.

``strip``: a ``<think>`` block at the beginning is removed. ``opened``: the chat template opens the block, so that
everything up to ``</think>`` is removed. ``keep``: everything is judged.
"""

_OPENING = re.compile(r"(?:\A\s*|^assistant: )<think>", re.MULTILINE)
_CLOSING = "</think>"
_REASONING = ("reasoning_content", "reasoning", "thinking")  # by server and chat template
_MESSAGE_KEYS = {"role", "content", "tool_calls", "name", "tool_call_id", *_REASONING}
_TEXT_PARTS = (None, "text", "input_text", "output_text")


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


def without_tags(text: str, thinking: Thinking) -> str:
    """The text that is judged, without the tags around the policy's own thinking where that is kept.

    Args:
        text: What is judged.
        thinking: What was done with the policy's thinking.
    """
    if thinking != "keep":
        return text
    parts, position = [], 0
    for opening in _OPENING.finditer(text):
        if opening.start() < position:
            continue  # inside the block before
        closing = text.find(_CLOSING, opening.end())
        if closing < 0:
            break
        parts += [text[position : opening.start()], text[opening.end() : closing]]
        position = closing + len(_CLOSING)
    return "".join([*parts, text[position:]])


def text_of(completion: Any, thinking: Thinking) -> str:
    """A completion as one text. Of several messages, each is given with its role.

    Args:
        completion: A string, or chat messages.
        thinking: What to do with the policy's thinking.

    Raises:
        InvalidCaseError: it is neither, or it has a part that is not text.
    """
    if isinstance(completion, str):
        return answer_of(completion, thinking)
    if not isinstance(completion, Sequence) or not all(isinstance(message, Mapping) for message in completion):
        raise _not_text(f"it is {completion!r:.80}, neither a text nor a list of messages")
    turns = [(str(message.get("role")), _message_text(message, thinking)) for message in completion]
    return turns[0][1] if len(turns) == 1 else "\n".join(f"{role}: {text}" for role, text in turns)


def _message_text(message: Mapping[str, Any], thinking: Thinking) -> str:
    if hidden := [key for key, value in message.items() if key not in _MESSAGE_KEYS and not _is_empty(value)]:
        raise _not_text(f"A message has {', '.join(map(repr, hidden))}, which the judge would not see")
    content = message.get("content")
    if isinstance(content, list | tuple):
        content = "\n".join(map(_part_text, content))
    elif content is None:
        content = ""
    elif not isinstance(content, str):
        raise _not_text(f"The content of a message is {content!r:.80}, not text")
    if message.get("role") in (None, "assistant"):
        content = answer_of(content, thinking)
    reasoning = next((message[key] for key in _REASONING if message.get(key)), None)
    if thinking == "keep" and reasoning:
        content = f"<think>{reasoning}</think>\n{content}"
    calls = [f"calls {_call_text(call)}" for call in message.get("tool_calls") or ()]
    return "\n".join([content, *calls] if content or not calls else calls)


def _part_text(part: Any) -> str:
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, Mapping) and part.get("type", "text") in _TEXT_PARTS else None
    if not isinstance(text, str):
        raise _not_text("A message has a part that is not text")
    return text


def _call_text(call: Any) -> str:
    try:
        return json.dumps(call.get("function", call), ensure_ascii=False)
    except (AttributeError, TypeError, ValueError) as error:
        raise _not_text(f"A tool call is {call!r:.80}, not a JSON object") from error


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | Sequence | Mapping) and len(value) == 0)


def _not_text(problem: str) -> InvalidCaseError:
    return InvalidCaseError(f"The completion cannot be judged: {problem}.", field="completion")
