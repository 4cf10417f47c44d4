"""A small asynchronous memo: each key is computed once, and kept in memory and optionally in a persistent cache."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Protocol

from rewardanything_core.concurrency.single_flight import SingleFlight


class PersistentCache(Protocol):
    """A cache that outlives the process; its methods are called in threads."""

    def get(self, key: str) -> Mapping[str, float] | None:
        """The numbers stored under a key, or None."""

    def put(self, key: str, values: Mapping[str, float]) -> None:
        """Store numbers under a key.

        Args:
            key: Identifies the result.
            values: Name -> number.
        """


Compute = Callable[[], Coroutine[Any, Any, Mapping[str, float]]]


class AsyncMemo:
    """Numbers by key, each computed once. Used on one event loop only.

    Args:
        cache: Looked up before computing, and updated afterwards. None: results are kept in memory only.
        max_entries: Maximum number of results in memory; the least recently used one is dropped first.
    """

    def __init__(self, cache: PersistentCache | None = None, max_entries: int = 1024) -> None:
        self._cache, self._max_entries = cache, max_entries
        self._flights: SingleFlight[Mapping[str, float]] = SingleFlight()
        self._results: OrderedDict[str, Mapping[str, float]] = OrderedDict()

    async def get(self, key: str, compute: Compute) -> Mapping[str, float]:
        """The result for a key: from memory, from a computation in flight, from the cache, or computed now.

        Args:
            key: Identifies the result.
            compute: Makes the coroutine that computes it.
        """
        if key in self._results:
            self._results.move_to_end(key)
            return self._results[key]
        result = self._results[key] = await self._flights.join(key, partial(self._load_or_compute, key, compute))
        while len(self._results) > self._max_entries:
            self._results.popitem(last=False)
        return result

    async def _load_or_compute(self, key: str, compute: Compute) -> Mapping[str, float]:
        if self._cache is None:
            return await compute()
        result = await asyncio.to_thread(self._cache.get, key)
        if result is None:
            result = await compute()
            await asyncio.to_thread(self._cache.put, key, result)
        return result
