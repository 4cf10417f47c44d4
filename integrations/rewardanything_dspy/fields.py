"""From DSPy's examples and predictions to the texts of a case."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from rewardanything_core import InvalidCaseError

Selector = str | Callable[[Any], Any] | None
"""A field's name, a function of the example or prediction, or None for the obvious field."""


def prompt_of(example: Any, select: Selector) -> str:
    """The text of what was asked: by default the input fields, one as it is and several as ``name: value`` lines.

    Raises:
        InvalidCaseError: the example has no such field or no inputs.
    """
    if select is not None:
        return _selected(example, select, "prompt", "example")
    inputs = dict(example) if isinstance(example, Mapping) else dict(example.inputs().items())
    if not inputs:
        raise InvalidCaseError(
            "The example has no input fields; mark them with .with_inputs(...), or say prompt=.", field="prompt"
        )
    if len(inputs) == 1:
        return as_text(*inputs.values())
    return "\n".join(f"{name}: {as_text(value)}" for name, value in inputs.items())


def response_of(prediction: Any, select: Selector) -> str:
    """The text to be judged: by default the only output field, ``reasoning`` left aside.

    Raises:
        InvalidCaseError: there is no such field, there are several to choose from, or its value is None.
    """
    if prediction is None:
        raise InvalidCaseError("There is no prediction to judge: the program failed.", field="response")
    if isinstance(prediction, str):
        return prediction
    if select is not None:
        return _selected(prediction, select, "response", "prediction")
    names = list(prediction.keys())
    outputs = names if len(names) == 1 else [name for name in names if name != "reasoning"]
    if len(outputs) != 1:
        raise InvalidCaseError(
            f"The prediction has the fields {', '.join(names) or '(none)'}; say which one to judge, "
            f"such as response={(outputs or ['answer'])[0]!r}.",
            field="response",
        )
    return _selected(prediction, outputs[0], "response", "prediction")


def reference_of(example: Any, select: Selector) -> str | None:
    """The text of a good answer; None if none was asked for."""
    return None if select is None else _selected(example, select, "reference", "example")


def as_text(value: Any) -> str:
    """A field's value as the judge reads it: strings as they are, structures as JSON."""
    if isinstance(value, str):
        return value
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    return json.dumps(value, ensure_ascii=False, default=str)


def _selected(record: Any, select: str | Callable[[Any], Any], argument: str, what: str) -> str:
    if callable(select):
        value = select(record)
    else:
        try:
            value = record[select]
        except (KeyError, AttributeError) as error:
            raise InvalidCaseError(
                f"The {what} has no field {select!r}; it has {', '.join(record.keys())}.", field=argument
            ) from error
    if value is None:
        raise InvalidCaseError(f"The {what}'s {argument} ({select!r}) is None.", field=argument)
    return as_text(value)
