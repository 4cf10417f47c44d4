"""Texts that requests and the store can hold."""

from __future__ import annotations

from pathlib import Path

from rewardanything_core.errors import InvalidCaseError


def check_text(value: object, *, field: str, what: str, case_id: str | None = None) -> str:
    """Return ``value`` if it is a string that UTF-8 can encode, as requests and the store require.

    Args:
        value: The value to check.
        field: The field of `Case` that it belongs to.
        what: Describes the value at the beginning of the error message.
        case_id: The case's own id. None: it has none.

    Raises:
        InvalidCaseError: the value is not such a string.
    """
    if not isinstance(value, str):
        raise InvalidCaseError(f"{what} must be a string, not {type(value).__name__}.", field=field, case_id=case_id)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidCaseError(
            f"{what} contains a lone surrogate ({value[error.start]!a}) at character {error.start}, which UTF-8 cannot "
            "encode.",
            field=field,
            case_id=case_id,
        ) from error
    return value


def printable(path: str | Path) -> str:
    """A path as text that UTF-8 can encode; file names need not be valid UTF-8."""
    return str(path).encode("utf-8", "backslashreplace").decode("utf-8")
