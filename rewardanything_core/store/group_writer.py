"""Writing together: what many coroutines want stored goes into one transaction, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rewardanything_core.errors import StoreError

T = TypeVar("T")

GATHER_SECONDS = 0.01
"""How long to wait for more where more is known to be coming."""

MOST = 1000
"""Items in one transaction."""


class GroupWriter(Generic[T]):
    """Gathers items while a write is under way, and then writes them together.

    Args:
        write: Writes several items, all or none. It is called in a thread.
    """

    def __init__(self, write: Callable[[Sequence[T]], None]) -> None:
        self._write = write
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def put(self, item: T, *, more_coming: bool = False) -> None:
        """Write an item, and return when it is written.

        Args:
            item: What to write.
            more_coming: Whether others are likely to be put in the next few milliseconds.

        Raises:
            StoreError: it was not written.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # the first time, or after a fork: what waited belongs to the other process
            self._loop, self._waiting, self._writing = loop, [], None
        written = loop.create_future()
        self._waiting.append((item, written))
        if self._writing is None or self._writing.done():
            self._writing = loop.create_task(self._write_all(more_coming))
        await written

    async def _write_all(self, more_coming: bool) -> None:
        try:
            if more_coming and len(self._waiting) < MOST:
                await asyncio.sleep(GATHER_SECONDS)
            while self._waiting:
                batch, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                for (_, written), error in zip(batch, await asyncio.to_thread(self._tried, batch), strict=True):
                    if written.done():  # whoever waited was cancelled
                        continue
                    if error is None:
                        written.set_result(None)
                    else:
                        written.set_exception(error)
        except asyncio.CancelledError:  # the process ends: what is here has been paid for
            self._tried(self._waiting)
            raise

    def _tried(self, batch: Sequence[tuple[T, object]]) -> list[Exception | None]:
        """Write a batch; one item at a time where something is wrong with one of them."""
        try:
            self._write([item for item, _ in batch])
        except StoreError as error:  # the file's fault, and so everybody's
            return [error] * len(batch)
        except Exception as error:  # noqa: BLE001  it is raised where the item was put
            return [error] if len(batch) == 1 else [self._tried([one])[0] for one in batch]
        return [None] * len(batch)
