"""From MLflow's inputs, outputs and expectations to a case's prompt, responses and reference."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from rewardanything_core import InvalidCaseError, Message
from rewardanything_mlflow.messages import NotTextError, is_chat, message_text, reply_text, role_of

Selector = str | Callable[[Any], Any]
"""A key, a dotted path (``choices.0.message.content``), or a function of the value."""

REPLIES = (
    "a text, a dict with a single entry, a chat message, a list of messages, and the reply of OpenAI's chat or "
    "Responses API, of Anthropic or of Bedrock Converse"
)
"""The shapes that are one response without a selector."""

_REQUEST_SETTINGS = {
    "model", "user", "stream", "tools", "tool_choice", "response_format", "temperature", "max_tokens", "stop",
    "metadata", "custom_inputs", "id", "user_id", "session_id", "thread_id", "conversation_id",
}  # fmt: skip
"""Fields of inputs that identify or configure a request. They are not part of the prompt."""

_LABELS_OF_A_REPLY = {"role", "type", "object", "id", "model", "finish_reason", "stop_reason", "stopReason"}
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
        InvalidCaseError: there is no prompt, or several fields could be it.
    """
    value = plain(_select(inputs, selector, "inputs", "prompt"))
    try:
        prompt = _prompt(value)
    except NotTextError as error:
        raise InvalidCaseError(f"The prompt in inputs cannot be judged: {error}.", field="prompt") from None
    if prompt is None:
        raise _unclear(
            value, "inputs", "prompt", "a text, chat messages, and a dict with a single field that is either"
        )
    return prompt


def response_from(outputs: Any, selector: Selector | None = None) -> str:
    """The response in ``outputs``, in full.

    Args:
        outputs: The row's outputs, in one of the shapes that `REPLIES` lists.
        selector: Where the response is in them. None: they are the response.

    Raises:
        InvalidCaseError: there is no response, it cannot be judged as text, or the shape is another one.
    """
    value = plain(_select(outputs, selector, "outputs", "response"))
    text = _response(value)
    if text is None:
        raise _unclear(value, "outputs", "response", REPLIES)
    return text


def candidates_from(outputs: Any, selector: Selector | None = None) -> dict[str, str]:
    """Several responses in ``outputs`` by label.

    Args:
        outputs: A list of responses (labelled "0", "1", ...), a dict of them by label, or a chat completion with
            several choices. Each is in one of the shapes that `REPLIES` lists.
        selector: Where the candidates are in the outputs. None: the outputs are the candidates.

    Raises:
        InvalidCaseError: there are no candidates, or one of them is not a response.
    """
    value = plain(_select(outputs, selector, "outputs", "response"))
    if isinstance(value, Mapping) and isinstance(value.get("choices"), list):
        value = [{"choices": [choice]} for choice in value["choices"]]
    elif isinstance(value, Mapping) and _is_one_reply(value):
        raise InvalidCaseError("With candidates=True, outputs must hold several responses, not one.", field="response")
    if not isinstance(value, Mapping | list) or not value:
        raise _unclear(value, "outputs", "response", "a list of responses, and a dict of responses by label")
    candidates = value.items() if isinstance(value, Mapping) else enumerate(value)
    texts = {str(label): _response(candidate) for label, candidate in candidates}
    for label, text in texts.items():
        if text is None:
            raise InvalidCaseError(
                f"The candidate {label!r} in outputs is not a response; accepted are {REPLIES}.", field="response"
            )
    return {label: text for label, text in texts.items() if text is not None}


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
    value = plain(expectations.get(key)) if key is not None and isinstance(expectations, Mapping) else None
    if value is None:
        return None
    text = _response(value, where=f"the expectation {key!r}")
    if text is None:
        raise InvalidCaseError(
            f"The expectation {key!r}, which {_shape(value)}, is not a reference answer; accepted are {REPLIES}. Set "
            "reference= to the name of another expectation, or to None to judge without.",
            field="reference",
        )
    return text


def plain(value: Any) -> Any:
    """SDK objects as plain JSON types, at any depth; what pandas puts for a missing value as None."""
    if (isinstance(value, float) and value != value) or type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if callable(getattr(value, "model_dump", None)) and not isinstance(value, type):
        return plain(value.model_dump())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    return plain(value.tolist()) if callable(getattr(value, "tolist", None)) else value  # NumPy


def _prompt(value: Any) -> str | list[Message] | None:
    if isinstance(value, str):
        return value
    if is_chat(value):
        return [{"role": str(role_of(turn)), "content": message_text(turn, separator="\n")} for turn in value]
    if role_of(value) is not None:
        return _prompt([value])
    if not isinstance(value, Mapping):
        return None
    fields = [item for name, item in value.items() if not _is_setting(name, item)]
    return _prompt(fields[0]) if len(fields) == 1 else None


def _is_setting(name: Any, value: Any) -> bool:
    if name == "context" and isinstance(value, Mapping):  # of MLflow's agent requests
        return set(value) <= _REQUEST_SETTINGS
    return name in _REQUEST_SETTINGS or isinstance(value, bool | int | float) or not value


def _response(value: Any, *, where: str = "outputs") -> str | None:
    try:
        return _response_or_none(value)
    except NotTextError as error:
        field = "response" if where == "outputs" else "reference"
        raise InvalidCaseError(
            f"The response in {where} cannot be judged: {error}. Only text and tool calls can be.", field=field
        ) from None


def _is_one_reply(value: Mapping[str, Any]) -> bool:
    try:
        return reply_text(value) is not None
    except NotTextError:
        return True


def _response_or_none(value: Any) -> str | None:
    if (text := reply_text(value)) is not None:
        return text
    if isinstance(value, Mapping) and len(value) == 1:
        ((key, item),) = value.items()
        return None if key in _LABELS_OF_A_REPLY else _response_or_none(item)
    return None


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
    part = plain(value)
    if part is None:
        return None
    if isinstance(part, Mapping) and selector in part:
        return part[selector]
    for step in selector.split("."):
        try:
            part = part[int(step)] if isinstance(part, list) else part[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise SelectorError(
                f"There is no {selector!r} in {where}, which {_shape(value)}; correct {option}=.", field=option
            ) from None
    return part


def _unclear(value: Any, where: str, option: str, accepted: str) -> InvalidCaseError:
    if value is None:
        return InvalidCaseError(f"There is no {option}: {where} is empty.", field=option)
    several = " (candidates=True judges several responses)" if option == "response" else ""
    texts = [key for key, item in value.items() if isinstance(item, str)] if isinstance(value, Mapping) else []
    example = f", as in {option}={json.dumps(texts[0])}," if texts else ""
    return InvalidCaseError(
        f"It is not clear what the {option} is: {where} {_shape(value)}. Accepted are {accepted}. Otherwise set "
        f"{option}= to a key{example} a dotted path or a function{several}; {option}=json.dumps judges all of it as "
        "JSON text.",
        field=option,
    )


def _shape(value: Any) -> str:
    value = plain(value)
    if isinstance(value, Mapping):
        return f"has the keys {', '.join(map(repr, value)) or '(none)'}"
    return f"is of type {type(value).__name__}"
