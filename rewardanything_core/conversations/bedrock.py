"""Replies of Bedrock's Converse API, and the content of one. Its messages have ``role``, like all chat messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardanything_core.conversations.content import kind_of
from rewardanything_core.conversations.place import Fields, Place
from rewardanything_core.conversations.reader import ReadValue
from rewardanything_core.conversations.turns import Turns

_KEYS = ("toolUse", "toolResult", "reasoningContent")
"""Keys of content blocks that no other format has."""


def recognises(value: Any) -> bool:
    """Whether a value is a reply, whose message is in ``output``, or a content block or a list of them."""
    if isinstance(value, list):
        return any(map(recognises, value)) and all(kind_of(block) in ("text", "image", *_KEYS) for block in value)
    if not isinstance(value, Mapping) or "role" in value:
        return False
    if isinstance(value.get("output"), Mapping):
        return "message" in value["output"]
    return any(set(value) == {key} for key in _KEYS)


def read(value: Any, turns: Turns, place: Place, read_value: ReadValue) -> None:
    """Read it; see `reader.Reader`."""
    if isinstance(value, list) or "output" not in value:
        read_value({"role": "assistant", "content": value}, turns, place)
        return
    fields = Fields(value, place)
    output = Fields(fields.take("output"), place.inside("output"))
    read_value(output.take("message"), turns, place.inside("output.message"))
    output.close()
    fields.close("trace", "performanceConfig", "additionalModelResponseFields", "serviceTier")
