"""Group commit: items from many coroutines are written in one transaction, outside the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from rewardanything_core.errors import StoreError

T = TypeVar("T")

GATHER_SECONDS = 0.01
"""How long to wait for more items when more are expected. Not swept; benchmarks/throughput_endpoint.py ran with it."""

MAX_GROUP = 1000
"""Maximum number of items in one transaction."""


class GroupWriter(Generic[T]):
    """Collects items while a write is in progress and then writes them together.

    Args:
        write: Writes several items, all or none; called in a thread. Writing an item again must change nothing.
    """

    def __init__(self, write: Callable[[Sequence[T]], None]) -> None:
        self._write = write
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def put(self, item: T, *, more_coming: bool = False) -> None:
        """Write an item and return once it is written.

        Args:
            item: The item.
            more_coming: Whether more are expected within a few milliseconds, so that waiting for them pays.

        Raises:
            StoreError: it was not written.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # first use, or after a fork: the waiting items belong to the parent process
            self._loop, self._waiting, self._writing = loop, [], None
        written = loop.create_future()
        self._waiting.append((item, written))
        if self._writing is None or self._writing.done():
            self._writing = loop.create_task(self._write_all(more_coming))
        await written

    async def _write_all(self, more_coming: bool) -> None:
        try:
            if more_coming and len(self._waiting) < MAX_GROUP:
                await asyncio.sleep(GATHER_SECONDS)
            while self._waiting:
                batch = self._waiting[:MAX_GROUP]
                errors = await self._write_in_thread(batch)
                del self._waiting[: len(batch)]
                for (_, written), error in zip(batch, errors, strict=True):
                    if written.done():  # its caller was cancelled
                        continue
                    if error is None:
                        written.set_result(None)
                    else:
                        written.set_exception(error)
        except asyncio.CancelledError:  # the process ends: the waiting verdicts have been paid for
            self._try_write(self._waiting)  # those of a write in progress too, since it may not have begun
            raise

    async def _write_in_thread(self, batch: Sequence[tuple[T, object]]) -> list[Exception | None]:
        try:
            return await asyncio.to_thread(self._try_write, batch)
        except RuntimeError:  # the interpreter is shutting down and starts no more threads
            return self._try_write(batch)

    def _try_write(self, batch: Sequence[tuple[T, object]]) -> list[Exception | None]:
        """Write a batch, item by item if one of them cannot be written; the error of each, or None."""
        if not batch:
            return []
        try:
            self._write([item for item, _ in batch])
        except StoreError as error:  # a fault of the file concerns all items
            return [error] * len(batch)
        except Exception as error:  # noqa: BLE001  it is raised where the item was put
            return [error] if len(batch) == 1 else [self._try_write([one])[0] for one in batch]
        return [None] * len(batch)
