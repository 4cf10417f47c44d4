"""From the values of LangChain and LangSmith (strings, messages, dicts) to the texts of a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import groupby
from operator import add
from typing import Any, TypeAlias

from langchain_core.messages import BaseMessage, BaseMessageChunk
from langchain_core.prompt_values import PromptValue

from rewardanything_core import InvalidCaseError, Message, conversations
from rewardanything_core.conversations import Response, is_conversation, read_messages, read_reply, response_text
from rewardanything_core.conversations.json_values import holds_bytes, is_missing, to_json_value, written
from rewardanything_core.conversations.place import Place

Selector: TypeAlias = str | Callable[[Any], Any] | None
"""A key, a function of the whole value, or None: the only entry of a dict, or else the whole value."""


class SelectorError(InvalidCaseError):
    """A selector that the user gave does not fit the value."""


def select(value: Any, selector: Selector, name: str) -> Any:
    """The part of a value that a selector names.

    Args:
        value: The inputs, outputs or reference outputs of a row.
        selector: A key, a function of the value, or None for the only entry of a dict, or else the whole value.
        name: What the value is called in error messages.

    Returns:
        None if there is nothing: the value is empty, as LangSmith passes it for a run without outputs, or all of its
        entries are None. Also where an input or a reference is NaN, as data frames have it for what is missing.

    Raises:
        SelectorError: there is no such key, or the function raised.
    """
    if value is None or (isinstance(value, Mapping | list) and not value):
        return None
    part = _selected(value, selector, name)
    return None if is_missing(part) and not (name == "outputs" and isinstance(part, float)) else part


def _selected(value: Any, selector: Selector, name: str) -> Any:
    if callable(selector):
        try:
            return selector(value)
        except Exception as error:
            raise SelectorError(
                f"The selector of the {name} raised {type(error).__name__}: {error}; there is {_shape(value)}.",
                field=name,
            ) from error
    if selector is not None:
        if not isinstance(value, Mapping) or selector not in value:
            raise SelectorError(f"The {name} have no key {selector!r}; there is {_shape(value)}.", field=name)
        return value[selector]
    if isinstance(value, Mapping) and "role" not in value and len(value) == 1:
        ((key, part),) = value.items()
        return None if key == "messages" and isinstance(part, list) and not part else part
    if isinstance(value, Mapping) and all(part is None for part in value.values()):
        return None
    return value


def row_of(inputs: Any, outputs: Any, reference_outputs: Any) -> tuple[Any, Any, Any]:
    """The inputs, outputs and reference outputs of a row, which may be given as LangSmith's run and example.

    Args:
        inputs: The inputs; or a `Run`, as an object or a dict, whose outputs are judged.
        outputs: The outputs; with a run, its `Example` or None.
        reference_outputs: The reference outputs.
    """
    if outputs is None or _has(outputs, "dataset_id", "inputs", "outputs"):
        example = {} if outputs is None else _as_mapping(outputs)
        if _has(inputs, "run_type", "inputs", "outputs"):
            run = _as_mapping(inputs)
            return example.get("inputs", run["inputs"]), run["outputs"], example.get("outputs")
    return inputs, outputs, reference_outputs


def _has(value: Any, *names: str) -> bool:
    return all(name in value if isinstance(value, Mapping) else hasattr(value, name) for name in names)


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {name: getattr(value, name) for name in ("inputs", "outputs")}


def prompt_of(value: Any) -> str | list[Message]:
    """A prompt as text or chat messages.

    Args:
        value: A text, a prompt value, messages, ``{"messages": ...}``, or another dict, whose fields become lines.

    Raises:
        InvalidCaseError: there is none, or a part of it cannot be read.
    """
    if value is None:
        raise InvalidCaseError("There is no input, which the judge needs as the prompt.", field="prompt")
    value = _json_value(value, "prompt")
    if is_conversation(value):
        return list(read_messages(value, where="prompt"))
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_written(part, 'prompt')}" for name, part in value.items() if part is not None)
    return _written(value, "prompt")


def _written(value: Any, field: str) -> str:
    if holds_bytes(value):
        raise InvalidCaseError(f"There are bytes in the {field}, not text; decode them.", field=field)
    return written(value)


def response_of(value: Any, field: str = "responses", *, prompt: str | list[Message] = "") -> Response:
    """A response: a text, messages with tool calls and their results, or a structure as JSON.

    Args:
        value: A text, a message, a conversation, an agent's state with ``messages``, or any other structure.
        field: The part of the case that it becomes, for error messages.
        prompt: What it answers. A conversation that begins with it is the response from there on, and another one from
            the assistant's first message on.

    Raises:
        InvalidCaseError: there is none, or a part of it cannot be read.
    """
    if value is None:
        raise InvalidCaseError("There is no output to judge.", field=field)
    value = _json_value(value, field)
    if is_conversation(value):
        return read_reply(value, where=field, prompt=prompt)
    return _written(value, field)


def text_of(value: Any, field: str = "responses") -> str:
    """A value as text: what `response_of` gives, with a conversation as its transcript.

    Args:
        value: See `response_of`.
        field: The part of the case that it becomes, for error messages.
    """
    return response_text(response_of(value, field))


def split_conversation(value: Any) -> tuple[list[Message], Response]:
    """A conversation as the prompt that started it and the rest, which is judged.

    Args:
        value: Messages, or ``{"messages": ...}``.

    Raises:
        InvalidCaseError: it is not a conversation in which the assistant says or does something after the user.
    """
    value = _json_value(value, "outputs")
    messages = read_messages(value, where="outputs") if is_conversation(value) else ()
    if not {"user", "assistant"} <= {message["role"] for message in messages}:
        raise InvalidCaseError(
            "There is no input, which the judge needs as the prompt, and the outputs are not a conversation that a "
            "user's message starts.",
            field="prompt",
        )
    return conversations.split_conversation(messages, where="outputs")


def _json_value(value: Any, field: str) -> Any:
    """A value as JSON values, in which messages that are parts of other structures have our form."""
    if isinstance(value, PromptValue):
        value = value.to_messages()
    try:
        value = _with_messages(value, field)
    except RecursionError:
        raise InvalidCaseError(f"The {field} contains itself or is nested too deeply.", field=field) from None
    return to_json_value(value, Place(field))


def _with_messages(value: Any, field: str) -> Any:
    if isinstance(value, BaseMessage):
        messages = read_messages(value, where=field)
        return messages[0] if len(messages) == 1 else messages
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {name: _with_messages(part, field) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_with_messages(part, field) for part in _whole_messages(value)]
    return value


def _whole_messages(values: Sequence[Any]) -> Iterator[Any]:
    """The elements of a list, in which the chunks of a streamed message are that message."""
    for key, group in groupby(values, lambda one: (type(one), one.id) if isinstance(one, BaseMessageChunk) else None):
        first, *rest = group
        if key is None:
            yield from (first, *rest)
        else:
            yield reduce(add, rest, first)


def _shape(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, Mapping) else f"a {type(value).__name__}"
