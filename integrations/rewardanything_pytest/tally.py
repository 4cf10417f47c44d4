"""What a session judged: each test makes notes, and one process adds them up."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rewardanything_core import RewardAnythingError, Usage
from rewardanything_pytest import baselines
from rewardanything_pytest.baselines import Entries

SHOWN_SCORES = 5
"""How many of the lowest scores the summary shows."""


@dataclass(kw_only=True)
class Notes:
    """What one test judged. Sent as JSON in the test's report."""

    model: str = ""
    """The name of the judge's model."""

    judged: int = 0
    """Number of verdicts, including confirmations."""

    failed: int = 0
    """Number of judgements that failed."""

    usage: Usage = field(default_factory=Usage)
    """What the judgements cost."""

    scores: list[tuple[float, str]] = field(default_factory=list)
    """Score and principle of each response."""

    remarks: list[str] = field(default_factory=list)
    """Findings that did not fail the test and belong in the summary."""

    file: str = ""
    """The baseline file. Empty: the test used no baseline."""

    test: str = ""
    """The test's key in that file."""

    used: list[str] = field(default_factory=list)
    """Names of the baselines that were read or recorded."""

    recorded: dict[str, Any] = field(default_factory=dict)
    """Name -> new baseline."""

    def to_json(self) -> str:
        """The notes as JSON text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Notes:
        """The notes from the text of `to_json`."""
        fields = json.loads(text)
        return cls(**fields | {"usage": Usage(**fields["usage"])})


NOTES: pytest.StashKey[Notes] = pytest.StashKey()
"""What a test judged since its last report."""


class Tally:
    """The notes of all tests."""

    def __init__(self) -> None:
        self.total = Notes()
        self.models: set[str] = set()
        self.used: dict[str, dict[str, set[str]]] = {}  # file -> test -> names
        self.recorded: dict[str, Entries] = {}  # file -> entries
        self.unchanged = 0
        self.not_recorded = 0
        self.changes: list[str] = []  # changes to baseline files, for the summary
        self.problems: list[str] = []

    def add(self, nodeid: str, text: str, *, failed: bool) -> None:
        """Add the notes of one phase of a test.

        Args:
            nodeid: The test's node id.
            text: The notes as JSON.
            failed: Whether the phase failed. Then nothing is recorded.
        """
        notes, total = Notes.from_json(text), self.total
        total.judged += notes.judged
        total.failed += notes.failed
        total.usage += notes.usage
        total.scores += [(score, f"{nodeid}  {principle}") for score, principle in notes.scores]
        total.scores = sorted(total.scores)[:SHOWN_SCORES]
        total.remarks += [f"{nodeid}: {remark}" for remark in notes.remarks]
        self.models |= {notes.model} - {""}
        if notes.file:
            self.used.setdefault(notes.file, {}).setdefault(notes.test, set()).update(notes.used)
        if notes.recorded and not failed:
            self.recorded.setdefault(notes.file, {}).setdefault(notes.test, {}).update(notes.recorded)
        elif notes.recorded:
            self.not_recorded += len(notes.recorded)

    def write_baselines(
        self, collected: Mapping[str, Mapping[str, str]], not_passed: Collection[str], *, update: bool
    ) -> None:
        """Write recorded baselines, and find or remove those that no test uses.

        Args:
            collected: Baseline file -> node id -> test, of all tests that the file is for. Empty if some tests did not
                run.
            not_passed: Node ids of tests that did not pass.
            update: Whether to remove unused baselines.
        """
        for file in sorted({*self.recorded, *collected, *_files_without_tests(collected)}):
            try:
                self._write_file(Path(file), collected.get(file), not_passed, update=update)
            except (OSError, RewardAnythingError) as error:
                self.problems.append(f"baselines not written: {error}")

    def _write_file(
        self, path: Path, tests: Mapping[str, str] | None, not_passed: Collection[str], *, update: bool
    ) -> None:
        file, entries = str(path), baselines.read(path)
        recorded = self.recorded.get(file, {})
        updated = {test: dict(named) for test, named in entries.items()}
        changed = 0
        for test, named in recorded.items():
            changed += sum(entries.get(test, {}).get(name) != entry for name, entry in named.items())
            updated.setdefault(test, {}).update(named)
        self.unchanged += sum(map(len, recorded.values())) - changed
        if changed:
            self.changes.append(f"{changed} baseline{'s' * (changed > 1)} written to {file}")
        stale: Entries = {}
        if tests is not None or not recorded:
            tests = tests or {}
            incomplete = {test for nodeid, test in tests.items() if nodeid in not_passed}
            stale = baselines.unused(updated, tests.values(), self.used.get(file, {}), incomplete)
        for test, named in stale.items():
            for name in named:
                if update:
                    del updated[test][name]
                (self.changes if update else self.problems).append(
                    f"stale baseline {'removed' if update else 'found'}: {file}: {test} / {name}"
                )
        if changed or (stale and update):
            baselines.write(path, updated)

    def summary(self, root: Path) -> Iterator[tuple[str, bool]]:
        """The summary's lines, each with whether to highlight it.

        Args:
            root: The folder to which paths are shown relative.
        """
        total, usage = self.total, self.total.usage
        if total.judged or total.failed:
            calls = f"{usage.calls:,} calls, {usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written"
            price = f", ${usage.cost:.4f}" if usage.cost is not None else ""
            yield (
                f"{total.judged:,} judgements by {', '.join(sorted(self.models))}: "
                f"{calls + price if usage.calls else 'all from the store'}",
                False,
            )
        if total.failed:
            yield f"{total.failed:,} could not be judged", True
        if total.scores:
            yield "lowest scores:", False
            for score, where in total.scores:
                yield f"  {score:.2f}  {where}", False
        for remark in total.remarks:
            yield remark, True
        for text in self.changes:
            yield text.replace(f"{root}/", ""), False
        if self.unchanged:
            yield f"{self.unchanged} baseline{'s' * (self.unchanged > 1)} unchanged", False
        if self.not_recorded:
            yield f"{self.not_recorded} not recorded, since the test failed", True
        for text in self.problems:
            yield text.replace(f"{root}/", ""), True
        if any(text.startswith("stale baseline found") for text in self.problems):
            yield "To remove stale baselines, run pytest --ra-update on the whole file or suite", False


def _files_without_tests(collected: Collection[str]) -> set[str]:
    """Baseline files, in the folders of those in use, whose test files no longer exist."""
    folders = {Path(file).parent for file in collected}
    return {
        str(path)
        for folder in folders
        for path in folder.glob("*.json")
        if not any(baselines.baseline_file(test) == path for test in folder.parent.iterdir() if test.is_file())
    }
