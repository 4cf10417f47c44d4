"""A judge's view of the verdict store: lookups, new records, and what happens where the store fails."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rewardanything_core.cases import Case
from rewardanything_core.concurrency.recent_keys import RecentKeys
from rewardanything_core.errors import StoreError
from rewardanything_core.options import CacheMode
from rewardanything_core.store.principle_cache import PrincipleCache
from rewardanything_core.store.records import Entry, StoredVerdict
from rewardanything_core.store.verdict_store import VerdictStore
from rewardanything_core.types import JudgeFailure, Verdict

_MAX_REMEMBERED_MISSES = 10_000
"""Number of misses after which they are all forgotten, so that memory is bounded; each then costs a second lookup."""


class VerdictCache:
    """Looks up and stores the verdicts of one judge.

    A store that cannot be read is an error until the judge has called its model, and a warning from then on, as is one
    that cannot be written: a verdict that was paid for is not lost.

    Args:
        store: The store or its file. None: the user's default store.
        mode: See `JudgeOptions.cache`.
        model: The judge model's name, for records.
    """

    def __init__(self, store: VerdictStore | str | Path | None, mode: CacheMode, model: str) -> None:
        self.source = store
        """The store, or its file until it is opened."""
        self._mode = mode
        self._model = model
        self._misses: dict[str, int] = {}
        self._stored = RecentKeys()

    @property
    def store(self) -> VerdictStore:
        """The verdict store, opened on first use.

        Raises:
            StoreError: it cannot be used.
        """
        if not isinstance(self.source, VerdictStore):
            self.source = VerdictStore(self.source, writable=self._mode != "read")
        return self.source

    def lookup(self, keys: Sequence[str]) -> dict[str, StoredVerdict]:
        """Key -> verdict, for those of the keys that have one. Which ones have none is remembered for `look_again`.

        Raises:
            StoreError: the store cannot be read, and the model was not called yet.
        """
        if self._mode == "off":
            return {}
        stored_count = self._stored.count  # before the lookup: what is stored meanwhile may have been missed
        found = self._read(keys)
        if len(self._misses) > _MAX_REMEMBERED_MISSES:
            self._misses.clear()
        self._misses.update((key, stored_count) for key in keys if key not in found)
        return found

    async def look_again(self, key: str) -> StoredVerdict | None:
        """The verdict, when its judgement is about to start.

        After `lookup` missed, the store is read again only if this judge may have stored the verdict since. Nothing is
        awaited after the last check, so the caller can start a judgement before another one can end unnoticed.

        Raises:
            StoreError: the store cannot be read, and the model was not called yet.
        """
        missed_at = self._misses.pop(key, None)
        if self._mode == "off":
            return None
        while missed_at is None or self._stored.may_have_added(key, missed_at):
            missed_at = self._stored.count  # before the lookup, as in `lookup`
            if found := await asyncio.to_thread(self._read, [key]):
                return found[key]
        return None

    def _read(self, keys: Sequence[str]) -> dict[str, StoredVerdict]:
        try:
            if len(keys) == 1:
                stored = self.store.get(keys[0])
                return {} if stored is None else {keys[0]: stored}
            return self.store.get_many(dict.fromkeys(keys))
        except StoreError as error:
            if self.store.must_be_readable:
                raise
            self.store.report_unreadable(error)
            return {}

    def model_was_called(self) -> None:
        """From now on an unreadable store costs calls, and no verdict."""
        if self._mode != "off":
            self.store.must_be_readable = False

    async def add(
        self, verdict: Verdict, case: Case, key: str, settings: Mapping[str, Any], *, more_coming: bool
    ) -> Verdict:
        """Store a verdict, and return it with the id of its record.

        Args:
            verdict: The verdict.
            case: Its case.
            key: Its key.
            settings: Everything else that the key covers; ``template`` is the hash of the judging prompt's wording.
            more_coming: See `VerdictStore.aput`.
        """
        if self._mode != "on":
            return verdict
        entry = Entry(key=key, case=case, verdict=verdict, **self._provenance(settings))

        async def put() -> str:
            await self.store.aput(entry, more_coming=more_coming)
            return entry.record_id

        verdict = dataclasses.replace(verdict, record_id=await self._id_if_written(put()))
        self._stored.add(key)
        return verdict

    async def add_failure(self, failure: JudgeFailure, case: Case, settings: Mapping[str, Any]) -> JudgeFailure:
        """Log a failure, and return it with the id of its record.

        Args:
            failure: The failure.
            case: Its case.
            settings: As for `add`.
        """
        if self._mode != "on":
            return failure
        put = partial(self.store.put_failure, case, failure, **self._provenance(settings))
        return dataclasses.replace(failure, record_id=await self._id_if_written(asyncio.to_thread(put)))

    async def _id_if_written(self, written: Awaitable[str]) -> str | None:
        """The id of the record. None: the store failed."""
        try:
            return await written
        except StoreError as error:
            self.store.report_unsaved(error)
            return None

    def _provenance(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        return {"model": self._model, "template_hash": settings["template"], "settings": settings}

    def of_principles(self, namespace: str) -> PrincipleCache | None:
        """Where the model's answers about principles are stored. None: they are not.

        Args:
            namespace: Everything that they depend on.
        """
        if self._mode == "off":
            return None
        return self.store.principle_cache(namespace, write=self._mode == "on")

    def close(self) -> None:
        """Report how many judgements were not stored. The store stays open, since others may use it."""
        if isinstance(self.source, VerdictStore):
            self.source.report_total()
