"""Baselines: the responses to compare with, stored next to the tests in files that are easy to read and to diff.

``test_answers.py`` has ``__baselines__/test_answers.json``: test -> name or number of the assertion -> prompt and
response. A text of several lines is a list of lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from rewardanything_core import RewardAnythingError

FOLDER = "__baselines__"

Entries = dict[str, dict[str, Any]]
"""Test -> name -> prompt and response, or a list of those, as in the file."""


class BaselineFileError(RewardAnythingError):
    """A baseline file cannot be read."""


def baseline_file(test_file: Path) -> Path:
    """Path of a test file's baselines."""
    return test_file.parent / FOLDER / f"{test_file.stem if test_file.suffix == '.py' else test_file.name}.json"


def test_key(item: pytest.Item) -> str:
    """A test's name within its file. Unlike the end of its node id, plugins do not change it."""
    return "::".join(
        node.name for node in item.listchain() if not isinstance(node, pytest.File | pytest.Directory | pytest.Session)
    )


def read(path: Path) -> Entries:
    """The entries of a file; none if it does not exist.

    Raises:
        BaselineFileError: the file is not a valid baseline file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        entries = json.loads(text)
        if all(isinstance(named, dict) for named in entries.values()):
            return dict(entries)
        problem = "each test must have named entries"
    except (ValueError, AttributeError) as error:
        problem = str(error)
    raise BaselineFileError(
        f"{path} is not a valid baseline file: {problem}.",
        hint="Restore it from version control (a merge may have left conflict markers), or delete it and record the "
        "baselines again.",
    )


def write(path: Path, entries: Entries) -> None:
    """Replace a file with sorted entries; without entries, remove it and its folder if that is empty.

    Args:
        path: The file.
        entries: All of its entries.
    """
    ordered = {test: dict(sorted(named.items(), key=_sort_key)) for test, named in sorted(entries.items()) if named}
    if not ordered:
        path.unlink(missing_ok=True)
        if path.parent.is_dir() and not any(path.parent.iterdir()):
            path.parent.rmdir()
        return
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_text(json.dumps(ordered, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)


def unused(
    entries: Entries, tests: Iterable[str], used: Mapping[str, Collection[str]], incomplete: Collection[str]
) -> Entries:
    """The entries that no test uses.

    Args:
        entries: All entries of a file.
        tests: All tests of the test file.
        used: Test -> names that it read or recorded.
        incomplete: Tests that did not pass, and so may not have reached all of their assertions.
    """
    existing, stale = set(tests), {}
    for test, named in entries.items():
        if test not in incomplete:
            names = [name for name in named if test not in existing or name not in used.get(test, ())]
            stale[test] = {name: named[name] for name in names}
    return {test: named for test, named in stale.items() if named}


def to_lines(value: Any) -> Any:
    """A text or chat messages as stored in the file."""
    if isinstance(value, str):
        return value.split("\n") if "\n" in value else value
    return [{**message, "content": to_lines(message["content"])} for message in value]


def from_lines(value: Any) -> Any:
    """The text or chat messages from what `to_lines` made of them."""
    if isinstance(value, str):
        return value
    if value and isinstance(value[0], str):
        return "\n".join(value)
    return tuple({**message, "content": from_lines(message["content"])} for message in value)


def _sort_key(entry: tuple[str, Any]) -> tuple[int, str]:
    name = entry[0]
    return (int(name) if name.isdecimal() else 10**9, name)
