"""Work under way, shared by all who ask for the same thing at the same time; and what came of it, kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
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
