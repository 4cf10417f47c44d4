"""Grammars: the structure that a reply must have, as a generator of literals and open fields."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Choice:
    """A place where the model picks one of several strings."""

    options: tuple[str, ...]
    """What may stand here; no option is a prefix of another."""


@dataclass(frozen=True)
class Text:
    """A place where the model writes freely."""

    stop: str
    """The string that ends it; not part of what is sent back."""

    max_tokens: int
    """Where to end it if ``stop`` has not come by then."""


Grammar: TypeAlias = Generator[str | Choice | Text, str | None, None]


GrammarFactory: TypeAlias = Callable[[], Grammar]
