"""Shortening long results of tools, visibly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewardanything_core.errors import ConfigError
from rewardanything_core.types import ContentPart, Message

MIN_CHARS = 100
"""The smallest limit, for which the mark leaves some of the text."""


@dataclass(frozen=True, kw_only=True)
class Shortened:
    """A tool's result that was shortened."""

    turn: int
    """The number of its turn, from 1, as in `turns_as_json`."""

    omitted: int
    """How many characters are missing."""


def shorten(messages: Sequence[Message], *, max_chars: int) -> tuple[tuple[Message, ...], tuple[Shortened, ...]]:
    """Shorten tools' results in the middle, with a mark such as ``[... 12,345 characters omitted ...]``.

    Nothing else is shortened: what the assistant wrote and the arguments of its calls stay complete.

    Args:
        messages: Messages in normal form, which are not changed.
        max_chars: The longest text of a result, its mark included, in characters; `MIN_CHARS` or more. A result of
            several texts has an equal share for each.

    Returns:
        The messages, and what was shortened in them, by turn.

    Raises:
        ConfigError: ``max_chars`` is too small.
    """
    check_limit(max_chars, name="max_chars")
    short, done = [], []
    for turn, message in enumerate(messages, start=1):
        shortened, omitted = _shorten(message, max_chars) if message["role"] == "tool" else (message, 0)
        short.append(shortened)
        if omitted:
            done.append(Shortened(turn=turn, omitted=omitted))
    return tuple(short), tuple(done)


def check_limit(max_chars: object, *, name: str) -> None:
    """Refuse a limit that is not a number of characters which leaves some of a text.

    Args:
        max_chars: The limit.
        name: The name of the option.

    Raises:
        ConfigError: it is not such a number.
    """
    if isinstance(max_chars, bool) or not isinstance(max_chars, int) or max_chars < MIN_CHARS:
        raise ConfigError(f"{name} must be an integer of {MIN_CHARS} or more, not {max_chars!r:.40}.")


def _shorten(message: Message, max_chars: int) -> tuple[Message, int]:
    content = message["content"]
    if content is None:
        return message, 0
    if isinstance(content, str):
        text, omitted = _shorten_text(content, max_chars)
        return {**message, "content": text}, omitted
    texts = [part["text"] for part in content if "text" in part]
    if sum(map(len, texts)) <= max_chars:
        return message, 0
    share = max(max_chars // len(texts), MIN_CHARS)
    parts: list[ContentPart] = []
    total = 0
    for part in content:
        if "text" in part:
            text, omitted = _shorten_text(part["text"], share)
            total += omitted
            part = {**part, "text": text}
        parts.append(part)
    return {**message, "content": parts}, total


def _shorten_text(text: str, max_chars: int) -> tuple[str, int]:
    """The text with a mark in its middle, at most ``max_chars`` long, and how many characters are missing."""
    if len(text) <= max_chars:
        return text, 0
    longest_mark = _mark(len(text))
    kept = max_chars - len(longest_mark)
    head = kept - kept // 2
    omitted = len(text) - kept
    return f"{text[:head]}{_mark(omitted)}{text[len(text) - kept // 2 :]}", omitted


def _mark(omitted: int) -> str:
    return f"[... {omitted:,} characters omitted ...]"
