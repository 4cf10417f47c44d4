"""Baselines: the responses to compare with, stored next to the tests in files that are easy to read and to diff.

``test_answers.py`` has ``__baselines__/test_answers.json``: test -> name or number of the assertion -> prompt and
response. A text of several lines is a list of lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
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
    """A text, messages, or the content of one as stored in the file."""
    if isinstance(value, str):
        return value.split("\n") if "\n" in value else value
    return _in_texts(to_lines, value)


def from_lines(value: Any) -> Any:
    """What `to_lines` got from what it made of it; messages are a list."""
    if isinstance(value, list) and value and isinstance(value[0], str):
        return "\n".join(value)
    return _in_texts(from_lines, value)


def _in_texts(change: Callable[[Any], Any], value: Any) -> Any:
    """The value with changed texts of messages and of the parts of their contents."""
    if isinstance(value, Mapping):
        return {key: change(item) if key in ("content", "text") else item for key, item in value.items()}
    return [change(item) for item in value] if isinstance(value, list | tuple) else value


def _sort_key(entry: tuple[str, Any]) -> tuple[int, str]:
    name = entry[0]
    return (int(name) if name.isdecimal() else 10**9, name)
