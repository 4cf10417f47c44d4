"""The event loop of the package: one per process, in a background thread.

Scripts, threads, coroutines on other event loops and notebooks all submit their work here, so that requests from
anywhere share the same queues, batches and connection pools.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class _LoopThread:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, name="rewardanything", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def stop(self) -> None:
        if self.pid != os.getpid() or not self.thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(_cancel_all(), self.loop)
        self.thread.join(timeout=5)


async def _cancel_all() -> None:
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    asyncio.get_running_loop().stop()


_current: _LoopThread | None = None
_lock = threading.Lock()


def submit(work: Coroutine[Any, Any, T]) -> Future[T]:
    """Start a coroutine on the background loop. Cancelling the future cancels the coroutine.

    Raises:
        RuntimeError: called from the background loop itself, where waiting for the result would never end.
    """
    global _current
    with _lock:
        if _current is None or _current.pid != os.getpid() or not _current.thread.is_alive():
            if _current is None:
                atexit.register(_stop)
            _current = _LoopThread()
        loop_thread = _current
    if threading.current_thread() is loop_thread.thread:
        work.close()
        raise RuntimeError("A judge was called from inside its own backend; that call could never return.")
    return asyncio.run_coroutine_threadsafe(work, loop_thread.loop)


def wait(future: Future[T]) -> T:
    """Wait for work on the background loop. An exception while waiting, such as Ctrl-C, cancels the work."""
    try:
        return future.result()
    finally:
        future.cancel()


async def gather(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines concurrently and return their results in order; if one fails, cancel the others."""
    items = list(work)
    if len(items) == 1:
        return [await items[0]]
    tasks = [asyncio.ensure_future(item) for item in items]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _stop() -> None:
    if _current is not None:
        _current.stop()


def _reset_after_fork() -> None:
    global _current, _lock
    _current, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
