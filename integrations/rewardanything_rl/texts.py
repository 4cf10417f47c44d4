"""From what a policy wrote to the text that is judged."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rewardanything_core import ConfigError, InvalidCaseError

Thinking = Literal["strip", "opened", "keep"]
"""What becomes of the policy's thinking.

``strip``: a ``<think>`` block at the beginning is removed. ``opened``: the chat template opens the block, so that all
up to ``</think>`` is removed. ``keep``: all is judged.
"""

_OWN = re.compile(r"(?:\A\s*|^assistant: )<think>(.*?)</think>", re.DOTALL | re.MULTILINE)


def check_thinking(thinking: str) -> None:
    """Raises ConfigError if it is none of `Thinking`."""
    if thinking not in ("strip", "opened", "keep"):
        raise ConfigError(f"thinking must be 'strip', 'opened' or 'keep', not {thinking!r}.")


def answer_of(text: str, thinking: Thinking) -> str:
    """The text without the policy's thinking: what a user would be shown.

    Tags elsewhere are part of the answer, as they are for a server's reasoning parser: text cannot be hidden behind a
    stray ``</think>``. A block that is never closed has eaten the answer, and what is left is empty.
    """
    begun = text.lstrip().startswith("<think>")
    if thinking == "keep" or (thinking == "strip" and not begun):
        return text
    return text.partition("</think>")[2].lstrip()


def untagged(text: str, thinking: Thinking) -> str:
    """What is judged, without the tags of the policy's own thinking where that is kept."""
    return _OWN.sub(r"\1", text) if thinking == "keep" else text


def text_of(completion: Any, thinking: Thinking) -> str:
    """A completion as one text: a string, or chat messages; of several messages each is told with its role.

    Raises:
        InvalidCaseError: it is neither, or holds something other than text.
    """
    if isinstance(completion, str):
        return answer_of(completion, thinking)
    if not isinstance(completion, Sequence) or not all(isinstance(message, Mapping) for message in completion):
        raise InvalidCaseError(
            f"A completion must be a text or a list of messages, not {completion!r:.80}.", field="completion"
        )
    said = [(str(message.get("role")), _said(message, thinking)) for message in completion]
    return said[0][1] if len(said) == 1 else "\n".join(f"{role}: {text}" for role, text in said)


def _said(message: Mapping[str, Any], thinking: Thinking) -> str:
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = "\n".join(map(_part, content))
    if message.get("role") in (None, "assistant"):
        content = answer_of(content, thinking)
    if thinking == "keep" and message.get("reasoning_content"):
        content = f"<think>{message['reasoning_content']}</think>\n{content}"
    calls = [json.dumps(call.get("function", call), ensure_ascii=False) for call in message.get("tool_calls") or ()]
    return "\n".join([*([content] if content or not calls else []), *(f"calls {call}" for call in calls)])


def _part(part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) else part
    if not isinstance(text, str):
        raise InvalidCaseError("A completion holds something other than text; it cannot be judged.", field="completion")
    return text
