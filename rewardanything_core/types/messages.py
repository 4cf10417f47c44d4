"""Chat messages, in the one form that everything reads."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class ToolCall(TypedDict):
    """A call of a tool by a model."""

    id: str | None
    """The id that the tool's result repeats. None: the call has none."""

    name: str
    """The tool's name; empty if the model's output had none that could be parsed."""

    arguments: Any
    """JSON values: usually a dict of arguments by name. A string if the model did not write valid JSON."""


class ContentPart(TypedDict):
    """A part of a message's content."""

    type: Literal["text", "reasoning", "image_url"]
    """What the part is. ``reasoning``: what a model thought before it answered, which its user may not see."""

    text: NotRequired[str]
    """The text of a ``text`` or ``reasoning`` part."""

    annotations: NotRequired[list[Any]]
    """Citations of a ``text`` part, in the form of their API."""

    image_url: NotRequired[dict[str, str]]
    """An image's ``url``, which may be a data URL, and its ``detail`` if that was given."""


class Message(TypedDict):
    """One chat turn. `rewardanything_core.conversations` reads messages of other forms into this one."""

    role: str
    """``system``, ``developer``, ``user``, ``assistant`` or ``tool``."""

    content: Any
    """A string, or a list of `ContentPart`. None: the message has only tool calls. What is sent to a text model has
    strings only."""

    tool_calls: NotRequired[list[ToolCall]]
    """The tools that the assistant called after what the content says."""

    tool_call_id: NotRequired[str]
    """In a tool's message, the id of the call that it answers."""

    name: NotRequired[str]
    """The tool's name, or that of one of several participants with the same role."""

    is_error: NotRequired[bool]
    """Whether the tool failed; only ever True."""
