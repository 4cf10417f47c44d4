"""The store's SQLite file: shared by threads, safe across forks, verified before use. Readers do not wait."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rewardanything_core.errors import StoreError

_log = logging.getLogger("rewardanything_core")

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
"""Added to files without it; older versions of this package ignore the table."""

LAST_RECORD = "SELECT record_id, key, verdict, failure FROM records ORDER BY seq DESC LIMIT 1"

_UNWRITABLE = (
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,  # a full disk too, when SQLite creates the files next to the store
)


class _Guarded:
    """A connection and the lock that guards it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.connection: sqlite3.Connection | None = None


class Database:
    """The store's file, opened at construction. A file of another kind is refused without being modified.

    Args:
        path: The file.
        writable: Whether it must be writable. If not, a file that can only be read is opened for reading.

    Raises:
        StoreError: from every method, for any error of SQLite or the file system.
    """

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        self.path = path
        self._must_be_writable = writable
        self._read_only_options = ""
        self._waits_for_locks = True
        self._writer, self._reader = _Guarded(), _Guarded()
        self._closed = False
        with self._errors_explained():
            self._writer.connection = self._open()
            self._reader.connection = self._connect()
        _open_databases.add(self)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """The reading connection, locked for the duration of the block."""
        with self._held(self._reader) as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """The writing connection in a transaction: committed at the end of the block, rolled back on any error."""
        with self._held(self._writer) as connection:
            self._begin(connection)
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Begin a transaction. After one that timed out, the next ones do not wait while the lock lasts."""
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            if _code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                connection.execute("PRAGMA busy_timeout = 0")
                self._waits_for_locks = False
            raise
        if not self._waits_for_locks:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
            self._waits_for_locks = True

    def close(self) -> None:
        """Close the file. Closing twice is allowed."""
        self._closed = True
        for guarded in (self._reader, self._writer):
            with guarded.lock, self._errors_explained():
                if guarded.connection is not None:
                    guarded.connection.close()
                    guarded.connection = None

    @contextmanager
    def _held(self, guarded: _Guarded) -> Iterator[sqlite3.Connection]:
        with guarded.lock, self._errors_explained():
            if self._closed:
                raise StoreError(f"The verdict store {self.path} has been closed.")
            if guarded.connection is None:  # in a child process
                guarded.connection = self._open()
            yield guarded.connection

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
        self._read_only_options = ""
        connection = self._connect()
        try:
            self._set_up(connection)
        except BaseException as error:
            connection.close()
            if self._must_be_writable or not isinstance(error, sqlite3.Error) or _code(error) not in _UNWRITABLE:
                raise
            return self._open_for_reading()
        return connection

    def _open_for_reading(self) -> sqlite3.Connection:
        self._read_only_options = "?mode=ro"
        connection = self._connect()
        try:
            connection.execute(LAST_RECORD).fetchone()
        except sqlite3.OperationalError:
            # Reading the write-ahead log takes an index file, which cannot be created in a folder without write
            # permission. The store itself can be read without both.
            connection.close()
            self._read_only_options = "?mode=ro&immutable=1"
            connection = self._connect()
            connection.execute(LAST_RECORD).fetchone()
            log = self.path.with_name(self.path.name + "-wal")
            if log.exists() and log.stat().st_size:
                _log.warning("The newest verdicts of %s are in %s, which cannot be read here.", self.path, log.name)
        return connection

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path.absolute().as_uri() + self._read_only_options if self._read_only_options else self.path,
            uri=bool(self._read_only_options),
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=32,
        )

    def _check_header(self) -> None:
        """Read the file's header before SQLite opens it: a file of another application must not even be locked."""
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
            f"{self.path} is not a verdict store: {reason}. It was not modified.",
            hint="Choose another path, or move that file away.",
        )

    def _set_up(self, connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")  # one of several processes that start together creates it
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
        connection.execute(LAST_RECORD).fetchone()

    @contextmanager
    def _errors_explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explanation(error) from error

    def _explanation(self, error: sqlite3.Error) -> StoreError:
        code = _code(error)
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return StoreError(
                f"The verdict store {self.path} stayed locked by another process for {BUSY_SECONDS:.0f} s.",
                hint="Stop the process that holds the lock, or choose another path.",
            )
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return StoreError(
                f"The verdict store {self.path} is damaged ({error}).",
                hint="Move it and its -wal file away to start a new one; `sqlite3 FILE .recover` may save part.",
            )
        if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
            return StoreError(
                f"The verdict store {self.path} cannot be written ({error}).",
                hint="The file and its folder must be writable; change their permissions, choose another path, or only"
                " read it (cache='read').",
            )
        if code == sqlite3.SQLITE_FULL:
            return StoreError(f"No space is left for the verdict store {self.path}.", hint="Free some, or move it.")
        if code == sqlite3.SQLITE_IOERR:
            return StoreError(
                f"The verdict store {self.path} cannot be read or written ({error}).",
                hint="Check that its disk has space left and is not subject to a quota.",
            )
        return StoreError(f"The verdict store {self.path} cannot be used: {error}.")


def _code(error: sqlite3.Error) -> int:
    """The primary error code."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _into_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to write-ahead logging. SQLite does not wait for locks here, so this function does."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


# A connection must be neither used nor closed in a forked child, and a lock that another thread holds during the fork
# would stay locked in the child. Therefore a fork waits for running statements, and the child opens new connections.
_open_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_held_while_forking: list[_Guarded] = []
_inherited: list[sqlite3.Connection] = []


def _before_fork() -> None:
    for database in list(_open_databases):
        for guarded in (database._writer, database._reader):
            guarded.lock.acquire()
            _held_while_forking.append(guarded)


def _after_fork_in_parent() -> None:
    while _held_while_forking:
        _held_while_forking.pop().lock.release()


def _after_fork_in_child() -> None:
    while _held_while_forking:
        guarded = _held_while_forking.pop()
        guarded.lock = threading.RLock()
        if guarded.connection is not None:
            _inherited.append(guarded.connection)
            guarded.connection = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
