"""The verdict store: cache, log and checkpoint in one SQLite file.

Several threads and processes may share a file. Writes are short transactions in WAL mode, so a process that is killed
at any moment leaves a consistent store. The file must be on a local disk: network file systems do not support WAL.
"""

from __future__ import annotations

import logging
import os
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rewardanything_core.cases import Case
from rewardanything_core.errors import StoreError
from rewardanything_core.store.database import Database
from rewardanything_core.store.group_writer import GroupWriter
from rewardanything_core.store.labels import Labels
from rewardanything_core.store.principle_cache import PrincipleCache
from rewardanything_core.store.records import (
    COLUMNS,
    INSERT,
    Entry,
    Record,
    StoredVerdict,
    from_row,
    record_id_of,
    stored_verdict,
    to_row,
)
from rewardanything_core.store.search import Kind, add_functions, filters
from rewardanything_core.types import JudgeFailure

__all__ = ["Entry", "Kind", "Record", "StoredVerdict", "VerdictStore", "default_path", "record_id_of"]

if TYPE_CHECKING:
    from rewardanything_core.store.batches import BatchRecords

_log = logging.getLogger("rewardanything_core")

_LOOKUP_CHUNK = 500
"""Keys in one query, fewer than the variables that any build of SQLite allows (999)."""

_PAGE = 100
"""Records that are read at a time while the log is iterated over."""


class VerdictStore:
    """Verdicts by key, and a log of verdicts and failures.

    Args:
        path: The file, created with its folders if it does not exist. None: `default_path`.
        writable: Whether the file must be writable. If not, a store that can only be read, as on a read-only mount, can
            be opened too.

    Raises:
        StoreError: from every method, if the file cannot be used; the message names the file and a remedy. A file that
            is not a verdict store is never modified.
    """

    def __init__(self, path: str | Path | None = None, *, writable: bool = True) -> None:
        self.path = Path(path).expanduser() if path is not None else default_path()
        self._database = Database(self.path, writable=writable)
        self._writer = GroupWriter(partial(_insert, self._database))
        self.must_be_readable = True
        """Whether a judge raises an error if the store cannot be read. A judge sets it to False once it has called a
        model: from then on an unreadable store costs calls, and no verdict that was paid for."""
        self._unsaved = 0
        self._warned_unreadable = False
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"VerdictStore({str(self.path)!r})"

    def get(self, key: str) -> StoredVerdict | None:
        """The verdict stored under a key, or None."""
        with self._database.read() as connection:
            row = connection.execute("SELECT record_id, labels, verdict FROM records WHERE key = ?", (key,)).fetchone()
        return stored_verdict(*row) if row else None

    def get_many(self, keys: Iterable[str]) -> dict[str, StoredVerdict]:
        """Key -> verdict, for those of the keys that have one; read in chunks of `_LOOKUP_CHUNK` keys."""
        found: dict[str, StoredVerdict] = {}
        for chunk in _chunks(keys, _LOOKUP_CHUNK):
            with self._database.read() as connection:
                rows = connection.execute(
                    f"SELECT key, record_id, labels, verdict FROM records WHERE key IN ({_marks(chunk)})",  # noqa: S608
                    chunk,
                ).fetchall()
            found.update((key, stored_verdict(*row)) for key, *row in rows)
        return found

    def put(self, entry: Entry) -> None:
        """Store a verdict. An existing one under the same key is kept instead."""
        self.put_many([entry])

    async def aput(self, entry: Entry, *, more_coming: bool = False) -> None:
        """`put`, awaited. Verdicts stored at about the same time share a transaction.

        Args:
            entry: The verdict.
            more_coming: Whether more are expected within a few milliseconds, so that waiting for them pays.
        """
        await self._writer.put(entry, more_coming=more_coming)

    def put_many(self, entries: Iterable[Entry]) -> None:
        """Store several verdicts in one transaction: all or none."""
        _insert(self._database, entries)

    def put_failure(
        self,
        case: Case,
        failure: JudgeFailure,
        *,
        model: str,
        template_hash: str,
        settings: Mapping[str, Any],
    ) -> str:
        """Log a failure and return its record's id. Failures have no key, so a lookup never finds them.

        Args:
            case: The case.
            failure: Why it has no verdict.
            model: The judge model's name.
            template_hash: Hash of the judging prompt's wording.
            settings: Everything else that affects verdicts, as plain JSON.
        """
        record_id = record_id_of(uuid.uuid4().hex)
        row = to_row(record_id, None, case, model, template_hash, settings, failure)
        with self._database.write() as connection:
            connection.execute(INSERT, row)
        return record_id

    def entries(
        self,
        *,
        principle: str | None = None,
        model: str | None = None,
        since: datetime | None = None,
        case_id: str | None = None,
        text: str | None = None,
        kind: Kind = "verdict",
        limit: int | None = None,
        newest_first: bool = True,
    ) -> Iterator[Record]:
        """Iterate over the log in the order of writing, in pages, without holding a lock between them.

        Args:
            principle: Part of the principle's text or name, ignoring case.
            model: Part of the judge model's name, ignoring case.
            since: Only records written at this time or later; local time if it has no time zone.
            case_id: The case's id, exactly.
            text: Part of the prompt, a response, reference, context, reasoning or error message, ignoring case.
            kind: Verdicts, failures or both.
            limit: Maximum number of records. None: all.
            newest_first: Whether to start with the newest record instead of the oldest.
        """
        where, values = filters(principle, model, since, case_id, text, kind)
        direction, beyond = ("DESC", "seq < ?") if newest_first else ("ASC", "seq > ?")
        last, left = (2**63 - 1 if newest_first else -1), limit
        while left is None or left > 0:
            page = _PAGE if left is None else min(_PAGE, left)
            with self._database.read() as connection:
                add_functions(connection)
                rows = connection.execute(
                    f"SELECT {COLUMNS} FROM records WHERE {beyond} AND {where}"  # noqa: S608
                    f" ORDER BY seq {direction} LIMIT ?",
                    (last, *values, page),
                ).fetchall()
            for seq, *row in rows:
                last = seq
                yield from_row(*row)
            if len(rows) < page:
                return
            left = None if left is None else left - page

    def count(
        self,
        *,
        principle: str | None = None,
        model: str | None = None,
        since: datetime | None = None,
        case_id: str | None = None,
        text: str | None = None,
        kind: Kind = "verdict",
    ) -> int:
        """The number of records that `entries` yields for the same filters.

        Args:
            principle: See `entries`, as for all others.
            model: Part of the judge model's name.
            since: Time of writing.
            case_id: The case's id.
            text: Part of a text.
            kind: Verdicts, failures or both.
        """
        where, values = filters(principle, model, since, case_id, text, kind)
        with self._database.read() as connection:
            add_functions(connection)
            (found,) = connection.execute(f"SELECT count(*) FROM records WHERE {where}", values).fetchone()  # noqa: S608
        return int(found)

    def find(self, record_id_prefix: str) -> Record:
        """The record whose id begins with a prefix.

        Raises:
            StoreError: there is none, or more than one; the message lists them.
        """
        prefix = record_id_prefix.strip().lower()
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM records WHERE substr(record_id, 1, ?) = ? ORDER BY seq DESC LIMIT 6",  # noqa: S608
                (len(prefix), prefix),
            ).fetchall()
        if not prefix or not rows:
            raise StoreError(
                f"No record in {self.path} has an id that begins with {record_id_prefix!r}.",
                hint="`ra-judge log` lists the ids.",
            )
        if len(rows) > 1:
            ids = ", ".join(row[1] for row in rows[:5]) + (", ..." if len(rows) > 5 else "")
            raise StoreError(
                f"Several records in {self.path} have an id that begins with {record_id_prefix!r}: {ids}.",
                hint="Give more characters of it.",
            )
        return from_row(*rows[0][1:])

    def last_position(self) -> int:
        """The position of the newest record, from 1; 0: there is none. Positions never change."""
        with self._database.read() as connection:
            (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM records").fetchone()
        return int(last)

    def records_between(self, first: int, last: int) -> list[tuple[int, Record | StoreError]]:
        """The records at these positions, in the order of writing; an error in place of one that cannot be read.

        Args:
            first: The first position.
            last: The last one.
        """
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM records WHERE seq BETWEEN ? AND ? ORDER BY seq",  # noqa: S608
                (first, last),
            ).fetchall()
        return [(seq, _record_or_error(row)) for seq, *row in rows]

    @property
    def labels(self) -> Labels:
        """People's labels in the same file."""
        return Labels(self._database)

    def principle_cache(self, namespace: str, *, write: bool = True) -> PrincipleCache:
        """A cache of a model's answers about principles and examples, shared by all processes that use this file.

        Args:
            namespace: Everything the answers depend on: the model and the wording of the questions.
            write: Whether new answers are stored.
        """
        return PrincipleCache(
            self._database,
            namespace,
            write=write,
            on_unreadable=self.report_unreadable,
            on_unsaved=self.report_unsaved,
        )

    def batches(self) -> BatchRecords:
        """The batches of requests that were sent to providers, in the same file."""
        from rewardanything_core.store.batches import BatchRecords

        return BatchRecords(self._database)

    def report_unsaved(self, error: StoreError) -> None:
        """Warn that a judgement was not stored. Later ones are counted, for `report_total`.

        Args:
            error: Why it was not.
        """
        with self._lock:
            self._unsaved += 1
            if self._unsaved > 1:
                return
        _log.warning(
            "A judgement could not be stored. It is returned, as are others that cannot be stored, but the same case"
            " would be judged again. %s",
            error,
        )

    def report_unreadable(self, error: StoreError) -> None:
        """Warn once that stored verdicts cannot be read, so that their cases are judged again.

        Args:
            error: Why they cannot be read.
        """
        with self._lock:
            warned, self._warned_unreadable = self._warned_unreadable, True
        if not warned:
            _log.warning("Stored verdicts cannot be read, so their cases are judged again. %s", error)

    def report_total(self) -> None:
        """Log how many judgements were not stored since the last call, if there was more than one."""
        with self._lock:
            unsaved, self._unsaved = self._unsaved, 0
        if unsaved > 1:
            _log.warning("%d judgements were not stored in %s.", unsaved, self.path)

    def close(self) -> None:
        """Close the file. Closing twice is allowed; any other use afterwards is a StoreError."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def default_path() -> Path:
    """``$RA_JUDGE_STORE``, else ``verdicts.sqlite3`` in ``$RA_JUDGE_HOME``, else in the user's cache folder."""
    if path := os.environ.get("RA_JUDGE_STORE"):
        return Path(path).expanduser()
    if home := os.environ.get("RA_JUDGE_HOME"):
        return Path(home).expanduser() / "verdicts.sqlite3"
    import platformdirs

    return Path(platformdirs.user_cache_dir("rewardanything")) / "verdicts.sqlite3"


def _record_or_error(row: Sequence[Any]) -> Record | StoreError:
    try:
        return from_row(*row)
    except StoreError as error:
        return error


def _insert(database: Database, entries: Iterable[Entry]) -> None:
    rows = [
        to_row(
            entry.record_id,
            entry.key,
            entry.case,
            entry.model,
            entry.template_hash,
            entry.settings,
            entry.verdict,
        )
        for entry in entries
    ]
    with database.write() as connection:
        connection.executemany(INSERT, rows)


def _chunks(items: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _marks(chunk: list[str]) -> str:
    return ",".join("?" * len(chunk))
