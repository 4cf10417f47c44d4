"""Work under way, shared by all who ask for the same thing at the same time; and what came of it, kept."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


class Flights(Generic[T]):
    """Runs one task for each key at a time; used on one event loop only."""

    def __init__(self) -> None:
        self._flying: dict[str, _Flight[T]] = {}

    def __len__(self) -> int:
        """How many tasks are under way."""
        return len(self._flying)

    async def join(self, key: str, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the task under way for ``key``, or of one started now.

        The task is cancelled when the last of those who wait for it is.
        """
        flight = self._flying.get(key)
        if flight is None or flight.abandoned:
            flight = self._flying[key] = _Flight(asyncio.ensure_future(start()))
            flight.task.add_done_callback(partial(self._land, key, flight))
        return await flight.wait()

    def _land(self, key: str, flight: _Flight[T], _: object) -> None:
        if self._flying.get(key) is flight:
            del self._flying[key]


class _Flight(Generic[T]):
    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self._waiting = 0

    @property
    def abandoned(self) -> bool:
        """Whether all who waited have left, so that it is being cancelled."""
        return self.task.cancelling() > 0

    async def wait(self) -> T:
        self._waiting += 1
        try:
            return await asyncio.shield(self.task)
        except asyncio.CancelledError:
            if self._waiting == 1:
                self.task.cancel()
            raise
        finally:
            self._waiting -= 1


class Shelf(Protocol):
    """Where findings outlast a process."""

    def get(self, key: str) -> Mapping[str, float] | None:
        """What is kept under a key, or None."""

    def put(self, key: str, found: Mapping[str, float]) -> None:
        """Keep it."""


class Remembered:
    """What was found out under a key, found out once. Used on one event loop only.

    Args:
        shelf: Where it is looked for first, and put. None: it is forgotten with the process.
        most: How many findings are held in memory; the one that was not asked for longest goes first.
    """

    def __init__(self, shelf: Shelf | None = None, most: int = 1024) -> None:
        self._shelf, self._most = shelf, most
        self._flights: Flights[Mapping[str, float]] = Flights()
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
