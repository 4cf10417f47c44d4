"""The index of the viewer: a database of its own with what lists are filtered, sorted and searched by.

It holds nothing that the sources do not, so it can be deleted at any time. Records are indexed from the newest
backwards, and new ones as they come: the first page is complete at once, while a large store is still being read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from rewardanything_core.errors import StoreError
from rewardanything_core.store.labels import Label
from rewardanything_core.viewer.facts import Facts, scores_json
from rewardanything_core.viewer.label_gaps import label_case, label_entries

VERSION = 1
"""Version of the tables; an index with another one is rebuilt."""

BITS = 40
"""An entry's id is its source's number, shifted by this, plus its position there."""

_MAX_JUDGES = 50  # of one case that are compared

Span: TypeAlias = tuple[int, int]
"""The first and the last of successive positions."""

_SCHEMA = """
CREATE TABLE sources (
    number INTEGER PRIMARY KEY, path TEXT NOT NULL, identity TEXT NOT NULL, spans TEXT NOT NULL
);
CREATE TABLE names (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, text TEXT NOT NULL, name TEXT NOT NULL,
    UNIQUE (kind, key)
);
CREATE TABLE entries (
    id INTEGER PRIMARY KEY, created INTEGER NOT NULL,
    principle INTEGER, model INTEGER NOT NULL, template INTEGER NOT NULL, failure INTEGER,
    judged INTEGER NOT NULL, material INTEGER NOT NULL, responses INTEGER, winner INTEGER,
    low REAL, mean REAL, spread REAL, agreement REAL, passes REAL, jurors REAL, tension REAL,
    calls INTEGER, tokens_read INTEGER, tokens_written INTEGER, cost REAL
);
CREATE INDEX entries_principle ON entries (principle, id);
CREATE INDEX entries_model ON entries (model, id);
CREATE INDEX entries_material ON entries (material);
CREATE INDEX entries_low ON entries (low, id);
CREATE INDEX entries_spread ON entries (spread, id) WHERE spread > 0;
CREATE INDEX entries_agreement ON entries (agreement, id) WHERE agreement IS NOT NULL;
CREATE INDEX entries_passes ON entries (passes, id) WHERE passes > 0;
CREATE INDEX entries_jurors ON entries (jurors, id) WHERE jurors > 0;
CREATE INDEX entries_failure ON entries (failure, id) WHERE failure IS NOT NULL;
CREATE INDEX entries_tension ON entries (tension, id);
CREATE TABLE shown (
    id INTEGER PRIMARY KEY, record_id TEXT NOT NULL, case_id TEXT NOT NULL, title TEXT NOT NULL, scores TEXT NOT NULL
);
CREATE INDEX shown_record ON shown (record_id);
CREATE TABLE criteria (
    criterion INTEGER NOT NULL, id INTEGER NOT NULL, low REAL NOT NULL, PRIMARY KEY (criterion, id)
) WITHOUT ROWID;
CREATE TABLE labelled (id INTEGER PRIMARY KEY, gap REAL NOT NULL, people INTEGER NOT NULL);
CREATE TABLE decided (
    judged INTEGER NOT NULL, person TEXT NOT NULL, criterion TEXT NOT NULL, PRIMARY KEY (judged, person, criterion)
) WITHOUT ROWID;
CREATE VIRTUAL TABLE texts USING fts5 (words, content = '', tokenize = 'unicode61 remove_diacritics 2');
"""

_ENTRY = (
    "INSERT INTO entries (id, created, principle, model, template, failure, judged, material, responses, winner, low,"
    " mean, spread, agreement, passes, jurors, tension, calls, tokens_read, tokens_written, cost)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class Index:
    """The index's file. One thread writes; any number read.

    Args:
        path: The file, created if it does not exist, and rebuilt if it is of another version or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = self._opened()
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"The viewer's index {path} cannot be used ({error}).", hint="Delete it.") from error
        self._names: dict[tuple[str, str], int] = {
            (kind, key): number for number, kind, key in self._writer.execute("SELECT id, kind, key FROM names")
        }

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection of this thread, for reading."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect("?mode=ro")
            self._local.connection = connection
            with self._lock:
                self._readers.append(connection)
        yield connection

    def source(self, path: Path, identity: str) -> tuple[int, list[Span]]:
        """The number of a source, and the positions of it that are indexed, newest first.

        A file that was replaced by another gets a new number, and what was indexed of the old one is removed.

        Args:
            path: The source's file.
            identity: Distinguishes it from another file at the same path.
        """
        find = "SELECT number, identity, spans FROM sources WHERE path = ?"
        row = self._writer.execute(find, (str(path),)).fetchone()
        if row and row[1] == identity:
            return row[0], _spans(row[2])
        with self._write() as connection:
            if row and not row[1]:  # it was empty
                connection.execute("UPDATE sources SET identity = ? WHERE number = ?", (identity, row[0]))
                return row[0], _spans(row[2])
            if row:
                self._forget(connection, row[0])
            (number,) = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM sources").fetchone()
            connection.execute("INSERT INTO sources VALUES (?, ?, ?, '[]')", (number, str(path), identity))
            return number, []

    def add(
        self,
        number: int,
        rows: Sequence[tuple[int, Facts]],
        was: Sequence[Span],
        now: Sequence[Span],
        labels: Mapping[int, Sequence[Label]],
    ) -> bool:
        """Add entries in one transaction.

        Args:
            number: The source's number.
            rows: Position and facts, in ascending order.
            was: The positions that were indexed so far, newest first.
            now: Those that are from now on.
            labels: The labels of each case that has any, as in `Facts.judged`.

        Returns:
            Whether they were added. If not, another process has added to the index since.
        """
        base = number << BITS
        with self._write() as connection:
            state = connection.execute("SELECT spans FROM sources WHERE number = ?", (number,)).fetchone()
            if _spans(state[0]) != list(was):
                return False
            entries = [self._entry(connection, base + position, facts) for position, facts in rows]
            connection.executemany(_ENTRY, entries)
            connection.executemany(
                "INSERT INTO shown VALUES (?, ?, ?, ?, ?)",
                [
                    (base + position, facts.record_id, _encodable(facts.case_id), facts.title, scores_json(facts))
                    for position, facts in rows
                ],
            )
            connection.executemany(
                "INSERT INTO texts (rowid, words) VALUES (?, ?)",
                [(base + position, _encodable(facts.words)) for position, facts in rows],
            )
            connection.executemany(
                "INSERT INTO criteria VALUES (?, ?, ?)",
                [
                    (self._name(connection, "criterion", name, name), base + position, low)
                    for position, facts in rows
                    for name, low in facts.criteria.items()
                ],
            )
            label_entries(connection, ((base + position, facts) for position, facts in rows), labels)
            _compare_judges(connection, {(facts.material, facts.judged) for _, facts in rows if not facts.failure})
            connection.execute("UPDATE sources SET spans = ? WHERE number = ?", (json.dumps(list(now)), number))
        return True

    def set_labels(self, cases: Mapping[int, Sequence[Label]], *, all_cases: bool = False) -> None:
        """Record the labels of cases in place of those that are recorded of them.

        Args:
            cases: The labels of each case, as in `Facts.judged`; skipped ones included.
            all_cases: Whether no other case has labels.
        """
        with self._write() as connection:
            if all_cases:
                connection.execute("DELETE FROM labelled")
                connection.execute("DELETE FROM decided")
            for judged, labels in cases.items():
                label_case(connection, judged, labels)

    def close(self) -> None:
        """Close the file."""
        self._closed = True
        with self._lock:
            for connection in [self._writer, *self._readers]:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        connection = self._writer
        with self._lock:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                    self._names = {
                        (kind, key): number
                        for number, kind, key in connection.execute("SELECT id, kind, key FROM names")
                    }

    def _entry(self, connection: sqlite3.Connection, number: int, facts: Facts) -> tuple[Any, ...]:
        text, name = facts.principle
        return (
            number,
            facts.created,
            self._name(connection, "principle", text, name) if text else None,
            self._name(connection, "model", facts.model, facts.model),
            self._name(connection, "template", facts.template, facts.template[:12]),
            self._name(connection, "failure", facts.failure, facts.failure) if facts.failure else None,
            facts.judged,
            facts.material,
            len(facts.scores),
            facts.winner,
            facts.low,
            facts.mean,
            facts.spread,
            facts.agreement,
            facts.passes,
            facts.jurors,
            facts.tension,
            facts.calls,
            facts.tokens_read,
            facts.tokens_written,
            facts.cost,
        )

    def _name(self, connection: sqlite3.Connection, kind: str, text: str, name: str) -> int:
        key = name_key(kind, text)
        if (kind, key) not in self._names:
            row = (kind, key, _encodable(text), _encodable(name))
            connection.execute("INSERT OR IGNORE INTO names (kind, key, text, name) VALUES (?, ?, ?, ?)", row)
            find = "SELECT id FROM names WHERE kind = ? AND key = ?"
            (self._names[kind, key],) = connection.execute(find, (kind, key)).fetchone()
        return self._names[kind, key]

    def _forget(self, connection: sqlite3.Connection, number: int) -> None:
        span = number << BITS, (number + 1) << BITS
        for table in ("entries", "shown", "criteria", "labelled"):
            connection.execute(f"DELETE FROM {table} WHERE id BETWEEN ? AND ?", span)  # noqa: S608
        # The words stay, under ids that no entry has; SQLite can only remove them since version 3.43.
        connection.execute("UPDATE sources SET path = '' WHERE number = ?", (number,))

    def _opened(self) -> sqlite3.Connection:
        for _ in range(2):
            try:
                connection = self._connect("")
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version == VERSION:
                    return connection
                if version == 0 and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
                    connection.executescript(f"BEGIN; {_SCHEMA}; PRAGMA user_version = {VERSION}; COMMIT;")
                    return connection
                connection.close()
            except sqlite3.DatabaseError:
                if not self.path.exists():
                    raise
            for suffix in ("", "-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        raise sqlite3.DatabaseError("it cannot be created")

    def _connect(self, options: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path.absolute().as_uri() + options, uri=True, timeout=30, isolation_level=None, check_same_thread=False
        )
        if not options:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")  # the index can be rebuilt
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA mmap_size = 1073741824")
        return connection


def name_key(kind: str, text: str) -> str:
    """The key in URLs: of a model, criterion or error its name; of principles and judging prompts a hash of the text.

    Args:
        kind: ``principle``, ``model``, ``template``, ``criterion`` or ``failure``.
        text: The text or name. One that cannot be printed is hashed too.
    """
    if kind in ("principle", "template") or not text.isprintable():
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return text


def _spans(text: str) -> list[Span]:
    return [(first, last) for first, last in json.loads(text)]


def _encodable(text: str) -> str:
    """The text for SQLite, with escapes in place of lone surrogates."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _compare_judges(connection: sqlite3.Connection, cases: Iterable[tuple[int, int]]) -> None:
    """Set how far several judges of a case, such as the jurors of a jury, are apart; each juror has its own record."""
    for material, judged in cases:
        rows = connection.execute(
            "SELECT e.id, e.model, s.scores FROM entries e JOIN shown s ON s.id = e.id"
            " WHERE e.material = ? AND e.judged = ? AND e.failure IS NULL ORDER BY e.id DESC LIMIT ?",
            (material, judged, _MAX_JUDGES),
        ).fetchall()
        by_model = {model: json.loads(scores) for _, model, scores in reversed(rows)}
        if len(by_model) < 2:
            continue
        by_response: dict[int, list[float]] = {}
        for scores in by_model.values():
            for _, score, response in scores:
                by_response.setdefault(response, []).append(score)
        apart = max(max(scores) - min(scores) for scores in by_response.values())
        connection.executemany(
            "UPDATE entries SET jurors = max(jurors, ?), tension = max(tension, ?) WHERE id = ?",
            [(apart, apart / 2, row[0]) for row in rows],
        )
