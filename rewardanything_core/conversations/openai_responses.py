"""Items of OpenAI's Responses API, alone, in a list, or in a response or request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardanything_core.conversations.content import (
    CALLS,
    REASONING,
    RESULTS,
    TEXTS,
    add_content,
    read_call,
    read_parts,
    read_result,
    result_parts,
)
from rewardanything_core.conversations.json_values import parsed
from rewardanything_core.conversations.openai_chat import is_setting, read_message
from rewardanything_core.conversations.place import Fields, Place
from rewardanything_core.conversations.reader import ReadValue
from rewardanything_core.conversations.turns import Turns

_RESULTS = ("output", "outputs", "results", "result", "error")
"""Fields of an item of a built-in tool that hold what the tool returned."""

_TOOL_ITEMS = ("mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "program", "compaction")
_OUTPUTS = ("_call_output", "program_output", "tool_search_output")

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
        return _is_item(value["type"]) or value["type"] in CALLS | TEXTS | REASONING | {"refusal"}
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


def _is_item(kind: str) -> bool:
    return kind in RESULTS or kind in _TOOL_ITEMS or kind.endswith(("_call", *_OUTPUTS)) or kind == "item_reference"


def _read_item(kind: str, item: Mapping[str, Any], turns: Turns, place: Place) -> None:
    if kind in CALLS:
        turns.resume()
        turns.add_call(read_call(item, place))
    elif kind.endswith(_OUTPUTS):
        turns.resume()
        _read_output(kind, item, turns, place)
    elif kind in RESULTS:
        turns.resume()
        read_result(item, turns, place)
    elif kind == "item_reference":
        raise place.error(f"refers to the item {item.get('id')!r} by its id only; give the item")
    elif _is_item(kind):
        turns.resume()
        _read_built_in(kind, item, turns, place)
    else:
        turns.resume()
        for part in read_parts(item, place):
            turns.add_part(part)


def _read_built_in(kind: str, item: Mapping[str, Any], turns: Turns, place: Place) -> None:
    """An item of a tool that the API itself runs: its call, with all the fields that are no result as arguments."""
    fields = Fields(item, place)
    fields.take("type")
    item_id, call_id = fields.take("id"), fields.text("call_id")
    call_id = call_id or (item_id if isinstance(item_id, str) else None)
    failed = fields.take("status") == "failed"
    found = {key: result for key in _RESULTS if (result := fields.take(key)) is not None}
    name = kind.removesuffix("_call")
    if kind == "mcp_call":
        name = ".".join(filter(None, [fields.text("server_label"), fields.text("name")]))
        arguments: Any = parsed(fields.text("arguments") or "{}")
        fields.close("approval_request_id")
    else:
        arguments = fields.rest("created_by", "caller", "fingerprint", "container_id", "encrypted_content")
    turns.add_call({"id": call_id, "name": name, "arguments": arguments})
    if found or failed:
        _add_output(kind, found, turns, place, tool_call_id=call_id, is_error=failed or bool(found.get("error")))


def _read_output(kind: str, item: Mapping[str, Any], turns: Turns, place: Place) -> None:
    """An item with the output of a tool."""
    fields = Fields(item, place)
    fields.take("type")
    item_id, call_id = fields.take("id"), fields.text("call_id")
    failed = fields.take("status") == "failed"
    found = fields.rest("caller", "created_by", "max_output_length", "execution", "name", "namespace")
    if call_id is None and isinstance(item_id, str):  # local_shell_call_output has no other id
        call_id = item_id
    _add_output(kind, found, turns, place, tool_call_id=call_id, name=item.get("name"), is_error=failed)


def _add_output(kind: str, found: dict[str, Any], turns: Turns, place: Place, **fields: Any) -> None:
    output: Any = next(iter(found.values())) if len(found) == 1 else found or None
    if kind == "image_generation_call" and isinstance(output, str):
        output = [{"type": "image", "data": output}]
    if isinstance(output, Mapping) and output.get("type") == "computer_screenshot":
        output = [{"type": "input_image", **{key: item for key, item in output.items() if key != "type"}}]
    turns.add_result(result_parts(output, place), **fields)
