"""Replies of Bedrock's Converse API. Its messages have ``role`` and ``content``, like all chat messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardanything_core.conversations.place import Fields, Place
from rewardanything_core.conversations.reader import ReadValue
from rewardanything_core.conversations.turns import Turns


def recognises(value: Any) -> bool:
    """Whether a value is a reply: its message is in ``output``."""
    return isinstance(value, Mapping) and isinstance(value.get("output"), Mapping) and "message" in value["output"]


def read(value: Any, turns: Turns, place: Place, read_value: ReadValue) -> None:
    """Read it; see `reader.Reader`."""
    fields = Fields(value, place)
    output = Fields(fields.take("output"), place.inside("output"))
    read_value(output.take("message"), turns, place.inside("output.message"))
    output.close()
    fields.close("trace", "performanceConfig", "additionalModelResponseFields", "serviceTier")
