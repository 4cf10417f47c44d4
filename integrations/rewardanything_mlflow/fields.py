"""From MLflow's inputs, outputs and expectations to a case's prompt, responses and reference."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from rewardanything_core import InvalidCaseError, Message
from rewardanything_core.conversations import Response, is_conversation, read_messages, read_reply, response_text
from rewardanything_core.conversations.json_values import holds_bytes, to_json_value
from rewardanything_core.conversations.openai_chat import is_setting
from rewardanything_core.conversations.place import Place

Selector = str | Callable[[Any], Any]
"""A key, a dotted path (``choices.0.message.content``), or a function of the value."""

REPLIES = (
    "a text, a dict with a single entry, a chat message, a list of messages, and the reply of OpenAI's chat or "
    "Responses API, of Anthropic, Bedrock Converse or LangChain"
)
"""The shapes that are one response without a selector."""

_LABELS_OF_A_REPLY = {"error", "role", "type", "object", "id", "model", "finish_reason", "stop_reason", "stopReason"}
"""Keys whose value is never a response, even where it is the only entry."""


class SelectorError(InvalidCaseError):
    """A selector that the user gave does not fit the value."""


def prompt_from(inputs: Any, selector: Selector | None = None) -> str | list[Message]:
    """The prompt in ``inputs``: a text, chat messages, or a dict with a single field that is either.

    Numbers, empty fields and request settings such as ``model`` or ``user_id`` in a dict are ignored.

    Args:
        inputs: The row's inputs.
        selector: Where the prompt is in them. None: as above.

    Raises:
        InvalidCaseError: there is no prompt, several fields could be it, or a message cannot be read.
    """
    value = _selected(inputs, selector, "inputs", "prompt")
    prompt = _prompt(value)
    if prompt is None:
        raise _unclear(
            value, "inputs", "prompt", "a text, chat messages, and a dict with a single field that is either"
        )
    return prompt


def response_from(
    outputs: Any, selector: Selector | None = None, *, prompt: str | list[Message] | None = None
) -> Response:
    """The response in ``outputs``: a text, or messages with tool calls and their results.

    Args:
        outputs: The row's outputs, in one of the shapes that `REPLIES` lists.
        selector: Where the response is in the outputs. None: they are the response.
        prompt: The row's prompt. Outputs that begin with its messages are the response from there on, and those of
            other lists from the assistant's first message on.

    Raises:
        InvalidCaseError: there is no response, a part of it cannot be read, or the shape is another one.
    """
    value = _selected(outputs, selector, "outputs", "response")
    response = _response(value, "response", prompt or ())
    if response is None:
        raise _unclear(value, "outputs", "response", REPLIES)
    return response


def candidates_from(outputs: Any, selector: Selector | None = None) -> dict[str, Response]:
    """Several responses in ``outputs`` by label.

    Args:
        outputs: A list of responses (labelled "0", "1", ...), a dict of them by label, or a chat completion with
            several choices. Each is in one of the shapes that `REPLIES` lists.
        selector: Where the candidates are in the outputs. None: the outputs are the candidates.

    Raises:
        InvalidCaseError: there are no candidates, or one of them is not a response.
    """
    value = _selected(outputs, selector, "outputs", "response")
    if isinstance(value, Mapping) and isinstance(value.get("choices"), list):
        value = [{"choices": [choice]} for choice in value["choices"]]
    elif isinstance(value, Mapping) and is_conversation(value):
        raise InvalidCaseError("With candidates=True, outputs must hold several responses, not one.", field="response")
    if not isinstance(value, Mapping | list) or not value:
        raise _unclear(value, "outputs", "response", "a list of responses, and a dict of responses by label")
    candidates = value.items() if isinstance(value, Mapping) else enumerate(value)
    found: dict[str, Response] = {}
    for label, candidate in candidates:
        response = _response(candidate, "response")
        if response is None:
            raise InvalidCaseError(
                f"The candidate {str(label)!r} in outputs is not a response; accepted are {REPLIES}.", field="response"
            )
        found[str(label)] = response
    return found


def reference_from(expectations: Any, key: str | None, *, required: bool = False) -> str | None:
    """The reference answer under a key of ``expectations``; None if there is none.

    Args:
        expectations: The row's expectations.
        key: The expectation's name. None: no reference.
        required: Whether expectations without this key are an error; a row without expectations is none.

    Raises:
        SelectorError: the key is required, and there are only others.
        InvalidCaseError: there is one, but it is not a text or a reply in a known shape.
    """
    if required and isinstance(expectations, Mapping) and expectations and key not in expectations:
        raise SelectorError(
            f"There is no {key!r} in expectations, which {_shape(expectations)}; correct reference=.",
            field="reference",
        )
    value = plain(expectations.get(key), "reference") if key is not None and isinstance(expectations, Mapping) else None
    if value is None:
        return None
    reference = _response(value, "reference")
    if reference is None:
        raise InvalidCaseError(
            f"The expectation {key!r}, which {_shape(value)}, is not a reference answer; accepted are {REPLIES}. Set "
            "reference= to the name of another expectation, or to None to judge without.",
            field="reference",
        )
    return response_text(reference)


def plain(value: Any, field: str = "row") -> Any:
    """SDK objects as JSON values, at any depth; what pandas puts for a missing value as None.

    Args:
        value: Any object.
        field: The part of the row, for error messages.

    Raises:
        InvalidCaseError: it cannot be written as JSON.
    """
    return to_json_value(value, Place(field), nan_is_none=True)


def _prompt(value: Any) -> str | list[Message] | None:
    if isinstance(value, str):
        return None if holds_bytes(value) else value
    if isinstance(value, Mapping) and "role" not in value:
        fields = [item for name, item in value.items() if not _is_ignored(name, item)]
        if len(fields) == 1:
            return _prompt(fields[0])
        return None if len(fields) > 1 or not is_conversation(value) else list(read_messages(value, where="prompt"))
    return list(read_messages(value, where="prompt")) if is_conversation(value) else None


def _is_ignored(name: Any, value: Any) -> bool:
    return name == "id" or is_setting(name, value) or isinstance(value, bool | int | float) or not value


def _response(value: Any, field: str, prompt: str | list[Message] | tuple[()] = ()) -> Response | None:
    """The response that a value is. None: it has another shape."""
    if isinstance(value, str):
        return None if holds_bytes(value) else value
    if isinstance(value, Mapping) and isinstance(value.get("choices"), list) and len(value["choices"]) != 1:
        return None
    if is_conversation(value):
        return read_reply(value, where=field, prompt=prompt)
    if isinstance(value, Mapping) and len(value) == 1:
        ((key, item),) = value.items()
        is_response = key not in _LABELS_OF_A_REPLY and (isinstance(item, str) or is_conversation(item))
        return _response(item, field, prompt) if is_response else None
    return None


def _selected(value: Any, selector: Selector | None, where: str, option: str) -> Any:
    """The part of a value that a selector names, as JSON values."""
    try:
        return plain(_select(value, selector, where, option), option)
    except SelectorError:
        raise
    except InvalidCaseError as error:
        raise InvalidCaseError(f"{error.message} Otherwise set {option}= to a function.", field=option) from error


def _select(value: Any, selector: Selector | None, where: str, option: str) -> Any:
    if selector is None:
        return value
    if callable(selector):
        try:
            return selector(value)
        except Exception as error:
            raise SelectorError(
                f"{option}= raised {type(error).__name__}: {error}, for {where}, which {_shape(value)}.", field=option
            ) from error
    if isinstance(value, Mapping) and selector in value:
        return value[selector]
    part = _level(value)
    if part is None:
        return None
    for step in selector.split("."):
        part = _level(part)
        try:
            part = part[int(step)] if isinstance(part, list) else part[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise SelectorError(
                f"There is no {selector!r} in {where}, which {_shape(value)}; correct {option}=.", field=option
            ) from None
    return part


def _level(value: Any) -> Any:
    """A mapping or list as it is, since other parts of it may be anything, and other objects as JSON values."""
    return value if isinstance(value, Mapping | list) else plain(value)


def _unclear(value: Any, where: str, option: str, accepted: str) -> InvalidCaseError:
    if value is None:
        return InvalidCaseError(f"There is no {option}: {where} is empty.", field=option)
    several = " (candidates=True judges several responses)" if option == "response" else ""
    texts = [key for key, item in value.items() if isinstance(item, str)] if isinstance(value, Mapping) else []
    example = f", as in {option}={json.dumps(texts[0])}," if texts else ","
    return InvalidCaseError(
        f"It is not clear what the {option} is: {where} {_shape(value)}. Accepted are {accepted}. Otherwise set "
        f"{option}= to a key{example} a dotted path or a function{several}; {option}=json.dumps judges all of it as "
        "JSON text.",
        field=option,
    )


def _shape(value: Any) -> str:
    if isinstance(value, str) and holds_bytes(value):
        return "is bytes"
    if isinstance(value, Mapping):
        return f"has the keys {', '.join(map(repr, value)) or '(none)'}"
    return f"is of type {type(value).__name__}"
