"""Frozen option classes: built from keyword arguments with a clear error, and readable as settings."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from rewardanything_core.errors import ConfigError

T = TypeVar("T")


def construct(cls: type[T], options: Mapping[str, Any], *, owner: str) -> T:
    """An instance of a dataclass from keyword options.

    Args:
        cls: A dataclass with keyword-only fields.
        options: Field name -> value; fields that are missing take their defaults.
        owner: The function or class that takes these options, as in ``from_endpoint``; it begins the error message.

    Raises:
        ConfigError: an option is not a field of ``cls``; the message suggests the closest field and lists all.
    """
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    for name in options:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            suggestion = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"{owner} has no option {name!r}.{suggestion} Options: {', '.join(sorted(names))}.")
    return cls(**options)


def setting_types(cls: type) -> dict[str, type]:
    """Field name -> the plain type (``str``, ``int``, ``float``, ``bool``, ``list`` or ``dict``) of its setting.

    ``X | None`` counts as ``X``, a `Literal` as the type of its values; of several types the first that a settings file
    can hold counts.
    """
    hints = typing.get_type_hints(cls)
    found = {field.name: _plain(hints[field.name]) for field in dataclasses.fields(cls)}
    return {name: kind for name, kind in found.items() if kind is not None}


def _plain(hint: Any) -> type | None:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return next((kind for part in typing.get_args(hint) if (kind := _plain(part)) is not None), None)
    if origin is typing.Literal:
        return type(typing.get_args(hint)[0])
    if origin in (list, tuple):
        return list
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping):
        return dict
    return hint if hint in (str, int, float, bool, list, dict) else None
