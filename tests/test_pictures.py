"""The picture of a terminal that needs no model is what the command prints today."""

from __future__ import annotations

import importlib.util
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_check_prints_what_its_picture_shows() -> None:
    spec = importlib.util.spec_from_file_location("docs_pictures", ROOT / "docs" / "_pictures.py")
    assert spec and spec.loader
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    picture = ROOT / "docs" / "assets" / "check-example.svg"
    before = picture.read_text(encoding="utf-8")
    try:
        assert pictures.draw("check", pictures.made("check")).read_text(encoding="utf-8") == before, (
            "python docs/_pictures.py check draws it again"
        )
    finally:
        picture.write_text(before, encoding="utf-8")
    assert "http" not in before.replace("http://www.w3.org/2000/svg", "")
