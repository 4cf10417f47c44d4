"""What a reader of a family of formats is."""

from __future__ import annotations

from typing import Any, Protocol

from rewardanything_core.conversations.place import Place
from rewardanything_core.conversations.turns import Turns


class ReadValue(Protocol):
    """Reads a value with whichever reader recognises it."""

    def __call__(self, value: Any, turns: Turns, place: Place) -> None:
        """Read it, as `Reader.read` does."""

    def recognises(self, value: Any) -> bool:
        """Whether some reader recognises the value, or the first element of a list."""


class Reader(Protocol):
    """A module that reads a family of formats. Values are JSON values throughout."""

    def recognises(self, value: Any) -> bool:
        """Whether a value is in one of its formats; looks at keys and at ``type``, and never raises."""

    def read(self, value: Any, turns: Turns, place: Place, read_value: ReadValue) -> None:
        """Add the messages that a value holds.

        Args:
            value: A value that it recognises.
            turns: Where to add them.
            place: Where the value is, for error messages.
            read_value: Reads a part that may have any format.

        Raises:
            InvalidCaseError: a part is unknown or has a wrong type.
        """
