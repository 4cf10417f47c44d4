"""Objects of other packages as JSON values, and texts of JSON as the values that they spell."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from rewardanything_core.conversations.place import Place, shown

MAX_DEPTH = 100
"""How deeply values may be nested. Deeper ones are refused, since JSON writers and readers recurse."""

MAX_VALUES = 1_000_000
"""How many values a conversation may have, counting each element of each list and mapping."""

_WRITTEN_AS_TEXT = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID, pathlib.PurePath)

_MISSING = ("NAType", "NaTType")
"""The types of pandas' missing values; the latter is a date too."""


class Base64(str):
    """The base64 form of what was given as bytes."""

    __slots__ = ()


def to_json_value(value: Any, place: Place, *, nan_is_none: bool = False) -> Any:
    """A value as dicts with string keys, lists, strings, numbers, booleans and None, at any depth.

    Models of pydantic, dataclasses, enumerations, NumPy's arrays and mappings of any class are converted by what they
    hold. Bytes become `Base64`, and NaN and infinities their names, since JSON has neither.

    Args:
        value: Any object.
        place: Where it is.
        nan_is_none: Whether NaN is None, as in the cells of tables.

    Raises:
        InvalidCaseError: it contains itself, is nested more than `MAX_DEPTH` levels deep, has more than `MAX_VALUES`
            values or a string that UTF-8 cannot encode, or has an object of an unknown type.
    """
    return _Converter(place, None if nan_is_none else "NaN").convert(value)


def parsed(text: str) -> Any:
    """The JSON value that a text spells, or the text itself if it is not JSON or if parsing would lose something.

    A repeated key and a number that floats cannot represent are losses.

    Args:
        text: Any text.
    """
    try:
        value = json.loads(text, object_pairs_hook=unique_keys, parse_float=_finite, parse_constant=_refuse)
        _check_depth(value)
    except (ValueError, RecursionError):
        return text
    return value


def is_missing(value: object) -> bool:
    """Whether a value is None, or what data frames have in its place: NaN, and pandas' NA and NaT.

    Args:
        value: Any object.
    """
    return value is None or type(value).__name__ in _MISSING or (isinstance(value, float) and math.isnan(value))


def holds_bytes(value: Any) -> bool:
    """Whether a JSON value was made of bytes, or has some in it, which nobody can judge as text.

    Args:
        value: A value that `to_json_value` returned.
    """
    if isinstance(value, dict | list):
        return any(map(holds_bytes, value.values() if isinstance(value, dict) else value))
    return isinstance(value, Base64)


def written(value: Any) -> str:
    """A JSON value as text on one line; a string as it is."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class _Converter:
    def __init__(self, place: Place, nan: str | None) -> None:
        self.place = place
        self.nan = nan
        self.keys: list[str] = []
        self.open: set[int] = set()
        self.count = 0

    def convert(self, value: Any) -> Any:
        if value is None or value is True or value is False:
            return value
        kind = type(value)
        if kind is str:
            return value if value.isascii() else self._encodable(value)
        if kind is int:
            return value if value.bit_length() < 10_000 else self._refuse("has an integer of thousands of digits")
        if kind is float:
            return value if math.isfinite(value) else {"inf": "Infinity", "-inf": "-Infinity"}.get(str(value), self.nan)
        if isinstance(value, list | tuple) and not hasattr(value, "_asdict"):
            return self._nested(value, lambda: [self._part(index, item) for index, item in enumerate(value)])
        if isinstance(value, Mapping):
            return self._nested(value, lambda: self._mapping(value))
        return self._object(value)

    def _object(self, value: Any) -> Any:
        if type(value).__name__ in _MISSING:
            return None
        if isinstance(value, enum.Enum):
            return self.convert(value.value)
        for base in (str, int, float):  # their subclasses, such as NumPy's
            if isinstance(value, base):
                return self.convert(base.__str__(value) if base is str else base(value))
        if isinstance(value, bytes | bytearray):
            return Base64(base64.b64encode(value).decode())
        if isinstance(value, _WRITTEN_AS_TEXT):
            return self.convert(str(value))
        if isinstance(value, set | frozenset):
            return self.convert(sorted(value, key=str))
        return self._nested(value, lambda: self.convert(self._content(value)))

    def _content(self, value: Any) -> Any:
        """What an object holds."""
        if isinstance(value, type):
            return self._refuse(f"is the class {value.__name__}")
        try:
            if isinstance(names := getattr(type(value), "model_fields", None), Mapping):
                fields = {name: getattr(value, name, None) for name in names}
                given = getattr(value, "model_fields_set", names)
                fields = {name: item for name, item in fields.items() if item is not None or name in given}
                return {**fields, **(getattr(value, "model_extra", None) or {})}
            for method in ("model_dump", "to_dict", "_asdict", "tolist"):
                if callable(convert := getattr(value, method, None)):
                    return convert()
            if callable(spell := getattr(value, "to_json", None)):  # OpenTelemetry's spans
                return json.loads(spell())
            if dataclasses.is_dataclass(value):
                return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            if callable(getattr(value, "items", None)) and callable(getattr(value, "keys", None)):
                return dict(value.items())
        except Exception as error:  # noqa: BLE001 - a stranger's code
            return self._refuse(f"is a {type(value).__name__} that raised {type(error).__name__}: {error}")
        return self._refuse(f"is {shown(value)}, which is not a message or a part of one")

    def _mapping(self, value: Mapping[Any, Any]) -> dict[str, Any]:
        converted: dict[str, Any] = {}
        for key, item in value.items():
            name = key if type(key) is str else str(key)
            if name in converted:
                return self._refuse(f"has the key {name!r} twice")  # type: ignore[no-any-return]
            converted[self._encodable(name)] = self._part(name, item)
        return converted

    def _nested(self, value: Any, convert: Callable[[], Any]) -> Any:
        if id(value) in self.open:
            return self._refuse("contains itself")
        if len(self.open) >= MAX_DEPTH:
            return self._refuse(f"is nested more than {MAX_DEPTH} levels deep")
        self.open.add(id(value))
        try:
            return convert()
        finally:
            self.open.remove(id(value))

    def _part(self, key: object, item: Any) -> Any:
        self.count += 1
        if self.count > MAX_VALUES:
            return self._refuse(f"is part of a structure of more than {MAX_VALUES:,} values")
        self.keys.append(key if isinstance(key, str) else str(key))
        converted = self.convert(item)
        self.keys.pop()
        return converted

    def _encodable(self, text: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            self._refuse(f"has a character that UTF-8 cannot encode, {text[error.start]!r}")
        return text

    def _refuse(self, problem: str) -> Any:
        place = self.place.inside(f"{'.'.join(self.keys[:8]):.200}") if self.keys else self.place
        raise place.error(problem)


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The ``object_pairs_hook`` with which `json` refuses a repeated key, of which it would keep the last value.

    Args:
        pairs: The keys and values of an object.

    Raises:
        ValueError: a key is repeated.
    """
    found = dict(pairs)
    return found if len(found) == len(pairs) else _refuse("a repeated key")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse(text)


def _refuse(text: str) -> Any:
    raise ValueError(text)


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level := [
        item
        for part in level
        if isinstance(part, dict | list)
        for item in (part.values() if isinstance(part, dict) else part)
    ]:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError("nested too deeply")
