"""From DSPy's examples and predictions to the texts of a case."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import inspect
import json
import pathlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import dspy
import pydantic

from rewardanything_core import ConfigError, InvalidCaseError, JudgeUnavailableError
from rewardanything_core.conversations import Response, read_reply
from rewardanything_core.conversations import dspy as histories
from rewardanything_core.conversations.json_values import is_missing, to_json_value
from rewardanything_core.conversations.place import Place

T = TypeVar("T")

Selector = str | Callable[..., Any] | None
"""A field's name, a function of the example or prediction, or None for the default field."""

_SHOWN_AS_TEXT = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID, pathlib.PurePath)


class TextField:
    """Reads one text of a case from examples or predictions.

    What cannot be read is either a single bad row or a mistake in the set-up, such as a misspelt name. It counts as a
    mistake as long as no row could be read, since DSPy would otherwise score every row 0.0.

    Args:
        argument: The argument of the metric that selects the field: ``prompt``, ``response`` or ``reference``.
        select: The field's name or a function. None: the default field.
    """

    def __init__(self, argument: str, select: Selector) -> None:
        self.argument = argument
        self.select = select
        self._takes_trace = callable(select) and _has_parameter(select, "program_trace")
        self._was_read = False

    def read(self, record: Any) -> str:
        """The text of an example or prediction.

        Raises:
            InvalidCaseError: this row has no such text; other rows had one, or this one is None.
            JudgeUnavailableError: no row so far could be read this way, so the set-up is wrong.
        """
        return self._read(record, as_text)

    def read_response(self, record: Any, program_trace: Any = None) -> Response:
        """What is judged of a prediction: a text, or the turns of a trajectory or history.

        Args:
            record: The prediction.
            program_trace: The calls of the program's predictors. None: DSPy recorded none.

        Raises:
            InvalidCaseError: as for `read`; or a step of a trajectory cannot be read.
            JudgeUnavailableError: as for `read`.
        """
        return self._read(record, as_response, program_trace)

    def _read(self, record: Any, convert: Callable[[Any], T], program_trace: Any = None) -> T:
        try:
            value, where = self._value(record, program_trace)
            is_nan_answer = isinstance(value, float) and self.argument == "response"
            converted = None if is_missing(value) and not is_nan_answer else convert(value)
        except InvalidCaseError:
            raise
        except ConfigError as error:
            if self._was_read:
                raise InvalidCaseError(error.message, field=self.argument) from error
            raise JudgeUnavailableError(f"{error} Nothing was scored.") from error
        self._was_read = True
        if converted is None:
            raise InvalidCaseError(f"{where} is {value}.", field=self.argument)
        return converted

    def _value(self, record: Any, program_trace: Any) -> tuple[Any, str]:
        """The value and where it was found. Raises ConfigError if the selector does not fit the record."""
        if self.argument == "response":
            if record is None or (isinstance(record, dspy.Prediction) and not len(record)):
                raise InvalidCaseError("There is no prediction to judge: the program failed.", field="response")
            if isinstance(record, str):
                return record, "The prediction"
        if callable(self.select):
            try:
                options = {"program_trace": program_trace} if self._takes_trace else {}
                return self.select(record, **options), f"What the function {self.argument}= returned"
            except Exception as error:
                raise ConfigError(f"The function {self.argument}= raised {type(error).__name__}: {error}.") from error
        what = "prediction" if self.argument == "response" else "example"
        if self.select is None:
            return default_response(record) if self.argument == "response" else default_prompt(record)
        if self.argument == "response" and self.select in ("trajectory", "history") and _has_turns(record):
            return record, "The prediction"  # what the program answered is the last turn
        try:
            return record[self.select], f"The {what}'s field {self.select!r}"
        except (KeyError, AttributeError, TypeError, IndexError) as error:
            raise ConfigError(
                f"The {what} has no field {self.select!r} for {self.argument}=; it has {_names(record)}."
            ) from error


def _has_parameter(function: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # some built-in functions have no signature
        return False


def default_prompt(example: Any) -> tuple[Any, str]:
    """The example's input field, or several as ``name: value`` lines; and where that was found.

    Args:
        example: An example, or a module's arguments as a mapping.

    Raises:
        ConfigError: there are no input fields, or one is not text.
    """
    try:
        inputs = dict(example if isinstance(example, Mapping) else example.inputs().items())
    except ValueError:  # DSPy's, if with_inputs was never called
        inputs = {}
    if not inputs:
        raise ConfigError("The example has no input fields; mark them with .with_inputs(...), or set prompt=.")
    if len(inputs) == 1:
        ((name, value),) = inputs.items()
        return value, f"The example's input {name!r}"
    try:
        return "\n".join(f"{name}: {as_text(value)}" for name, value in inputs.items()), "The example"
    except ConfigError as error:
        raise ConfigError(f"{error.message} Choose one of the inputs with prompt=: {', '.join(inputs)}.") from error


def default_response(prediction: Any) -> tuple[Any, str]:
    """The prediction's only output field, ``reasoning`` excluded; and where that was found.

    Raises:
        ConfigError: there are several output fields, or the prediction has no fields.
    """
    if not hasattr(prediction, "keys"):
        raise ConfigError(
            f"The program returned a {type(prediction).__name__}, not a prediction; set response= to a function of it."
        )
    names = list(prediction.keys())
    outputs = names if len(names) == 1 else [name for name in names if name != "reasoning"]
    if len(outputs) != 1:
        example = (outputs or ["answer"])[-1]
        raise ConfigError(
            f"The prediction has the fields {_names(prediction)}; set which one to judge, such as response={example!r}."
        )
    return prediction[outputs[0]], f"The prediction's field {outputs[0]!r}"


def as_response(value: Any) -> Response:
    """What is judged of a value: the turns of a trajectory or history, and `as_text` of everything else.

    Raises:
        InvalidCaseError: a turn cannot be read.
        ConfigError: the value is or has something that is not text, such as an image.
    """
    return read_reply(value, where="response") if _has_turns(value) else as_text(value)


def as_text(value: Any) -> str:
    """A field's value as the judge sees it: a string unchanged, a structure as JSON.

    Raises:
        ConfigError: the value is or has something that is not text, such as an image.
    """
    try:
        plain = _plain(value)
    except RecursionError as error:  # a list that contains itself
        raise _not_text(value) from error
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _has_turns(value: Any) -> bool:
    """Whether a value is a trajectory of ReAct, a history, or a prediction that has one of them."""
    if not isinstance(value, Mapping | dspy.History | dspy.Example):
        return False
    try:
        return histories.recognises(to_json_value(value, Place("response")))
    except InvalidCaseError:
        return False


def _plain(value: Any) -> Any:
    """The value as plain JSON. Raises ConfigError if that would lose something."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if value is None or isinstance(value, str | int | float):
        return value
    if is_missing(value):
        return None
    if isinstance(value, dspy.Type) and (formatted := _formatted(value)) is not None:
        return formatted
    if isinstance(value, pydantic.BaseModel):
        for name in type(value).model_fields:
            _plain(getattr(value, name))  # raises for an image within the model
        try:
            return value.model_dump(mode="json")
        except ValueError as error:
            raise _not_text(value) from error
    if isinstance(value, Mapping | dspy.Example):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return [_plain(item) for item in sorted(value, key=str)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, _SHOWN_AS_TEXT):
        return str(value)
    if hasattr(value, "tolist"):  # arrays and numbers of NumPy
        return _plain(value.tolist())
    raise _not_text(value)


def _formatted(value: dspy.Type) -> Any:
    """What DSPy shows a model for a value of its types. None: the type does not define that."""
    try:
        content = value.format()
    except NotImplementedError:
        return None
    if isinstance(content, list):
        texts = [part["text"] for part in content if part.get("type") == "text" and isinstance(part.get("text"), str)]
        if not texts or len(texts) < len(content):
            raise _not_text(value)
        return "\n".join(texts)
    return _plain(content)


def _key(key: Any) -> Any:
    return key if key is None or isinstance(key, str | int | float) else str(key)


def _not_text(value: Any) -> ConfigError:
    return ConfigError(
        f"A judge reads text, and a field has a value of type {type(value).__name__}. "
        "Select a field with text, or give a function that returns the text."
    )


def _names(record: Any) -> str:
    names = ", ".join(map(str, record.keys())) if hasattr(record, "keys") else f"none, being a {type(record).__name__}"
    return names or "none"
