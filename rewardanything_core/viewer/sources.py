"""What the viewer shows: verdict stores, the output of ``grade``, and reports of ``check``, as records by position."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from rewardanything_core.cases import as_responses
from rewardanything_core.errors import AbstainedError, ConfigError, StoreError
from rewardanything_core.store.labels import case_key
from rewardanything_core.store.verdict_store import Record, VerdictStore
from rewardanything_core.types import ABSTAINED, Abstention, JudgeFailure, Verdict
from rewardanything_core.viewer.file_rows import (
    clean_case,
    criteria_of,
    principle_of,
    record_of,
    unjudged,
    verdict_from_cells,
)

Positioned: TypeAlias = tuple[int, Record | StoreError]
"""A record and its position in its source, from 1; an error in place of one that cannot be read."""


class Source(ABC):
    """Records by position. New ones may be added at the end while it is read.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    @abstractmethod
    def identity(self) -> str:
        """Changes if the file was replaced by another, and not if records were added."""

    @abstractmethod
    def last(self) -> int:
        """The last position; 0: there are no records."""

    @abstractmethod
    def between(self, first: int, last: int) -> list[Positioned]:
        """The records whose positions are from ``first`` to ``last``, in this order.

        Args:
            first: The first position, from 1.
            last: The last position, included.
        """

    def at(self, position: int) -> Record:
        """The record at a position.

        Raises:
            StoreError: there is none, or it cannot be read.
        """
        found = self.between(position, position)
        if not found:
            raise StoreError(f"{self.path} has no record at position {position} any more.")
        if isinstance(found[0][1], StoreError):
            raise found[0][1]
        return found[0][1]

    def close(self) -> None:  # noqa: B027 - most hold nothing
        """Release what it holds."""


class StoreSource(Source):
    """A verdict store, which a run may be writing.

    Args:
        path: The store's file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._store = VerdictStore(path, writable=False)

    @property
    def identity(self) -> str:
        """The id of the first record: a store never loses it."""
        first = self._store.records_between(1, 1)
        return "" if not first else getattr(first[0][1], "record_id", "unreadable")

    def last(self) -> int:
        """See `Source.last`."""
        return self._store.last_position()

    def between(self, first: int, last: int) -> list[Positioned]:
        """See `Source.between`."""
        return list(self._store.records_between(first, last))

    def close(self) -> None:
        """Close the store."""
        self._store.close()


class GradedFile(Source):
    """The JSON lines that ``ra-judge grade`` writes, which may still be growing. Its settings are in ``OUT.run.json``.

    Args:
        path: The file.
        store: The store that may have the complete verdicts of its rows. None: there is none.
    """

    def __init__(self, path: Path, store: VerdictStore | None = None) -> None:
        super().__init__(path)
        self._store = store
        self._ends: list[int] = [0]
        try:
            self._settings = json.loads(path.with_name(path.name + ".run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._settings = {}

    @property
    def identity(self) -> str:
        """The beginning of the first line."""
        with self.path.open("rb") as file:
            return hashlib.sha256(file.readline(65536)).hexdigest()

    def last(self) -> int:
        """The number of complete lines."""
        with self.path.open("rb") as file:
            file.seek(self._ends[-1])
            for line in file:
                if line.endswith(b"\n"):
                    self._ends.append(self._ends[-1] + len(line))
        return len(self._ends) - 1

    def between(self, first: int, last: int) -> list[Positioned]:
        """See `Source.between`."""
        found: list[Positioned] = []
        with self.path.open("rb") as file:
            for position in range(max(1, first), min(last, len(self._ends) - 1) + 1):
                file.seek(self._ends[position - 1])
                line = file.read(self._ends[position] - self._ends[position - 1])
                found.append((position, self._record(position, line)))
        return found

    def _record(self, position: int, line: bytes) -> Record | StoreError:
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"it is a {type(row).__name__}, not a JSON object")
            return self._of_row(position, row)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            return StoreError(f"{self.path.name}, line {position} is not a row of ra-judge grade: {error}")

    def _of_row(self, position: int, row: Mapping[str, Any]) -> Record:
        prefix = self._settings.get("prefix") or ""
        cells = {name: row.get(prefix + name) for name in ("scores", "ranking", "agreement", "spread", "reasoning")}
        ids, error = str(row.get(f"{prefix}record_id") or ""), row.get(f"{prefix}error")
        is_drawn = "probability" in row and not cells["scores"]
        if not cells["scores"] and not error and not is_drawn:
            raise ValueError(f"it has no '{prefix}scores'")
        case = clean_case(self._case_fields(row, position))
        model = str(self._settings.get("model") or "")
        if self._store is not None and ids and " " not in ids:
            try:
                stored = self._store.find(ids)
            except StoreError:
                stored = None
            if stored is not None and stored.case.responses == case.responses:
                return stored
        outcome: Verdict | JudgeFailure
        if is_drawn:
            outcome = unjudged(row, case)
        elif error:
            kind, _, message = str(error).partition(": ")
            kinds: dict[str, Any] = {"case_id": case.id, "message": message, "model": model}
            is_abstention = f"{kind}:" == ABSTAINED
            outcome = (
                Abstention(error_type=AbstainedError.__name__, **kinds)
                if is_abstention
                else JudgeFailure(error_type=kind, **kinds)
            )
        else:
            outcome = verdict_from_cells(case, cells, model, criteria_of(row, prefix))
        return record_of(f"{self.path.stem}-{position}", case, outcome, model, when=self.path.stat().st_mtime)

    def _case_fields(self, row: Mapping[str, Any], position: int) -> dict[str, Any]:
        columns = self._settings.get("columns") or {}
        principle = row.get(columns.get("principle") or "principle") or self._settings.get("principle")
        if each := columns.get("each_response"):
            responses: Any = {name: row.get(name) for name in each}
        else:
            responses = row.get(columns.get("responses") or "responses")
            responses = as_responses(row.get("response") if responses is None else responses)
        return {
            "principle": principle_of(principle),
            "prompt": row.get(columns.get("prompt") or "prompt") or "(the row has no prompt)",
            "responses": responses,
            "reference": row.get(columns.get("reference") or "reference"),
            "context": row.get(columns.get("context") or "context"),
            "id": str(row.get(columns.get("id") or "id") or f"{self.path.stem}/{position}"),
        }

    def probabilities(self) -> dict[str, float]:
        """`Label.case_key` of each row -> the probability with which it was drawn for labelling; empty: nothing was."""
        found = {}
        with self.path.open("rb") as file:
            for position, line in enumerate(file, start=1):
                try:
                    row = json.loads(line)
                    if "probability" not in row:
                        return {}
                    case = clean_case(self._case_fields(row, position))
                    found[case_key(case)] = float(row["probability"])
                except (ValueError, TypeError, KeyError):
                    continue
        return found


class ReportFile(Source):
    """What ``ra-judge check --json`` printed: a record for each pair of answers.

    Args:
        path: The file.
        report: Its content.
    """

    def __init__(self, path: Path, report: Mapping[str, Any]) -> None:
        super().__init__(path)
        self._report = report

    @property
    def identity(self) -> str:
        """The time when the file was written."""
        return str(self.path.stat().st_mtime_ns)

    def last(self) -> int:
        """The number of pairs."""
        return len(self._report["pairs"])

    def between(self, first: int, last: int) -> list[Positioned]:
        """See `Source.between`."""
        pairs = self._report["pairs"]
        return [(number, self._record(number, pairs[number - 1])) for number in range(max(1, first), last + 1)]

    @cached_property
    def _principles(self) -> dict[str, Any]:
        requirements = (comparison["requirement"] for comparison in self._report.get("comparisons") or ())
        return {requirement["name"]: requirement["principle"] for requirement in requirements}

    def _record(self, number: int, pair: Mapping[str, Any]) -> Record | StoreError:
        try:
            principle = self._principles.get(pair["principle"]) or pair["principle"]
            name = pair["candidate"] if pair["candidate"] != "baseline" else "candidate"
            case = clean_case(
                {
                    "principle": principle_of(principle),
                    "prompt": pair["prompt"] or "(the report has no prompt)",
                    "responses": {"baseline": pair["baseline_response"], name: pair["candidate_response"]},
                    "id": str(pair["id"]),
                }
            )
            model = str(self._report.get("model") or "")
            scores = {"baseline": pair.get("baseline_score"), name: pair.get("candidate_score")}
            if (failed := pair.get("failure")) or None in scores.values():
                kind, message = (failed or {}).get("error_type", "NotJudged"), (failed or {}).get("message", "")
                outcome: Verdict | JudgeFailure = JudgeFailure(
                    case_id=case.id, error_type=kind, message=message or "Both answers are the same.", model=model
                )
            else:
                outcome = verdict_from_cells(case, {"scores": scores, "reasoning": pair.get("reasoning")}, model, {})
            return record_of(f"{self.path.stem}-{number}", case, outcome, model, when=self.path.stat().st_mtime)
        except (ValueError, TypeError, KeyError) as error:
            return StoreError(f"Pair {number} of {self.path.name} cannot be read ({type(error).__name__}: {error}).")


def open_sources(paths: Sequence[str | Path], store: VerdictStore | None) -> list[Source]:
    """The sources that files hold, by their content.

    Args:
        paths: Verdict stores, JSON lines of ``grade``, and reports of ``check --json``.
        store: The store that may have the complete verdicts of ``grade``'s rows. None: there is none.

    Raises:
        ConfigError: a file does not exist or is none of these; the message names it.
        StoreError: a file is the database of another application.
    """
    return [_open(Path(path).expanduser(), store) for path in paths]


def _open(path: Path, store: VerdictStore | None) -> Source:
    if not path.is_file():
        raise ConfigError(
            f"There is no file {path}.", hint="Give a verdict store, a file that `ra-judge grade` wrote, or a report."
        )
    try:
        with path.open("rb") as file:
            is_database = file.read(15) == b"SQLite format 3"
        if is_database:
            return StoreSource(path)
        if path.suffix.lower() == ".json":
            return ReportFile(path, _report(path))
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror or error}.") from error
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        raise ConfigError(
            f"{path} is neither a verdict store, nor JSON lines (.jsonl), nor a report (.json).",
            hint="For CSV and Parquet, view the verdict store: the verdicts are in it too.",
        )
    source = GradedFile(path, store)
    first = source.between(1, source.last() and 1)
    if first and isinstance(first[0][1], StoreError):
        raise ConfigError(
            first[0][1].message, hint="Give the output of ra-judge grade, with its .run.json in the same folder."
        )
    return source


def _report(path: Path) -> Mapping[str, Any]:
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"Cannot read {path} as JSON: {error}.") from error
    if not isinstance(report, dict) or not isinstance(report.get("pairs"), list):
        hint = "`ra-judge check --json > report.json` writes one. What `bench` judged is in the verdict store."
        raise ConfigError(f"{path} is not a report of ra-judge check: it has no list of pairs.", hint=hint)
    return report
