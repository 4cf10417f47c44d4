"""Where a value is within what is read, and the mapping that must be read completely."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewardanything_core.errors import InvalidCaseError

IGNORED = frozenset(
    "id object type index created created_at model model_id model_name provider usage usage_metadata metrics metadata "
    "response_metadata logprobs status finish_reason stop_reason stop_sequence stopReason stop_details "
    "system_fingerprint service_tier cache_control ResponseMetadata provider_specific_fields extras caller "
    "created_by phase container diagnostics meta _meta".split()
)
"""Keys of messages, blocks and replies that describe how they were made, and are not part of what was said or done."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the value that is read, for error messages."""

    field: str
    """What is read: ``prompt``, ``response``."""

    path: str = ""
    """The way to the place, such as ``message 3, content part 1``. Empty: the whole value."""

    def inside(self, part: str) -> Place:
        """The place of a part."""
        return Place(self.field, f"{self.path}, {part}" if self.path else part)

    def error(self, problem: str) -> InvalidCaseError:
        """The error for what is wrong at this place.

        Args:
            problem: The rest of a sentence that begins with the place: ``has no 'role'``.
        """
        return InvalidCaseError(f"The {self.field} cannot be read: {self.path or 'it'} {problem}.", field=self.field)


class Fields:
    """A mapping whose keys are taken one by one. What is left at the end is an error, so that nothing is dropped.

    Args:
        mapping: JSON values by key.
        place: Where the mapping is.

    Raises:
        InvalidCaseError: it is not a mapping.
    """

    def __init__(self, mapping: Any, place: Place) -> None:
        if not isinstance(mapping, Mapping):
            raise place.error(f"is {shown(mapping)}, not a mapping")
        self._rest = dict(mapping)
        self.place = place

    def __contains__(self, name: str) -> bool:
        return name in self._rest

    def take(self, *names: str) -> Any:
        """The value of the first of several keys that is not None; the others are taken too if they say the same."""
        found = None
        for name in names:
            value = self._rest.get(name)
            if found is None:
                found = self._rest.pop(name, None)
            elif is_empty(value) or value == found:
                self._rest.pop(name, None)
        return found

    def text(self, *names: str) -> str | None:
        """`take`, where only a string is right."""
        value = self.take(*names)
        if value is None or type(value) is str:
            return value
        raise self.place.error(f"has {names[0]!r} of type {type(value).__name__}, not text")

    def items(self, *names: str) -> list[Any]:
        """`take`, where only a list is right; an empty one if there is none."""
        value = self.take(*names)
        if value is None or isinstance(value, list):
            return value or []
        raise self.place.error(f"has {names[0]!r} of type {type(value).__name__}, not a list")

    def rest(self, *without: str) -> dict[str, Any]:
        """All that was not taken so far, which counts as taken.

        Args:
            *without: Keys to leave out.
        """
        rest = {name: value for name, value in self._rest.items() if name not in without and value is not None}
        self._rest = {}
        return rest

    def close(self, *ignored: str) -> None:
        """Check that nothing is left but empty values and what `IGNORED` lists.

        Args:
            *ignored: More keys that may be ignored.
        """
        for name, value in self._rest.items():
            if not is_empty(value) and name not in IGNORED and name not in ignored and not name.startswith("__"):
                raise self.place.error(
                    f"has {name!r}, which the judge would not see; put it into the text or remove it"
                )


def is_empty(value: object) -> bool:
    """Whether ignoring a value loses nothing: None, or an empty string, list or mapping."""
    return value is None or (isinstance(value, str | list | Mapping) and len(value) == 0)


def shown(value: object) -> str:
    """A value in an error message: its beginning and its type."""
    text = repr(value) if isinstance(value, str | int | float | bool | None) else ""
    return f"{text:.60} of type {type(value).__name__}" if text else f"of type {type(value).__name__}"
