"""An SQLite file that threads share and forks survive, checked before it is touched. Readers never wait for writers."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rewardanything_core.errors import StoreError

APPLICATION_ID = 0x52415653  # "RAVS"
SCHEMA_VERSION = 1
BUSY_SECONDS = 30.0

SCHEMA = """
CREATE TABLE records (
    seq INTEGER PRIMARY KEY,
    record_id TEXT NOT NULL UNIQUE,
    key TEXT UNIQUE,
    created TEXT NOT NULL,
    case_id TEXT,
    model TEXT NOT NULL,
    template_hash TEXT NOT NULL,
    labels TEXT NOT NULL,
    "case" TEXT NOT NULL,
    settings TEXT NOT NULL,
    verdict TEXT,
    failure TEXT,
    CHECK ((verdict IS NULL) = (key IS NULL) AND (verdict IS NULL) <> (failure IS NULL))
)
"""

READINGS = "CREATE TABLE IF NOT EXISTS readings (key TEXT PRIMARY KEY, found TEXT NOT NULL) WITHOUT ROWID"
"""Added to a file that has none: a version that does not know of them leaves them alone."""


class _Side:
    """A connection, and the lock under which it is used."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.connection: sqlite3.Connection | None = None


class Database:
    """The store's file. Opened at construction; a file that is not ours is refused without being modified.

    Raises:
        StoreError: from every method, whatever SQLite or the file system object to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._writer, self._reader = _Side(), _Side()
        self._closed = False
        with self._explained():
            self._writer.connection = self._open()
            self._reader.connection = self._connect()
        _open_databases.add(self)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection that reads for a statement or two."""
        with self._held(self._reader) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Hold the connection that writes in a transaction: all of it is written, or on any error nothing."""
        with self._held(self._writer) as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def close(self) -> None:
        """Let go of the file. Closing twice is fine."""
        self._closed = True
        for side in (self._reader, self._writer):
            with side.lock, self._explained():
                if side.connection is not None:
                    side.connection.close()
                    side.connection = None

    @contextmanager
    def _held(self, side: _Side) -> Iterator[sqlite3.Connection]:
        with side.lock, self._explained():
            if self._closed:
                raise StoreError(f"The verdict store {self.path} has been closed.")
            if side.connection is None:  # in a child process
                side.connection = self._open()
            yield side.connection

    def __del__(self) -> None:
        if hasattr(self, "_reader"):
            self.close()

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._check_header()
        except OSError as error:
            raise StoreError(
                f"Cannot use {self.path} as a verdict store: {error.strerror or error}.",
                hint="Choose another path with --store, RA_JUDGE_STORE or VerdictStore(path).",
            ) from error
        connection = self._connect()
        try:
            self._set_up(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=32,
        )

    def _check_header(self) -> None:
        """Read the file's first bytes before SQLite sees it: a foreign file must not even be locked."""
        if self.path.is_dir():
            raise self._refused("it is a directory")
        try:
            with self.path.open("rb") as file:
                header = file.read(100)
        except FileNotFoundError:
            return
        if not header:
            return
        if len(header) < 100 or not header.startswith(b"SQLite format 3\0"):
            raise self._refused("it is not an SQLite database")
        if int.from_bytes(header[68:72]) != APPLICATION_ID:
            raise self._refused("it is the database of another application")
        self._check_version(int.from_bytes(header[60:64]))

    def _check_version(self, version: int) -> None:
        if version > SCHEMA_VERSION:
            raise StoreError(
                f"The verdict store {self.path} was written by a newer version of rewardanything-core"
                f" (schema {version}; this version reads {SCHEMA_VERSION}).",
                hint="Upgrade rewardanything-core, or choose another path for this version.",
            )

    def _refused(self, reason: str) -> StoreError:
        return StoreError(
            f"{self.path} is not a verdict store: {reason}. It was left as it is.",
            hint="Choose another path, or move that file away.",
        )

    def _set_up(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")  # of several processes that find no file, one creates
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        self._check_version(version)
        if version == 0:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            connection.execute(SCHEMA)
        connection.execute(READINGS)
        connection.execute("COMMIT")
        _into_wal(connection)
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("SELECT record_id, key, verdict, failure FROM records ORDER BY seq DESC LIMIT 1").fetchone()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explanation(error) from error

    def _explanation(self, error: sqlite3.Error) -> StoreError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreError(
                f"The verdict store {self.path} stayed locked by another process for {BUSY_SECONDS:.0f} s.",
                hint="Find the process that holds it, or choose another path.",
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return StoreError(
                f"The verdict store {self.path} is damaged ({error}).",
                hint="Move it and its -wal file away to begin anew; `sqlite3 FILE .recover` may save some.",
            )
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return StoreError(
                f"The verdict store {self.path} cannot be written ({error}).",
                hint="Its folder must be writable too; make it so, or choose another path.",
            )
        if code == sqlite3.SQLITE_FULL:
            return StoreError(f"No space is left for the verdict store {self.path}.", hint="Free some, or move it.")
        return StoreError(f"The verdict store {self.path} cannot be used: {error}.")


def _into_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging; a file keeps the mode. SQLite does not wait for locks here, so we do."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


# A connection must not be used, nor even closed, in a forked child, and a lock held by another thread at the
# moment of the fork would stay held there for ever. So no fork happens amid a statement; children open anew.
_open_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_held_while_forking: list[_Side] = []
_inherited: list[sqlite3.Connection] = []


def _before_fork() -> None:
    for database in list(_open_databases):
        for side in (database._writer, database._reader):
            side.lock.acquire()
            _held_while_forking.append(side)


def _after_fork_in_parent() -> None:
    while _held_while_forking:
        _held_while_forking.pop().lock.release()


def _after_fork_in_child() -> None:
    while _held_while_forking:
        side = _held_while_forking.pop()
        side.lock = threading.RLock()
        if side.connection is not None:
            _inherited.append(side.connection)
            side.connection = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
