"""Batches of requests that providers process within hours, in the verdict store's file.

A batch is recorded before anything is sent, so that a process that is killed at any moment is continued by the next
one: what was sent is found again, and nothing is sent twice.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from rewardanything_core.backends.endpoint.batch_session import Recorded
from rewardanything_core.store.database import Database

TABLES = (
    """
    CREATE TABLE IF NOT EXISTS batches (
        id TEXT PRIMARY KEY,
        created TEXT NOT NULL,
        model TEXT NOT NULL,
        backend TEXT NOT NULL,
        requests INTEGER NOT NULL,
        state TEXT NOT NULL,
        remote_id TEXT,
        detail TEXT NOT NULL DEFAULT ''
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS batch_requests (
        request_id TEXT NOT NULL,
        batch_id TEXT NOT NULL,
        body TEXT,
        reply TEXT,
        error TEXT,
        PRIMARY KEY (request_id, batch_id)
    ) WITHOUT ROWID
    """,
)
"""Added to files without them when a batch is first used; older versions of this package ignore the tables."""

State: TypeAlias = Literal["prepared", "submitted", "fetched", "failed", "cancelled"]
"""``prepared``: recorded, and perhaps sent. ``submitted``: the provider has it. ``fetched``: its replies are recorded.
``failed``: the provider refused it. ``cancelled``: it was cancelled, and what was done before is recorded."""

UNDER_WAY = ("prepared", "submitted")

_LIVE = "live"
_COLUMNS = "id, created, model, backend, requests, state, remote_id, detail"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """A recorded batch."""

    id: str
    """Our id, which the provider has as metadata where it takes any."""

    created: datetime
    """When it was recorded, in UTC."""

    model: str
    """The model's name."""

    backend: Mapping[str, Any]
    """The spec of the backend, without its key."""

    requests: int
    """Number of requests."""

    state: State
    """How far it is."""

    remote_id: str | None
    """The provider's id. None: not known yet."""

    detail: str
    """What the provider last said about it."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a batch brought for one request."""

    request_id: str
    """The request."""

    reply: Mapping[str, Any] | None
    """The server's reply. None: there is none."""

    error: Mapping[str, Any] | None
    """``status`` and ``message``. None: there is a reply."""


class BatchRecords:
    """The batches in a verdict store's file.

    Args:
        database: The verdict store's file.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.path = database.path
        """The file."""
        with database.write() as connection:
            for table in TABLES:
                connection.execute(table)

    # --- requests

    def lookup(self, request_id: str) -> Recorded:
        """What is known of a request."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT reply, error, state FROM batch_requests LEFT JOIN batches ON id = batch_id"
                " WHERE request_id = ? ORDER BY created DESC",
                (request_id,),
            ).fetchall()
        replies = [reply for reply, _, _ in rows if reply is not None]
        if replies:
            return Recorded(reply=json.loads(replies[0]))
        errors = [error for _, error, _ in rows if error is not None]
        states = [state for _, _, state in rows]
        return Recorded(
            is_waiting=any(state in UNDER_WAY for state in states),
            failures=sum(state not in (*UNDER_WAY, "cancelled") for state in states),
            error=json.loads(errors[0]) if errors else None,
        )

    def record_live(self, request_id: str, reply: Mapping[str, Any]) -> None:
        """Record the reply to a request that was sent at once.

        Args:
            request_id: The request's id.
            reply: The server's reply.
        """
        with self._database.write() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO batch_requests VALUES (?, ?, NULL, ?, NULL)",
                (request_id, _LIVE, json.dumps(reply)),
            )

    # --- batches

    def prepare(self, model: str, backend: Mapping[str, Any], bodies: Mapping[str, Mapping[str, Any]]) -> Batch:
        """Record a batch before it is sent.

        Args:
            model: The model's name.
            backend: The spec of the backend.
            bodies: Request id -> body. Requests that another process has sent or got meanwhile are left out.
        """
        batch_id = f"ra-{uuid.uuid4().hex[:16]}"
        with self._database.write() as connection:
            settled = {
                row[0]
                for row in connection.execute(
                    "SELECT request_id FROM batch_requests LEFT JOIN batches ON id = batch_id"
                    " WHERE reply IS NOT NULL OR state IN (?, ?)",
                    UNDER_WAY,
                )
            }
            left = {request_id: body for request_id, body in bodies.items() if request_id not in settled}
            created = datetime.now(UTC).isoformat(timespec="microseconds")
            connection.execute(
                f"INSERT INTO batches ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, NULL, '')",  # noqa: S608
                (batch_id, created, model, json.dumps(dict(backend)), len(left), "prepared" if left else "fetched"),
            )
            connection.executemany(
                "INSERT INTO batch_requests VALUES (?, ?, ?, NULL, NULL)",
                [(request_id, batch_id, json.dumps(body)) for request_id, body in left.items()],
            )
        return self.get(batch_id)

    def get(self, batch_id: str) -> Batch:
        """A batch by its id.

        Raises:
            KeyError: there is none.
        """
        found = [batch for batch in self.all() if batch.id == batch_id]
        if not found:
            raise KeyError(batch_id)
        return found[0]

    def all(self) -> list[Batch]:
        """All batches, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM batches ORDER BY created").fetchall()  # noqa: S608
        return [
            Batch(
                id=batch_id,
                created=datetime.fromisoformat(created),
                model=model,
                backend=json.loads(backend),
                requests=requests,
                state=state,
                remote_id=remote_id,
                detail=detail,
            )
            for batch_id, created, model, backend, requests, state, remote_id, detail in rows
        ]

    def bodies(self, batch: Batch) -> dict[str, Any]:
        """Request id -> body, for all requests of a batch that has not been fetched."""
        with self._database.read() as connection:
            rows = connection.execute(
                "SELECT request_id, body FROM batch_requests WHERE batch_id = ? ORDER BY request_id", (batch.id,)
            ).fetchall()
        return {request_id: json.loads(body) for request_id, body in rows if body is not None}

    def known_remote_ids(self) -> set[str]:
        """The providers' ids of all batches."""
        return {batch.remote_id for batch in self.all() if batch.remote_id is not None}

    def set_submitted(self, batch: Batch, remote_id: str) -> None:
        """Record that the provider has a batch.

        Args:
            batch: The batch.
            remote_id: The provider's id of it.
        """
        self._update(batch, "submitted", remote_id, "submitted")

    def set_prepared(self, batch: Batch) -> None:
        """Record that the provider's batch turned out to be another one, so that this one has to be sent."""
        self._update(batch, "prepared", None, "")

    def set_detail(self, batch: Batch, detail: str) -> None:
        """Record what the provider says about a batch that is under way.

        Args:
            batch: The batch.
            detail: The provider's description of its state.
        """
        self._update(batch, batch.state, batch.remote_id, detail)

    def finish(self, batch: Batch, state: State, results: Iterable[Result], detail: str) -> tuple[int, int]:
        """Record what a batch brought, and that it is done, in one transaction.

        Of several results for one request a reply counts more than an error, and the first more than others.

        Args:
            batch: The batch.
            state: How it ended.
            results: Its results, in any order. Those for requests that are not the batch's are ignored.
            detail: What the provider says.

        Returns:
            The number of requests with a reply, and of results for requests that it does not have.
        """
        foreign = 0
        with self._database.write() as connection:
            for result in results:
                where = "WHERE request_id = ? AND batch_id = ?"
                key = (result.request_id, batch.id)
                if result.reply is not None:
                    changed = connection.execute(
                        f"UPDATE batch_requests SET reply = coalesce(reply, ?), error = NULL {where}",  # noqa: S608
                        (json.dumps(result.reply), *key),
                    )
                else:
                    changed = connection.execute(
                        f"UPDATE batch_requests SET error = coalesce(error, ?) {where}",  # noqa: S608
                        (json.dumps(result.error), *key),
                    )
                foreign += changed.rowcount == 0
            connection.execute("UPDATE batch_requests SET body = NULL WHERE batch_id = ?", (batch.id,))
            connection.execute("UPDATE batches SET state = ?, detail = ? WHERE id = ?", (state, detail, batch.id))
            (replies,) = connection.execute(
                "SELECT count(reply) FROM batch_requests WHERE batch_id = ?", (batch.id,)
            ).fetchone()
        return int(replies), foreign

    def _update(self, batch: Batch, state: State, remote_id: str | None, detail: str) -> None:
        with self._database.write() as connection:
            connection.execute(
                "UPDATE batches SET state = ?, remote_id = ?, detail = ? WHERE id = ?",
                (state, remote_id, detail, batch.id),
            )
