"""Grammars: the structure that a reply must have, as a generator of literals and open fields.

A grammar yields text that is fixed (a `str`) and fields that the model fills: a `Choice` of one of several strings, or
free `Text`. The decoder sends back what the model filled in, so later fields can depend on earlier ones.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Choice:
    """A field in which the model picks one of several strings."""

    options: tuple[str, ...]
    """The strings; none is a prefix of another."""


@dataclass(frozen=True)
class Text:
    """A field in which the model writes freely."""

    stop: str
    """The string that ends the field; not part of what is sent back."""

    max_tokens: int
    """Tokens after which the field ends if ``stop`` has not occurred."""


Grammar: TypeAlias = Generator[str | Choice | Text, str | None, None]
"""One run through a grammar."""

GrammarFactory: TypeAlias = Callable[[], Grammar]
"""Starts a new run; each attempt at a reply needs its own."""
