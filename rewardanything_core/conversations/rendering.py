"""Conversations as a judge reads them: turns as JSON values, or a plain transcript."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rewardanything_core.conversations.json_values import written
from rewardanything_core.types import ContentPart, Message

IMAGE = "[image]"
"""In place of an image within a text."""


def turns_as_json(messages: Sequence[Message], *, reasoning: bool = True) -> list[dict[str, Any]]:
    """The turns of a conversation as JSON values, numbered from 1.

    A turn has ``turn``, ``role`` and, where it has them, ``name``, ``reasoning``, ``text``, ``annotations`` and
    ``calls``: tool calls with ``call`` (turn and number, as in ``"2.1"``), ``name`` and ``arguments``. A tool's turn
    has ``result`` in place of ``text``, the ``call`` that it answers if that is known, and ``error`` if it failed.

    Args:
        messages: Messages in normal form.
        reasoning: Whether to include what the model reasoned before it answered.
    """
    turns, calls = [], _call_numbers(messages)
    for number, message in enumerate(messages, start=1):
        turn: dict[str, Any] = {"turn": number, "role": message["role"]}
        if "name" in message:
            turn["name"] = message["name"]
        if reasoning and (thought := _joined(message, "reasoning")):
            turn["reasoning"] = thought
        if message["role"] == "tool":
            if answered := calls.get(message.get("tool_call_id", "")):
                turn["call"] = answered
            if message.get("is_error"):
                turn["error"] = True
            turn["result"] = message_text(message)
        elif (text := message_text(message)) or not message.get("tool_calls"):
            turn["text"] = text
        if annotations := list(_annotations(message)):
            turn["annotations"] = annotations
        if message.get("tool_calls"):
            turn["calls"] = [
                {"call": f"{number}.{place}", "name": call["name"], "arguments": call["arguments"]}
                for place, call in enumerate(message["tool_calls"], start=1)
            ]
        turns.append(turn)
    return turns


def transcript(messages: Sequence[Message], *, reasoning: bool = True) -> str:
    """A conversation as plain text, for models that were trained on texts only.

    Each turn begins on a line of its own, as in ``[2] assistant: I will look.``, ``[2] assistant calls
    weather {"city": "Ulm"}`` and ``[3] tool weather (answers 2.1): sunny``. Further lines of a text are indented, so
    that no text can imitate another turn.

    Args:
        messages: Messages in normal form.
        reasoning: Whether to include what the model reasoned before it answered.
    """
    lines = []
    for turn in turns_as_json(messages, reasoning=reasoning):
        speaker = " ".join(filter(None, [turn["role"], _one_line(turn.get("name", ""))]))
        head = f"[{turn['turn']}] {speaker}"
        if "reasoning" in turn:
            lines.append(f"{head} thinks: {_indented(turn['reasoning'])}")
        if "text" in turn:
            lines.append(f"{head}: {_indented(turn['text'])}")
        if "result" in turn:
            notes = [f"answers {turn['call']}" if "call" in turn else "", "failed" if "error" in turn else ""]
            note = ", ".join(filter(None, notes))
            lines.append(f"{head}{note and f' ({note})'}: {_indented(turn['result'])}")
        if "annotations" in turn:
            lines.append(f"{head} cites {_indented(written(turn['annotations']))}")
        lines += [
            f"{head} calls {_one_line(call['name'])} {_indented(written(call['arguments']))}"
            for call in turn.get("calls", ())
        ]
    return "\n".join(lines)


def message_text(message: Message) -> str:
    """A message's text without reasoning and calls; images are `IMAGE`.

    The assistant's text parts follow each other directly, since APIs split a text at citations; others are on lines of
    their own.

    Args:
        message: A message in normal form.
    """
    return _joined(message, "text", "image_url")


def final_text(messages: Sequence[Message]) -> str:
    """The text of the assistant's last message; empty if it has none, or if there is no such message.

    Args:
        messages: Messages in normal form.
    """
    return next((message_text(message) for message in reversed(messages) if message["role"] == "assistant"), "")


def images_of(messages: Sequence[Message]) -> list[ContentPart]:
    """The images in messages, which no text shows, in order.

    Args:
        messages: Messages in normal form.
    """
    return [
        part
        for message in messages
        if isinstance(message["content"], list)
        for part in message["content"]
        if part["type"] == "image_url"
    ]


def has_images(messages: Sequence[Message]) -> bool:
    """Whether a message has an image.

    Args:
        messages: Messages in normal form.
    """
    return bool(images_of(messages))


def _joined(message: Message, *kinds: str) -> str:
    content = message["content"]
    if not isinstance(content, list):
        return (content or "") if "text" in kinds else ""
    texts = [part.get("text", IMAGE) for part in content if part["type"] in kinds]
    return ("" if message["role"] == "assistant" and "text" in kinds else "\n").join(texts)


def _annotations(message: Message) -> Iterator[Any]:
    for part in message["content"] if isinstance(message["content"], list) else ():
        yield from part.get("annotations", ())


def _call_numbers(messages: Sequence[Message]) -> dict[str, str]:
    """Id of a call -> its turn and number."""
    return {
        call["id"]: f"{number}.{place}"
        for number, message in enumerate(messages, start=1)
        for place, call in enumerate(message.get("tool_calls", ()), start=1)
        if call["id"]
    }


def _indented(text: str) -> str:
    lines = text.splitlines(keepends=True)
    if lines and lines[-1].splitlines() != lines[-1:]:  # it ends with a line break
        lines.append("")
    return "    ".join(lines)


def _one_line(text: str) -> str:
    return " ".join(text.splitlines())
