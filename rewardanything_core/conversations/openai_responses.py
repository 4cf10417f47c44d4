"""Items of OpenAI's Responses API, alone, in a list, or in a response or request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardanything_core.conversations.content import (
    CALLS,
    REASONING,
    TEXTS,
    add_content,
    is_item,
    read_call,
    read_item,
    read_parts,
)
from rewardanything_core.conversations.openai_chat import is_setting, read_message
from rewardanything_core.conversations.place import Fields, Place
from rewardanything_core.conversations.reader import ReadValue
from rewardanything_core.conversations.turns import Turns

_RESPONSE_SETTINGS = (
    "instructions", "background", "completed_at", "incomplete_details", "max_tool_calls", "prompt", "text",
    "previous_response_id", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "safety_identifier",
    "top_logprobs", "truncation", "conversation", "store", "include", "moderation", "context_management", "billing",
    "frequency_penalty", "presence_penalty", "output_text", "tool_usage",
)  # fmt: skip
"""Fields of a response that repeat or describe its request."""


def recognises(value: Any) -> bool:
    """Whether a value is an item, a response, a request with a list as its input, or a content block on its own."""
    if not isinstance(value, Mapping):
        return False
    if value.get("type") == "message" and isinstance(value.get("role"), str):
        return "parts" not in value
    if isinstance(value.get("type"), str) and "role" not in value:
        return is_item(value["type"]) or value["type"] in CALLS | TEXTS | REASONING | {"refusal"}
    return "role" not in value and any(isinstance(value.get(key), list) for key in ("output", "input"))


def read(value: Any, turns: Turns, place: Place, read_value: ReadValue) -> None:
    """Read it; see `reader.Reader`."""
    kind = value.get("type")
    if kind == "message":
        read_message(Fields(value, place), turns, is_item=True)
        return
    if isinstance(kind, str):
        _read_item(kind, value, turns, place)
        return
    fields = Fields(value, place)
    instructions = fields.take("instructions") if "input" in fields else None
    if isinstance(instructions, str):
        turns.begin("system")
        add_content(instructions, turns, place.inside("instructions"))
    for key in ("input", "output"):
        if (items := fields.take(key)) is not None:
            read_value(items, turns, place.inside(key))
    if error := fields.take("error"):
        raise place.error(f"is a response that failed: {error!r:.200}")
    fields.close(*_RESPONSE_SETTINGS, *(key for key, item in value.items() if is_setting(key, item)))


def _read_item(kind: str, item: Mapping[str, Any], turns: Turns, place: Place) -> None:
    if kind in CALLS:
        turns.resume()
        turns.add_call(read_call(item, place))
    elif is_item(kind):
        turns.resume()
        read_item(kind, item, turns, place)
    else:
        turns.resume()
        for part in read_parts(item, place):
            turns.add_part(part)
