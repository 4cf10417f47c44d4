"""DSPy's ReAct trajectories, predictions that have one, and histories."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rewardanything_core.conversations.content import read_call, read_parts, result_parts
from rewardanything_core.conversations.json_values import written
from rewardanything_core.conversations.place import Fields, Place
from rewardanything_core.conversations.reader import ReadValue
from rewardanything_core.conversations.turns import Turns, text_part
from rewardanything_core.types import ContentPart

_STEP = re.compile(r"(thought|tool_name|tool_args|observation)_(\d{1,9})")
_THOUGHTS = ("next_thought", "reasoning", "rationale")
_CONTENT = ("role", "type", "content", "parts", "lc", "message", "tool_call_id")


def recognises(value: Any) -> bool:
    """Whether a value is a trajectory, a prediction with a trajectory or history, or a history of fields."""
    if not isinstance(value, Mapping):
        return False
    if _is_trajectory(value) or _is_trajectory(value.get("trajectory")) or _is_history(value.get("history")):
        return True
    return set(value) == {"messages"} and _is_history(value)


def read(value: Any, turns: Turns, place: Place, read_value: ReadValue) -> None:
    """Read it; see `reader.Reader`."""
    if _is_trajectory(value):
        _read_trajectory(value, turns, place)
        return
    if not _is_history(value):
        fields = Fields(value, place)
        if (trajectory := fields.take("trajectory")) is not None:
            _read_trajectory(trajectory, turns, place.inside("trajectory"))
        if (history := fields.take("history")) is not None:
            read(history, turns, place.inside("history"), read_value)
            _check_repeated(fields, history, place)
        else:
            _add_outputs(fields.rest(), turns, place)
        return
    for number, entry in enumerate(value["messages"]):
        _read_entry(entry, turns, place.inside(f"message {number}"))


def _is_trajectory(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(key, str) and _STEP.fullmatch(key) for key in value)
    )


def _is_history(value: Any) -> bool:
    entries = value.get("messages") if isinstance(value, Mapping) else None
    return (
        isinstance(entries, list)
        and bool(entries)
        and all(isinstance(entry, Mapping) and not any(key in entry for key in _CONTENT) for entry in entries)
    )


def _read_trajectory(trajectory: Mapping[str, Any], turns: Turns, place: Place) -> None:
    """Each step as a thought with a call, and the observation as the call's result."""
    steps: dict[int, dict[str, Any]] = {}
    for key, value in trajectory.items():
        match = _STEP.fullmatch(key)
        assert match is not None
        steps.setdefault(int(match[2]), {})[match[1]] = value
    for number in sorted(steps):
        step, here = steps[number], place.inside(f"step {number}")
        turns.begin("assistant")
        for part in _thought(step.get("thought"), here):
            turns.add_part(part)
        call_id = None
        if step.get("tool_name") is not None:
            call_id = f"step_{number}"
            call = {"id": call_id, "name": step["tool_name"], "arguments": step.get("tool_args")}
            turns.add_call(read_call(call, here))
        elif step.get("tool_args"):
            raise here.error("has 'tool_args' without a 'tool_name'")
        if "observation" in step:
            turns.add_result(result_parts(step["observation"], here), tool_call_id=call_id)


def _read_entry(entry: Mapping[str, Any], turns: Turns, place: Place) -> None:
    """An entry of a history: input fields, then what a module wrote, which begins with its thought or its calls."""
    fields, names = Fields(entry, place), list(entry)
    begins = [names.index(name) for name in (*_THOUGHTS, "tool_calls") if name in entry]
    if begins:
        inputs = names[: min(begins)]
    elif len(names) == 2:
        inputs = names[:1]
    else:
        raise place.error(
            f"is an entry of a DSPy history with the fields {', '.join(names):.200}, and it is not clear which are "
            "outputs; give messages with 'role' and 'content'"
        )
    if given := {name: fields.take(name) for name in inputs if entry[name] is not None}:
        turns.begin("user")
        turns.add_part(_named(given))
    turns.begin("assistant")
    for part in _thought(fields.take(*_THOUGHTS), place):
        turns.add_part(part)
    outputs_of_calls = _read_calls(fields.take("tool_calls"), turns, place)
    outputs = fields.rest()
    if outputs and outputs not in outputs_of_calls:  # ReActV2 repeats what its `submit` returned
        turns.add_part(_named(outputs))


def _read_calls(given: Any, turns: Turns, place: Place) -> list[Any]:
    """Read ``dspy.ToolCalls`` with their results, and return the arguments of the calls."""
    if given is None:
        return []
    fields = Fields(given if isinstance(given, Mapping) else {"tool_calls": given}, place.inside("tool_calls"))
    calls = [read_call(call, fields.place) for call in fields.items("tool_calls")]
    results = fields.take("tool_call_results")
    fields.close()
    for call in calls:
        turns.add_call(call)
    listed = Fields(results, fields.place).items("tool_call_results") if isinstance(results, Mapping) else results or []
    for result in listed:
        one = Fields(result, fields.place)
        call_id, name, failed, value = (one.take(key) for key in ("call_id", "name", "is_error", "value"))
        one.close()
        turns.add_result(result_parts(value, fields.place), tool_call_id=call_id, name=name, is_error=bool(failed))
    return [call["arguments"] for call in calls]


def _add_outputs(outputs: dict[str, Any], turns: Turns, place: Place) -> None:
    """The output fields of a prediction as the assistant's last message."""
    turns.begin("assistant")
    for part in _thought(outputs.pop("reasoning", None), place):
        turns.add_part(part)
    if outputs:
        turns.add_part(_named(outputs))


def _check_repeated(fields: Fields, history: Mapping[str, Any], place: Place) -> None:
    """A prediction of ReActV2 repeats the last entry's outputs, which have been read."""
    last = history["messages"][-1]
    rest = {name: value for name, value in fields.rest("termination_reason").items() if last.get(name) != value}
    if rest:
        raise place.error(f"has {next(iter(rest))!r} next to a history; give one of them")


def _thought(thought: Any, place: Place) -> list[ContentPart]:
    if isinstance(thought, Mapping):  # dspy.Reasoning
        thought = thought.get("content")
    return read_parts({"type": "reasoning", "reasoning": thought}, place) if thought is not None else []


def _named(fields: Mapping[str, Any]) -> ContentPart:
    """One field as its text, several as ``name: value`` lines."""
    if len(fields) == 1:
        return text_part(written(next(iter(fields.values()))))
    return text_part("\n".join(f"{name}: {written(value)}" for name, value in fields.items()))
