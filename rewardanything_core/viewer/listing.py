"""Pages of the list of verdicts, from the index."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardanything_core.viewer.facts import shown_scores
from rewardanything_core.viewer.filters import SORTS, Condition, Filters, conditions
from rewardanything_core.viewer.index import BITS, Index

PAGE = 50
"""Number of rows on a page."""

COUNTED = 1_000
"""Matches are counted up to this number."""

_RARE = 5_000
"""A range with at most so many entries is read from its own index; with more, entries are tried in order."""

_MAX_NAMES = 300


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the list."""

    id: int
    """The entry."""

    record_id: str
    created: int
    case_id: str
    title: str
    principle: str
    model: str
    failure: str
    """As in `facts.Facts`; the principle by its name or the beginning of its text."""

    scores: Sequence[tuple[str, float]]
    """Label and score of the best responses."""

    spread: float
    agreement: float | None
    jurors: float
    passes: float
    """As in `facts.Facts`."""

    gap: float | None
    """How far it is from people's labels. None: it has none."""

    cursor: str
    """Continues the list after this row."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of the list."""

    rows: Sequence[Row]
    """The rows."""

    following: str
    """The cursor of the next page. Empty: this is the last one."""


class Listing:
    """Lists of verdicts.

    Args:
        index: The index.
    """

    def __init__(self, index: Index) -> None:
        self._index = index

    def page(self, filters: Filters, sources: Mapping[str, int], *, after: str = "", size: int = PAGE) -> Page:
        """A page of verdicts.

        Args:
            filters: What to list, and in which order.
            sources: Name of a file -> its number in the index.
            after: The cursor at which the page begins. Empty: the first page.
            size: Maximum number of rows.
        """
        with self._index.read() as connection:
            chosen = list(conditions(filters, sources, BITS))
            ids = _ids(connection, filters, chosen, after, size + 1)
            rows = _rows(connection, filters, ids[:size])
        return Page(rows=rows, following=rows[-1].cursor if len(ids) > size else "")

    def count(self, filters: Filters, sources: Mapping[str, int]) -> int:
        """The number of matches, up to `COUNTED`.

        Args:
            filters: What to count.
            sources: Name of a file -> its number in the index.
        """
        with self._index.read() as connection:
            chosen = list(conditions(filters, sources, BITS))
            return len(_ids(connection, Filters.of({**filters.given, "sort": "newest"}), chosen, "", COUNTED))

    def neighbours(self, filters: Filters, sources: Mapping[str, int], entry: int) -> tuple[str, str]:
        """The record ids before and after an entry in the list from newest to oldest; empty at its ends.

        Args:
            filters: The list; its order does not matter.
            sources: Name of a file -> its number in the index.
            entry: The id of the entry.
        """
        newest = Filters.of({**filters.given, "sort": "newest"})
        with self._index.read() as connection:
            chosen = list(conditions(newest, sources, BITS))
            older = _ids(connection, newest, chosen, str(entry), 1)
            newer = _ids(connection, newest, chosen, f"-{entry}", 1)
            found = {row.id: row.record_id for row in _rows(connection, newest, [*older, *newer])}
        return found.get(newer[0], "") if newer else "", found.get(older[0], "") if older else ""

    def undecided(self, filters: Filters, sources: Mapping[str, int], person: str) -> int | None:
        """The first entry in the order of the filters that a person has not decided about; None: there is none left.

        Args:
            filters: What to label, and in which order. With a criterion, the labels are about it.
            sources: Name of a file -> its number in the index.
            person: The person.
        """
        is_new = "NOT EXISTS (SELECT 1 FROM decided d WHERE d.person = ? AND d.judged = e.judged AND d.criterion = ?)"
        with self._index.read() as connection:
            chosen = list(conditions(filters, sources, BITS))
            chosen += [
                Condition(sql="e.tension IS NOT NULL", values=()),  # there is something to label
                Condition(sql=is_new, values=(person, filters.criterion)),
            ]
            ids = _ids(connection, filters, chosen, "", 1)
        return ids[0] if ids else None

    def of_case(self, entry: int, *, limit: int = 20) -> list[Row]:
        """The other verdicts on the same case, newest first.

        Args:
            entry: The entry.
            limit: Maximum number.
        """
        with self._index.read() as connection:
            found = connection.execute(
                "SELECT o.id FROM entries e JOIN entries o ON o.material = e.material AND o.judged = e.judged"
                " WHERE e.id = ? AND o.id <> e.id ORDER BY o.id DESC LIMIT ?",
                (entry, limit),
            ).fetchall()
            return _rows(connection, Filters(), [other for (other,) in found])

    def find(self, record_id: str) -> int | None:
        """The entry of a record; None: it is not indexed."""
        with self._index.read() as connection:
            row = connection.execute(
                "SELECT id FROM shown WHERE record_id = ? ORDER BY id DESC LIMIT 1", (record_id,)
            ).fetchone()
        return None if row is None else int(row[0])

    def names(self, kind: str) -> list[tuple[str, str]]:
        """Key and name of what a filter can be set to.

        Args:
            kind: ``principle``, ``model``, ``template``, ``criterion`` or ``failure``.
        """
        with self._index.read() as connection:
            rows = connection.execute(
                "SELECT key, name, substr(text, 1, 200) FROM names WHERE kind = ? ORDER BY id LIMIT ?",
                (kind, _MAX_NAMES),
            ).fetchall()
        return [(key, name or text) for key, name, text in rows]


def _ids(
    connection: sqlite3.Connection, filters: Filters, chosen: Sequence[Condition], after: str, limit: int
) -> list[int]:
    """The entries that match, in order."""
    column, direction = SORTS[filters.sort]
    where: list[str] = []
    values: list[Any] = []
    for condition in chosen:
        where.append(_in_sql(connection, condition, column))
        values += condition.values
    if column != "id":
        where.append(f"e.{column} IS NOT NULL")
    if column == "spread":
        where.append("e.spread > 0")  # as its index has it
    match = filters.match
    if match:
        tables = "texts CROSS JOIN entries e ON e.id = texts.rowid"
        where.insert(0, "texts MATCH ?")
        values.insert(0, match)
    else:
        tables = "entries e"
    place = "texts.rowid" if match and column == "id" else f"e.{column}"
    # A cursor of the page before begins with a minus.
    if after.startswith("-") and column == "id":
        direction, after = "ASC", after[1:]
    if cursor := _cursor(after, column):
        beyond = "<" if direction == "DESC" else ">"
        where.append(f"{place} {beyond} ?" if column == "id" else f"({place}, e.id) {beyond} (?, ?)")
        values += cursor
    order = f"{place} {direction}" + ("" if column == "id" else f", e.id {direction}")
    sql = f"SELECT e.id FROM {tables} WHERE {' AND '.join(where) or '1'} ORDER BY {order} LIMIT ?"  # noqa: S608
    return [entry for (entry,) in connection.execute(sql, (*values, limit))]


def _in_sql(connection: sqlite3.Connection, condition: Condition, sorted_by: str) -> str:
    """A condition, with a plus that keeps SQLite from using the index of a range that is not rare."""
    if not condition.column:
        return condition.sql.format("e.spread")
    column = f"e.{condition.column}"
    known = "" if condition.column == "low" else f" AND {column} > 0" if condition.column != "agreement" else ""
    known = f" AND {column} IS NOT NULL" if condition.column == "agreement" else known
    test = condition.sql.format(column)
    counted = f"SELECT count(*) FROM (SELECT 1 FROM entries e WHERE {test}{known} LIMIT {_RARE + 1})"  # noqa: S608
    (found,) = connection.execute(counted, condition.values).fetchone()
    is_rare = found <= _RARE and sorted_by != condition.column
    return condition.sql.format(column) + known if is_rare else condition.sql.format(f"+{column}") + known


def _cursor(after: str, column: str) -> list[Any]:
    """The values after which a page begins; none for a cursor that is not one of this order."""
    parts = after.split("~")
    try:
        if column == "id":
            return [int(parts[0])] if after else []
        number = int(parts[0]) if column == "material" else float(parts[0])
        return [number, int(parts[1])]
    except (ValueError, IndexError):
        return []


def _rows(connection: sqlite3.Connection, filters: Filters, ids: Sequence[int]) -> list[Row]:
    column, _ = SORTS[filters.sort]
    marks = ",".join("?" * len(ids))
    found = connection.execute(
        "SELECT e.id, s.record_id, e.created, s.case_id, s.title, coalesce(nullif(p.name, ''), substr(p.text, 1, 80)),"  # noqa: S608
        " m.name, f.name, s.scores, e.spread, e.agreement, e.jurors, e.passes, l.gap, e." + column + ""
        " FROM entries e JOIN shown s ON s.id = e.id LEFT JOIN names p ON p.id = e.principle"
        " LEFT JOIN names m ON m.id = e.model LEFT JOIN names f ON f.id = e.failure"
        f" LEFT JOIN labelled l ON l.id = e.id WHERE e.id IN ({marks})",
        list(ids),
    ).fetchall()
    by_id = {row[0]: row for row in found}
    return [_row(by_id[entry], column) for entry in ids if entry in by_id]


def _row(values: Sequence[Any], column: str) -> Row:
    entry, record_id, created, case_id, title, principle, model, failure, scores, *numbers = values
    spread, agreement, jurors, passes, gap, place = numbers
    return Row(
        id=entry,
        record_id=record_id,
        created=created,
        case_id=case_id,
        title=title,
        principle=principle or "",
        model=model or "",
        failure=failure or "",
        scores=shown_scores(scores),
        spread=spread or 0.0,
        agreement=agreement,
        jurors=jurors or 0.0,
        passes=passes or 0.0,
        gap=gap,
        cursor=str(entry) if column == "id" else f"{place!r}~{entry}",
    )
