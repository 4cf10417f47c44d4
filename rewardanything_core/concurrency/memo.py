"""A small asynchronous memo: each key is computed once, in memory and optionally in a store."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Protocol

from rewardanything_core.concurrency.single_flight import SingleFlight


class Shelf(Protocol):
    """Where findings outlast a process."""

    def get(self, key: str) -> Mapping[str, float] | None:
        """What is kept under a key, or None."""

    def put(self, key: str, found: Mapping[str, float]) -> None:
        """Keep it."""


class AsyncMemo:
    """What was found out under a key, found out once. Used on one event loop only.

    Args:
        shelf: Where it is looked for first, and put. None: it is forgotten with the process.
        most: How many findings are held in memory; the one that was not asked for longest goes first.
    """

    def __init__(self, shelf: Shelf | None = None, most: int = 1024) -> None:
        self._shelf, self._most = shelf, most
        self._flights: SingleFlight[Mapping[str, float]] = SingleFlight()
        self._found: OrderedDict[str, Mapping[str, float]] = OrderedDict()

    async def get(self, key: str, find: Callable[[], Coroutine[Any, Any, Mapping[str, float]]]) -> Mapping[str, float]:
        """What was found under ``key`` before, or is being found now, or is found now."""
        if key in self._found:
            self._found.move_to_end(key)
            return self._found[key]
        found = self._found[key] = await self._flights.join(key, partial(self._recalled, key, find))
        while len(self._found) > self._most:
            self._found.popitem(last=False)
        return found

    async def _recalled(
        self, key: str, find: Callable[[], Coroutine[Any, Any, Mapping[str, float]]]
    ) -> Mapping[str, float]:
        if self._shelf is None:
            return await find()
        kept = await asyncio.to_thread(self._shelf.get, key)
        if kept is None:
            kept = await find()
            await asyncio.to_thread(self._shelf.put, key, kept)
        return kept
