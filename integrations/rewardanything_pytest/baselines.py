"""Baselines: the responses to compare with, kept beside the tests in files that read and diff well.

``test_answers.py`` has ``__baselines__/test_answers.json``: test -> name or number of the assertion -> prompt and
response. Texts of several lines are lists of lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rewardanything_core import RewardAnythingError

FOLDER = "__baselines__"

Entries = dict[str, dict[str, Any]]
"""Test -> name -> exchanges, as in the file."""


class BaselineFileError(RewardAnythingError):
    """A file of baselines cannot be read."""


def baselines_of(test_file: Path) -> Path:
    """Where the baselines of a test file are."""
    return test_file.parent / FOLDER / f"{test_file.stem if test_file.suffix == '.py' else test_file.name}.json"


def key_of(item: pytest.Item) -> str:
    """A test's name within its file. Unlike the end of its node id, plugins do not change it."""
    return "::".join(
        node.name for node in item.listchain() if not isinstance(node, pytest.File | pytest.Directory | pytest.Session)
    )


def read(path: Path) -> Entries:
    """The entries of a file; none if there is no file.

    Raises:
        BaselineFileError: it is no such file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        found = json.loads(text)
        if all(isinstance(named, dict) for named in found.values()):
            return dict(found)
        problem = "each test must have named entries"
    except (ValueError, AttributeError) as error:
        problem = str(error)
    raise BaselineFileError(
        f"{path} is no file of baselines: {problem}.",
        hint="Take it from version control again (a merge may have left its marks), or delete it and record anew.",
    )


def write(path: Path, entries: Entries) -> None:
    """Replace a file, in sorted order; without entries, remove it and its empty folder."""
    kept = {test: dict(sorted(named.items(), key=_natural)) for test, named in sorted(entries.items()) if named}
    if not kept:
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
        return
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(kept, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


def unused(entries: Entries, tests: Iterable[str], used: Mapping[str, set[str]], unfinished: set[str]) -> Entries:
    """The entries that no test asks for.

    Args:
        entries: All of a file.
        tests: All tests of the test file.
        used: Test -> names it asked for.
        unfinished: Tests that may not have come to ask.
    """
    there, stale = set(tests), {}
    for test, named in entries.items():
        if test not in unfinished:
            names = [name for name in named if test not in there or name not in used.get(test, ())]
            stale[test] = {name: named[name] for name in names}
    return {test: named for test, named in stale.items() if named}


def fold(value: Any) -> Any:
    """A text, or messages, as they stand in the file."""
    if isinstance(value, str):
        return value.split("\n") if "\n" in value else value
    return [{**message, "content": fold(message["content"])} for message in value]


def unfold(value: Any) -> Any:
    """The text, or messages, again."""
    if isinstance(value, str):
        return value
    if value and isinstance(value[0], str):
        return "\n".join(value)
    return tuple({**message, "content": unfold(message["content"])} for message in value)


def _natural(entry: tuple[str, Any]) -> tuple[int, str]:
    name = entry[0]
    return (int(name) if name.isdecimal() else 10**9, name)
