"""A model's answers about principles, kept in a verdict store's file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping

from rewardanything_core.errors import StoreError
from rewardanything_core.store.database import Database


class PrincipleCache:
    """A model's answers about principles, as numbers by name, in a verdict store's file.

    A file that cannot be used is not an error; it costs model calls.

    Args:
        database: The verdict store's file.
        namespace: The model and the wording of the questions, which the answers depend on.
        write: Whether new answers are stored.
        on_unreadable: Called with the error if answers cannot be read.
        on_unsaved: Called with the error if answers cannot be stored.
    """

    def __init__(
        self,
        database: Database,
        namespace: str,
        *,
        write: bool,
        on_unreadable: Callable[[StoreError], None],
        on_unsaved: Callable[[StoreError], None],
    ) -> None:
        self._database, self._namespace, self._write = database, namespace, write
        self._on_unreadable, self._on_unsaved = on_unreadable, on_unsaved

    def get(self, key: str) -> dict[str, float] | None:
        """The numbers stored under a key, or None."""
        try:
            with self._database.read() as connection:
                row = connection.execute("SELECT found FROM readings WHERE key = ?", (self._digest(key),)).fetchone()
        except StoreError as error:
            self._on_unreadable(error)
            return None
        return None if row is None else json.loads(row[0])

    def put(self, key: str, values: Mapping[str, float]) -> None:
        """Store numbers by name under a key, unless it has some already.

        Args:
            key: What was asked.
            values: Name -> number.
        """
        if not self._write:
            return
        row = (self._digest(key), json.dumps(dict(values)))
        try:
            with self._database.write() as connection:
                connection.execute("INSERT OR IGNORE INTO readings VALUES (?, ?)", row)
        except StoreError as error:
            self._on_unsaved(error)

    def _digest(self, key: str) -> str:
        return hashlib.sha256(f"{self._namespace}\n{key}".encode()).hexdigest()
