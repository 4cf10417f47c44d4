"""De-duplication of concurrent work: callers with the same key share one task."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """Runs at most one task per key at a time. Used on one event loop only."""

    def __init__(self) -> None:
        self._in_flight: dict[str, _Flight[T]] = {}

    def __len__(self) -> int:
        """Number of tasks in flight."""
        return len(self._in_flight)

    async def join(self, key: str, start: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the task in flight for ``key``, or of a new one.

        The task is cancelled when its last waiter is.

        Args:
            key: Identifies the work.
            start: Makes the coroutine of a new task.
        """
        flight = self._in_flight.get(key)
        if flight is None or flight.abandoned:
            flight = self._in_flight[key] = _Flight(asyncio.ensure_future(start()))
            flight.task.add_done_callback(partial(self._remove, key, flight))
        return await flight.wait()

    def _remove(self, key: str, flight: _Flight[T], _: object) -> None:
        if self._in_flight.get(key) is flight:
            del self._in_flight[key]


class _Flight(Generic[T]):
    def __init__(self, task: asyncio.Task[T]) -> None:
        self.task = task
        self._waiting = 0

    @property
    def abandoned(self) -> bool:
        """Whether its last waiter was cancelled, so that the task is being cancelled too."""
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
