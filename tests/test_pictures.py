"""The pictures of terminals show what the commands print today; those with times in them are left out."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", ["check", "dspy", "langchain"])
def test_the_command_prints_what_its_picture_shows(name: str) -> None:
    spec = importlib.util.spec_from_file_location("docs_pictures", ROOT / "docs" / "_pictures.py")
    assert spec and spec.loader
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    picture = ROOT / "docs" / "assets" / f"{name}-example.svg"
    before = picture.read_text(encoding="utf-8")
    try:
        assert pictures.draw(name, pictures.made(name)).read_text(encoding="utf-8") == before, (
            f"python docs/_pictures.py {name} draws it again"
        )
    finally:
        picture.write_text(before, encoding="utf-8")
    assert "http" not in before.replace("http://www.w3.org/2000/svg", "")
