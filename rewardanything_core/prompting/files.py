"""The texts of prompts that ship with the package."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def prompt_file(name: str) -> str:
    """The content of a file in ``prompting/prompts``."""
    return (Path(__file__).parent / "prompts" / name).read_text(encoding="utf-8")
