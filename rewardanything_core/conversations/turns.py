"""The messages in normal form, as they are put together from the parts of other forms."""

from __future__ import annotations

from typing import Any

from rewardanything_core.conversations.json_values import written
from rewardanything_core.types import ContentPart, Message, ToolCall


class Turns:
    """Collects parts in order and splits them into messages, so that the order of words and actions is kept.

    A message has its parts first and its calls last: a part after a call begins another message of the same role. A
    tool's result is a message of its own.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        """The messages so far; `finished` gives their final form."""

        self.role = ""
        """The role of what comes next."""

        self._name: str | None = None
        self._current: Message | None = None
        self._from_items = self._answered = False

    def begin(self, role: str, name: str | None = None) -> None:
        """Begin a message.

        Args:
            role: Its role.
            name: The participant's name. None: it has none.
        """
        self.role, self._name, self._current = role, name, None
        self._from_items = self._answered = False

    def resume(self, role: str = "assistant", *, text: bool = False) -> None:
        """Add to the assistant's current message if that came from items too; begin a message otherwise.

        Args:
            role: The role of the item.
            text: Whether the item is what the assistant said, of which a message has one.
        """
        has_text = self._current is not None and any(part["type"] == "text" for part in self._current["content"])
        if not (self._from_items and self.role == role == "assistant") or (text and has_text):
            self.begin(role)
        self._from_items = True

    @property
    def begun(self) -> bool:
        """Whether the message that comes next has a part or a call already, or a result in its place."""
        return self._current is not None or self._answered

    def add_part(self, part: ContentPart) -> None:
        """Add a text, reasoning or an image."""
        if self._current is None or self._current.get("tool_calls"):
            self._current = self._append()
        content = self._current["content"]
        assert isinstance(content, list)
        content.append(part)

    def add_call(self, call: ToolCall) -> None:
        """Add a call of a tool."""
        if self._current is None:
            self._current = self._append()
        self._current.setdefault("tool_calls", []).append(call)

    def add_result(self, content: list[ContentPart], **fields: Any) -> None:
        """Add a tool's result.

        Args:
            content: The parts of the result.
            **fields: ``tool_call_id``, ``name`` and ``is_error``; None and False are left out.
        """
        self._current, self._answered = None, True
        message: Message = {"role": "tool", "content": content}
        message.update({key: value for key, value in fields.items() if value})  # type: ignore[typeddict-item]
        self.messages.append(message)

    def add_empty(self, content: str | None) -> None:
        """Add a message that has no parts and no calls.

        Args:
            content: What it has in their place: an empty text or nothing.
        """
        self._append()["content"] = content

    def add(self, messages: list[Message]) -> None:
        """Add messages that are in normal form already."""
        self.messages += messages
        self._current = None

    def finished(self) -> tuple[Message, ...]:
        """The messages: content that is a single plain text is that text, and None if there are no parts."""
        return tuple(_simplified(message) for message in self.messages)

    def _append(self) -> Message:
        message: Message = {"role": self.role, "content": []}
        if self._name:
            message["name"] = self._name
        self.messages.append(message)
        return message


def text_part(text: str, annotations: list[Any] | None = None) -> ContentPart:
    """A part with text.

    Args:
        text: The text.
        annotations: Its citations, as JSON values. None or empty: it has none.
    """
    return {"type": "text", "text": text, **({"annotations": annotations} if annotations else {})}  # type: ignore[typeddict-item]


def value_part(value: Any) -> list[ContentPart]:
    """The parts of a result that is any JSON value: the value as text, and nothing for None."""
    return [] if value is None else [text_part(written(value))]


def _simplified(message: Message) -> Message:
    content = message["content"]
    if not isinstance(content, list):
        return message
    if len(content) == 1 and content[0]["type"] == "text" and "annotations" not in content[0]:
        return {**message, "content": content[0]["text"]}
    return {**message, "content": content or None}
