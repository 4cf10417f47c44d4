"""People's labels in the verdict store's file: who said what about which case, when, and what they could see."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from rewardanything_core.cases import Case
from rewardanything_core.store.database import Database
from rewardanything_core.store.records import case_to_dict, to_json

LABELS = """
CREATE TABLE IF NOT EXISTS labels (
    id INTEGER PRIMARY KEY,
    created TEXT NOT NULL,
    person TEXT NOT NULL,
    case_key TEXT NOT NULL,
    criterion TEXT,
    record_id TEXT,
    "case" TEXT NOT NULL,
    decision TEXT NOT NULL,
    note TEXT NOT NULL,
    blind INTEGER NOT NULL,
    shown TEXT NOT NULL,
    undone TEXT
)
"""
"""Added to files without it at the first label; older versions of this package ignore the table."""

TIE = "tie"
"""The winner where no response is better."""

Decision: TypeAlias = Literal["scores", "winner", "skip"]

_SKIPPED = to_json({"scores": {}, "winner": None})
_WANTED = (
    "undone IS NULL AND (? IS NULL OR person = ?) AND (? IS NULL OR case_key = ?) AND (? OR decision <> ?) AND id > ?"
)
_COLUMNS = 'id, created, person, criterion, record_id, "case", decision, note, blind, shown'


@dataclass(frozen=True, kw_only=True)
class Label:
    """What one person decided about one case. It belongs to the case, whichever judge judged it."""

    case: Case
    """The case: what was judged by, and what was shown."""

    person: str
    """Who decided."""

    scores: Mapping[str, float] = field(default_factory=dict)
    """Label of a response -> score, 1..5. Empty: there are no scores."""

    winner: str | None = None
    """Label of the better response, or `TIE`. None: there is no preference."""

    criterion: str | None = None
    """The criterion of the case's rubric that was decided about. None: the whole principle."""

    note: str = ""
    """Why, in the person's words. Empty: they did not say."""

    blind: bool = True
    """Whether the judge's scores were hidden until the decision."""

    shown: Sequence[str] = ()
    """The labels of the responses in the order in which they were shown."""

    record_id: str | None = None
    """The verdict from which the case was opened. None: it is not in a store."""

    created: datetime | None = None
    """Time of the decision, in UTC. None: not stored yet."""

    id: int | None = None
    """Its number in the store. None: not stored yet."""

    @property
    def decision(self) -> Decision:
        """``scores``, ``winner``, or ``skip`` where the person decided nothing."""
        return "scores" if self.scores else "winner" if self.winner is not None else "skip"

    @property
    def case_key(self) -> str:
        """Equal for labels about the same thing: the same case under the same principle or criterion."""
        return case_key(self.case, self.criterion)


def case_key(case: Case, criterion: str | None = None) -> str:
    """What a label is about: a hash of all that the judge sees of a case, and the criterion.

    Args:
        case: The case. Its labels and id do not matter.
        criterion: The criterion. None: the whole principle.
    """
    return hashlib.sha256(f"{case.digest}\n{criterion or ''}".encode("utf-8", "surrogatepass")).hexdigest()


class Labels:
    """The labels in a verdict store's file. Each is written to disk before `add` returns.

    Args:
        database: The verdict store's file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, label: Label) -> int:
        """Store a label and return its number. It replaces an earlier one of the same person about the same thing.

        Args:
            label: The label.
        """
        content = {"scores": dict(label.scores), "winner": label.winner}
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        row = (
            now,
            label.person,
            label.case_key,
            label.criterion,
            label.record_id,
            to_json(case_to_dict(label.case)),
            to_json(content),
            label.note,
            int(label.blind),
            to_json(list(label.shown)),
        )
        with self._database.write() as connection:
            connection.execute(LABELS)
            connection.execute(
                "UPDATE labels SET undone = ? WHERE undone IS NULL AND person = ? AND case_key = ?",
                (now, label.person, label.case_key),
            )
            added = connection.execute(
                "INSERT INTO labels"
                ' (created, person, case_key, criterion, record_id, "case", decision, note, blind, shown)'
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            return int(added.lastrowid or 0)

    def undo(self, person: str) -> Label | None:
        """Withdraw a person's latest label that was not withdrawn, and return it. It stays in the file, marked.

        Args:
            person: The person.
        """
        latest = self.all(person=person, newest_first=True, limit=1, skipped=True)
        if not latest:
            return None
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        with self._database.write() as connection:
            connection.execute("UPDATE labels SET undone = ? WHERE id = ?", (now, latest[0].id))
        return latest[0]

    def all(
        self,
        *,
        person: str | None = None,
        about: str | None = None,
        skipped: bool = False,
        newest_first: bool = False,
        limit: int | None = None,
        after: int = 0,
    ) -> list[Label]:
        """The labels that were not withdrawn, in the order of writing.

        Args:
            person: Only this person's. None: everybody's.
            about: Only those with this `Label.case_key`. None: about anything.
            skipped: Whether to include cases that were skipped.
            newest_first: Whether to start with the newest label.
            limit: Maximum number. None: all.
            after: Only those with a greater number than this.
        """
        rows = self._rows(
            f"SELECT {_COLUMNS} FROM labels WHERE {_WANTED} ORDER BY id {'DESC' if newest_first else 'ASC'} LIMIT ?",  # noqa: S608
            (person, person, about, about, skipped, _SKIPPED, after, -1 if limit is None else limit),
        )
        return [_from_row(*row) for row in rows]

    def count(self, person: str | None = None) -> int:
        """The number of labels, without cases that were skipped.

        Args:
            person: Only this person's. None: everybody's.
        """
        rows = self._rows(f"SELECT count(*) FROM labels WHERE {_WANTED}", (person, person, None, None, 0, _SKIPPED, 0))  # noqa: S608
        return int(rows[0][0]) if rows else 0

    def ids(self) -> set[int]:
        """The numbers of all labels that were not withdrawn."""
        return {int(number) for (number,) in self._rows("SELECT id FROM labels WHERE undone IS NULL", ())}

    def version(self) -> tuple[int, int]:
        """Two numbers that change whenever a label is added or withdrawn."""
        rows = self._rows("SELECT coalesce(max(id), 0), count(undone) FROM labels", ())
        return (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)

    def _rows(self, statement: str, values: Iterable[Any]) -> list[tuple[Any, ...]]:
        with self._database.read() as connection:
            exists = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'labels'").fetchone()
            return connection.execute(statement, tuple(values)).fetchall() if exists else []


def _from_row(
    number: int,
    created: str,
    person: str,
    criterion: str | None,
    record_id: str | None,
    case: str,
    decision: str,
    note: str,
    blind: int,
    shown: str,
) -> Label:
    content = json.loads(decision)
    return Label(
        id=number,
        created=datetime.fromisoformat(created),
        person=person,
        criterion=criterion,
        record_id=record_id,
        case=Case(**json.loads(case)),
        scores=content["scores"],
        winner=content["winner"],
        note=note,
        blind=bool(blind),
        shown=tuple(json.loads(shown)),
    )
