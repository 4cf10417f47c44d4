"""The verdict store: cache, log and place to resume from, in one SQLite file.

Several threads and processes may share a file. Writes are short transactions in WAL mode: a process killed at any
instant leaves a whole store behind. The file must lie on a local disk, as network file systems carry no WAL.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

from rewardanything_core.cases import Case
from rewardanything_core.errors import StoreError
from rewardanything_core.store.database import Database
from rewardanything_core.store.group_writer import GroupWriter
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
from rewardanything_core.types import JudgeFailure

__all__ = ["Entry", "Kind", "Record", "StoredVerdict", "VerdictStore", "default_path", "record_id_of"]

Kind: TypeAlias = Literal["verdict", "failure", "all"]
_LOOKUP_CHUNK = 500
_PAGE = 100


class VerdictStore:
    """Verdicts by key, and a log of them and of what failed.

    Args:
        path: The file; made with its folders if there is none. None: see `default_path`.

    Raises:
        StoreError: from every method, if the file cannot be used; it names the file and says what to do. A
            file that is not a verdict store is never modified.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = Path(path).expanduser() if path is not None else default_path()
        self._database = Database(self.path)
        self._writer = GroupWriter(partial(_insert, self._database))

    def __repr__(self) -> str:
        return f"VerdictStore({str(self.path)!r})"

    def get(self, key: str) -> StoredVerdict | None:
        """The verdict under a key, or None."""
        with self._database.read() as connection:
            row = connection.execute("SELECT record_id, labels, verdict FROM records WHERE key = ?", (key,)).fetchone()
        return stored_verdict(*row) if row else None

    def get_many(self, keys: Iterable[str]) -> dict[str, StoredVerdict]:
        """The verdicts there are under any of the keys."""
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
        """Keep a verdict. If there is one under its key, that one stays."""
        self.put_many([entry])

    async def aput(self, entry: Entry, *, more_coming: bool = False) -> None:
        """`put`, awaited; what is put at about the same time is written together.

        Args:
            entry: The verdict.
            more_coming: Whether others are likely to be put in the next few milliseconds.
        """
        await self._writer.put(entry, more_coming=more_coming)

    def put_many(self, entries: Iterable[Entry]) -> None:
        """Keep several verdicts in one transaction: all or none."""
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
        """Log a judgement that could not be made, and return its record's id. No `get` ever finds it."""
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
        """Iterate over the log in the order of writing, with nothing locked between records and few held.

        Args:
            principle: Part of the principle's text or name, in any case.
            model: Part of the judge model's name, in any case.
            since: Only what was written at this time or later; taken as local time if it has no time zone.
            case_id: The case's id, exactly.
            text: Part of the prompt, a response, the reference, the context, the reasoning or an error
                message, in any case.
            kind: Verdicts, failures or both.
            limit: At most so many.
            newest_first: False: oldest first.
        """
        where, values = _filters(principle, model, since, case_id, text, kind)
        direction, beyond = ("DESC", "seq < ?") if newest_first else ("ASC", "seq > ?")
        last, left = (2**63 - 1 if newest_first else -1), limit
        while left is None or left > 0:
            page = _PAGE if left is None else min(_PAGE, left)
            with self._database.read() as connection:
                _add_functions(connection)
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
        """How many records `entries` would yield for the same filters."""
        where, values = _filters(principle, model, since, case_id, text, kind)
        with self._database.read() as connection:
            _add_functions(connection)
            (found,) = connection.execute(f"SELECT count(*) FROM records WHERE {where}", values).fetchone()  # noqa: S608
        return int(found)

    def find(self, record_id_prefix: str) -> Record:
        """The one record whose id begins so.

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
                hint="Give more of it.",
            )
        return from_row(*rows[0][1:])

    def principle_cache(self, namespace: str, *, write: bool = True) -> PrincipleCache:
        """A cache of a model's answers about principles and examples, shared by all processes that use this file.

        Args:
            namespace: Everything the answers depend on: the model and the wording of the questions.
            write: Whether new answers are stored.
        """
        return PrincipleCache(self._database, namespace, write=write)

    def close(self) -> None:
        """Let go of the file. Closing twice is fine; any other use after it is a StoreError."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class PrincipleCache:
    """Numbers by name, kept in a store's file for one model and wording."""

    def __init__(self, database: Database, about: str, *, write: bool) -> None:
        self._database, self._about, self._write = database, about, write

    def get(self, key: str) -> dict[str, float] | None:
        """What is kept under a key, or None."""
        with self._database.read() as connection:
            row = connection.execute("SELECT found FROM readings WHERE key = ?", (self._digest(key),)).fetchone()
        return None if row is None else json.loads(row[0])

    def put(self, key: str, found: Mapping[str, float]) -> None:
        """Keep it; what is there stays."""
        if self._write:
            with self._database.write() as connection:
                row = (self._digest(key), json.dumps(dict(found)))
                connection.execute("INSERT OR IGNORE INTO readings VALUES (?, ?)", row)

    def _digest(self, key: str) -> str:
        return hashlib.sha256(f"{self._about}\n{key}".encode()).hexdigest()


def default_path() -> Path:
    """Where the store is if nothing is said.

    That is ``$RA_JUDGE_STORE``, else ``verdicts.sqlite3`` in ``$RA_JUDGE_HOME`` or the user's cache folder.
    """
    if given := os.environ.get("RA_JUDGE_STORE"):
        return Path(given).expanduser()
    if home := os.environ.get("RA_JUDGE_HOME"):
        return Path(home).expanduser() / "verdicts.sqlite3"
    import platformdirs

    return Path(platformdirs.user_cache_dir("rewardanything")) / "verdicts.sqlite3"


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


def _filters(
    principle: str | None,
    model: str | None,
    since: datetime | None,
    case_id: str | None,
    text: str | None,
    kind: Kind,
) -> tuple[str, list[str]]:
    of_kind = {"verdict": "verdict IS NOT NULL", "failure": "failure IS NOT NULL", "all": "1"}
    if kind not in of_kind:
        raise ValueError(f"kind must be one of {', '.join(of_kind)}, not {kind!r}")
    given: dict[str, str | None] = {
        'principle_says("case", ?)': principle and principle.casefold(),
        "contains(model, ?)": model and model.casefold(),
        "created >= ?": since.astimezone(UTC).isoformat(timespec="microseconds") if since else None,
        "case_id = ?": case_id,
        'texts_say("case", coalesce(verdict, failure), ?)': text and text.casefold(),
    }
    chosen = {condition: value for condition, value in given.items() if value is not None}
    return " AND ".join([of_kind[kind], *chosen]), list(chosen.values())


def _add_functions(connection: sqlite3.Connection) -> None:
    """Teach SQLite to search as Python does: in any script, whatever the case, past the escapes of JSON."""
    connection.create_function("contains", 2, lambda whole, part: part in whole.casefold(), deterministic=True)
    connection.create_function("principle_says", 2, _principle_says, deterministic=True)
    connection.create_function("texts_say", 3, _texts_say, deterministic=True)


def _principle_says(case: str, part: str) -> bool:
    principle = json.loads(case)["principle"]
    return part in principle["text"].casefold() or part in (principle["name"] or "").casefold()


def _texts_say(case: str, outcome: str, part: str) -> bool:
    case_content, content = json.loads(case), json.loads(outcome)
    prompt = case_content["prompt"]
    texts = [
        *([prompt] if isinstance(prompt, str) else [message["content"] for message in prompt]),
        *case_content["responses"].values(),
        case_content["reference"],
        case_content["context"],
        *(reply["reasoning"] for replies in content.get("replies") or () for reply in replies),
        content.get("reasoning"),  # of records written before replies were stored separately
        content.get("message"),
    ]
    return any(part in text.casefold() for text in texts if text)


def _chunks(items: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _marks(chunk: list[str]) -> str:
    return ",".join("?" * len(chunk))
