"""The texts of prompts that ship with the package."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@cache
def prompt_file(name: str) -> str:
    """The content of a file in ``prompting/prompts``."""
    return (Path(__file__).parent / "prompts" / name).read_text(encoding="utf-8")


def filled(text: str, parts: Mapping[str, str]) -> str:
    """A text with its placeholders ``{name}`` filled in, all in one pass, so that braces in the parts stay as they are.

    Args:
        text: The text. Names that ``parts`` lacks stay.
        parts: Name -> text.
    """
    return _PLACEHOLDER.sub(lambda match: parts.get(match[1], match[0]), text)
