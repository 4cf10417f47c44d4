"""LangChain's messages: their fields, ``message_to_dict``, ``dumpd``, pairs of role and text, and model results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardanything_core.conversations.openai_chat import ROLES, read_message, role_of
from rewardanything_core.conversations.place import Fields, Place
from rewardanything_core.conversations.reader import ReadValue
from rewardanything_core.conversations.turns import Turns

_TYPES = {"human", "ai", "system", "tool", "function", "chat", "developer", "remove"}
_RAW = ("tool_calls", "function_call", "reasoning_content", "refusal", "reasoning", "name", "is_error")
"""Fields in ``additional_kwargs`` that are content, unless the message itself has them."""

_NOTES = ("parsed", "audio_output", "lc_source", "lc_data")
"""Fields there that repeat the content, or name the part of an application that added the message."""


def recognises(value: Any) -> bool:
    """Whether a value is a message of LangChain, serialised or not, a pair of role and text, or a model's result."""
    if isinstance(value, list):
        return _is_pair(value) or any(map(_are_chunks, value, value[1:]))
    if not isinstance(value, Mapping):
        return False
    if value.get("lc") == 1 or isinstance(value.get("generations"), list):
        return True
    return _type_of(value) in _TYPES and ("content" in value or isinstance(value.get("data"), Mapping))


def read(value: Any, turns: Turns, place: Place, read_value: ReadValue) -> None:
    """Read it; see `reader.Reader`."""
    if isinstance(value, list) and not _is_pair(value):
        raise place.error("has several chunks of one message; add them to one first, as LangChain's + does")
    if isinstance(value, list):
        read_value({"role": value[0], "content": value[1]}, turns, place)
    elif "generations" in value:
        _read_result(value, turns, place, read_value)
    elif value.get("lc") == 1:
        _read_serialised(value, turns, place, read_value)
    elif "data" in value and "content" not in value:
        outer = Fields(value, place)
        read_value({"type": outer.take("type"), **outer.take("data")}, turns, place)
        outer.close()
    else:
        _read_fields(value, turns, place)


def _is_pair(value: list[Any]) -> bool:
    return len(value) == 2 and isinstance(value[0], str) and value[0] in ROLES


def _are_chunks(value: Any, following: Any) -> bool:
    """Whether two elements of a list are chunks of the same message."""
    pair = (value, following)
    if not all(isinstance(one, Mapping) and str(one.get("type")).endswith("MessageChunk") for one in pair):
        return False
    return bool(value.get("id") == following.get("id") and value["type"] == following["type"])


def _type_of(value: Mapping[str, Any]) -> str | None:
    kind = value.get("type")
    return kind.removesuffix("MessageChunk").lower() if isinstance(kind, str) else None


def _read_fields(value: Mapping[str, Any], turns: Turns, place: Place) -> None:
    kind = _type_of(value)
    more = Fields(value.get("additional_kwargs") or {}, place.inside("additional_kwargs"))
    hidden = ("type", "role", "additional_kwargs", "tool_call_chunks", "chunk_position", "example", "artifact")
    fields = {key: item for key, item in value.items() if key not in hidden}
    raw = {key: more.take(key) for key in _RAW}
    if fields.get("tool_calls") or fields.get("invalid_tool_calls"):  # the same calls, parsed
        raw["tool_calls"] = raw["function_call"] = None
    if isinstance(raw["reasoning"], Mapping) and isinstance(value.get("content"), str):  # an item of the Responses API
        fields["content"] = [raw["reasoning"], *([value["content"]] if value["content"] else [])]
    if isinstance(raw["reasoning"], Mapping):
        raw["reasoning"] = None
    if outputs := more.items("tool_outputs"):  # of built-in tools, in ``output_version="v0"``
        content = fields.get("content") or []
        fields["content"] = [*outputs, *(content if isinstance(content, list) else [content])]
    role = more.take("__openai_role__") or (value.get("role") if kind == "chat" else kind)
    if role == "remove":
        raise place.error("removes a message from a state and is not one; give the state after it")
    fields.update({key: item for key, item in raw.items() if item})
    more.close(*_NOTES)
    read_message(Fields(fields, place), turns, role=role_of(role, place))


def _read_serialised(value: Mapping[str, Any], turns: Turns, place: Place, read_value: ReadValue) -> None:
    fields = Fields(value, place)
    kind, arguments, name = fields.take("type"), fields.take("kwargs"), fields.take("id")
    name = name[-1] if isinstance(name, list) and name else None
    fields.close("lc", "name", "graph")
    if kind != "constructor" or not isinstance(arguments, Mapping):
        raise place.error(f"is {name!r}, which LangChain could not serialise; give the messages themselves")
    if isinstance(name, str) and "Message" in name and "type" not in arguments:
        arguments = {"type": name.partition("Message")[0].lower(), **arguments}
    read_value(arguments, turns, place)


def _read_result(value: Mapping[str, Any], turns: Turns, place: Place, read_value: ReadValue) -> None:
    """An ``LLMResult`` or ``ChatResult``: one generation for one prompt."""
    fields = Fields(value, place)
    generations = fields.items("generations")
    fields.close("llm_output", "run")
    if len(generations) == 1 and isinstance(generations[0], list):
        generations = generations[0]
    if len(generations) != 1:
        raise place.error(f"has {len(generations)} generations; a conversation has one, so select it")
    generation = generations[0]
    if isinstance(generation, Mapping) and generation.get("lc") == 1:
        generation = generation.get("kwargs")
    one = Fields(generation, place.inside("generation 0"))
    message, text = one.take("message"), one.text("text")
    one.close("generation_info")
    read_value(message if message is not None else {"role": "assistant", "content": text}, turns, one.place)
