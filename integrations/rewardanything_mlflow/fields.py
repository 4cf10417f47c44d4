"""What MLflow calls inputs, outputs and expectations, as a prompt, responses and a reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rewardanything_core import InvalidCaseError, Message

Selector = str | Callable[[Any], Any]
"""A key, a dotted path (``choices.0.message.content``), or a function of the value."""

RESPONSE_KEYS = ("response", "answer", "output", "content", "text", "completion", "generated_text", "result")
"""Keys that say that a dict describes one response, and is not several by label."""


def prompt_from(inputs: Any, selector: Selector | None = None) -> str | list[Message]:
    """The prompt in ``inputs``: a text, chat messages, a dict with ``messages``, or a dict with a single text.

    Raises:
        InvalidCaseError: there is none, or several texts to choose from.
    """
    value = _plain(_select(inputs, selector, "inputs", "prompt"))
    if isinstance(value, str):
        return value
    if _is_chat(value):
        return list(value)
    if isinstance(value, Mapping):
        if _is_chat(value.get("messages")):
            return list(value["messages"])
        found = [item for item in map(_plain, value.values()) if isinstance(item, str) or _is_chat(item)]
        if len(found) == 1:
            return prompt_from(found[0])
    raise _unclear(value, "inputs", "prompt")


def responses_from(outputs: Any, selector: Selector | None = None) -> str | dict[str, str]:
    """The response in ``outputs``, or several by label.

    One response is a text, a dict with a single text, a chat completion, or the last assistant turn of messages.
    Several are a list of those (labelled "0", "1", ...), a dict of those by label, or a completion with ``n > 1``.

    Raises:
        InvalidCaseError: there is none, or it is not clear which.
    """
    value = _plain(_select(outputs, selector, "outputs", "response"))
    if (text := _text(value)) is not None:
        return text
    if isinstance(value, Mapping):
        candidates = dict(enumerate(value["choices"])) if "choices" in value else dict(value)
    elif isinstance(value, list | tuple) and not _is_chat(value):
        candidates = dict(enumerate(value))
    else:
        candidates = {}
    texts = {str(label): _text(_plain(item)) for label, item in candidates.items()}
    if texts and None not in texts.values():
        return {label: text for label, text in texts.items() if text is not None}
    raise _unclear(value, "outputs", "response")


def reference_from(expectations: Any, key: str | None) -> str | None:
    """The expected response, where there is one and it is a text."""
    if key is None or not isinstance(expectations, Mapping):
        return None
    return _text(_plain(expectations.get(key)))


def _text(value: Any) -> str | None:
    """The text of one response; None if the value is not one."""
    if isinstance(value, str):
        return value
    if _is_chat(value):
        replies = [_content(turn["content"]) for turn in value if turn["role"] == "assistant"]
        return replies[-1] if replies else None
    if not isinstance(value, Mapping):
        return None
    choices = value.get("choices")
    if isinstance(choices, Sequence) and not isinstance(choices, str):
        return _text(_plain(choices[0])) if len(choices) == 1 else None
    if isinstance(value.get("message"), Mapping):  # a choice of a chat completion
        return _content(value["message"].get("content"))
    if _is_chat(value.get("messages")):
        return _text(value["messages"])
    texts = [item for item in map(_content, value.values()) if item is not None]
    if len(value) == 1 or len(texts) == 1:
        return texts[0] if texts else None
    named = [key for key in RESPONSE_KEYS if key in value]
    return _content(value[named[0]]) if len(named) == 1 or "role" in value else None


def _content(content: Any) -> str | None:
    """A message's content: a text, or parts that are all texts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, Mapping) for part in content):
        return None
    texts = [part["text"] for part in content if isinstance(part.get("text"), str)]
    return "\n".join(texts) if texts and len(texts) == len(content) else None


def _is_chat(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(isinstance(turn, Mapping) and {"role", "content"} <= set(turn) for turn in value)
    )


def _plain(value: Any) -> Any:
    """The object of an SDK as the dict it stands for, and what pandas puts for nothing as None."""
    if isinstance(value, float) and value != value:
        return None
    return value.model_dump() if callable(getattr(value, "model_dump", None)) else value


def _select(value: Any, selector: Selector | None, where: str, option: str) -> Any:
    if selector is None:
        return value
    if callable(selector):
        return selector(value)
    found = _plain(value)
    if isinstance(found, Mapping) and selector in found:
        return found[selector]
    for step in selector.split("."):
        try:
            found = _plain(found)
            found = found[int(step)] if isinstance(found, list | tuple) else found[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise InvalidCaseError(
                f"There is no {selector!r} in {where}, which {_shape(value)}.", field=option
            ) from None
    return found


def _unclear(value: Any, where: str, option: str) -> InvalidCaseError:
    if value is None:
        return InvalidCaseError(f"There is no {option}: {where} is empty.", field=option)
    return InvalidCaseError(
        f"It is not clear what the {option} is: {where} {_shape(value)}. Say which with {option}=, a key, a dotted "
        "path or a function.",
        field=option,
    )


def _shape(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"has the keys {', '.join(map(repr, value)) or '(none)'}"
    return f"is of type {type(value).__name__}"
