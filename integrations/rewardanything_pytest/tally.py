"""What a session judged: notes made by each test, added up by one process."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardanything_core import RewardAnythingError, Usage
from rewardanything_pytest import baselines
from rewardanything_pytest.baselines import Entries

LOWEST = 5


@dataclass(kw_only=True)
class Notes:
    """What one test judged. Travels as JSON in its report."""

    model: str = ""
    """The judge model's name."""

    judged: int = 0
    """Verdicts had, confirmations included."""

    failed: int = 0
    """Verdicts not to be had."""

    usage: Usage = field(default_factory=Usage)
    """What they took."""

    scores: list[tuple[float, str]] = field(default_factory=list)
    """Scores with the principle, one for each response."""

    remarks: list[str] = field(default_factory=list)
    """What did not fail the test and should still be seen."""

    file: str = ""
    """The file of baselines. Empty: the test asked for none."""

    test: str = ""
    """The test's name in it."""

    used: list[str] = field(default_factory=list)
    """Names of the entries asked for or recorded."""

    recorded: dict[str, Any] = field(default_factory=dict)
    """Name -> new entry."""

    def to_json(self) -> str:
        """As a text."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Notes:
        """From `to_json`."""
        found = json.loads(text)
        return cls(**found | {"usage": Usage(**found["usage"])})


class Tally:
    """The notes of all tests."""

    def __init__(self) -> None:
        self.total = Notes()
        self.models: set[str] = set()
        self.used: dict[str, dict[str, set[str]]] = {}  # file -> test -> names
        self.recorded: dict[str, Entries] = {}  # file -> entries
        self.kept = 0
        self.not_recorded = 0
        self.files: list[str] = []  # what was done to files, for the summary
        self.problems: list[str] = []

    def add(self, nodeid: str, text: str, *, failed: bool) -> None:
        """Add the notes of a phase of a test. One that failed records nothing."""
        notes, total = Notes.from_json(text), self.total
        total.judged += notes.judged
        total.failed += notes.failed
        total.usage += notes.usage
        total.scores += [(score, f"{nodeid}  {principle}") for score, principle in notes.scores]
        total.scores = sorted(total.scores)[:LOWEST]
        total.remarks += [f"{nodeid}: {remark}" for remark in notes.remarks]
        self.models |= {notes.model} - {""}
        if notes.file:
            self.used.setdefault(notes.file, {}).setdefault(notes.test, set()).update(notes.used)
        if notes.recorded and not failed:
            self.recorded.setdefault(notes.file, {}).setdefault(notes.test, {}).update(notes.recorded)
        elif notes.recorded:
            self.not_recorded += len(notes.recorded)

    def settle(self, collected: Mapping[str, Mapping[str, str]], not_passed: set[str], *, update: bool) -> None:
        """Write what was recorded, and find the entries that nothing uses.

        Args:
            collected: File of baselines -> node id -> test, of all tests beside it; empty if some were left out.
            not_passed: Node ids.
            update: Remove what is not used.
        """
        for file in sorted({*self.recorded, *collected, *_orphans(collected)}):
            try:
                self._settle(Path(file), collected.get(file), not_passed, update=update)
            except (OSError, RewardAnythingError) as error:
                self.problems.append(f"baselines not written: {error}")

    def _settle(self, path: Path, tests: Mapping[str, str] | None, not_passed: set[str], *, update: bool) -> None:
        file, entries = str(path), baselines.read(path)
        recorded = self.recorded.get(file, {})
        after = {test: dict(named) for test, named in entries.items()}
        changed = 0
        for test, named in recorded.items():
            changed += sum(entries.get(test, {}).get(name) != entry for name, entry in named.items())
            after.setdefault(test, {}).update(named)
        self.kept += sum(map(len, recorded.values())) - changed
        if changed:
            self.files.append(f"{changed} baseline{'s' * (changed > 1)} written to {file}")
        stale: Entries = {}
        if tests is not None or not recorded:
            tests = tests or {}
            unfinished = {test for nodeid, test in tests.items() if nodeid in not_passed}
            stale = baselines.unused(after, tests.values(), self.used.get(file, {}), unfinished)
        for test, named in stale.items():
            for name in named:
                if update:
                    del after[test][name]
                (self.files if update else self.problems).append(
                    f"stale baseline {'removed' if update else 'found'}: {file}: {test} / {name}"
                )
        if changed or (stale and update):
            baselines.write(path, after)

    def lines(self, root: Path) -> Iterator[tuple[str, bool]]:
        """The summary: each line, and whether it is alarming."""
        total, usage = self.total, self.total.usage
        if total.judged or total.failed:
            spent = f"{usage.calls:,} calls, {usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written"
            price = f", ${usage.cost:.4f}" if usage.cost is not None else ""
            yield (
                f"{total.judged:,} judgements by {', '.join(sorted(self.models))}: "
                f"{spent + price if usage.calls else 'all from the store'}",
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
        for text in self.files:
            yield text.replace(f"{root}/", ""), False
        if self.kept:
            yield f"{self.kept} baseline{'s' * (self.kept > 1)} unchanged", False
        if self.not_recorded:
            yield f"{self.not_recorded} not recorded, since the test failed", True
        for text in self.problems:
            yield text.replace(f"{root}/", ""), True
        if any(text.startswith("stale baseline found") for text in self.problems):
            yield "To remove what is stale: pytest --ra-update, on the whole file or suite", False


def _orphans(collected: Mapping[str, Any]) -> set[str]:
    """Files of baselines, beside those used, whose tests are gone."""
    folders = {Path(file).parent for file in collected}
    return {
        str(path)
        for folder in folders
        for path in folder.glob("*.json")
        if not any(baselines.baselines_of(test) == path for test in folder.parent.iterdir() if test.is_file())
    }
