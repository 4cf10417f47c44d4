"""Hedging: what takes long is asked a second time, and the first reply counts.

Dean and Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Outcome = TypeVar("Outcome")


async def hedged(
    attempt: Callable[[], Awaitable[Outcome]],
    *,
    after: float,
    may: Callable[[], bool],
    good: Callable[[Outcome], bool],
) -> tuple[Outcome, int]:
    """Attempt something, and once more beside it if that takes long.

    Args:
        attempt: Makes one attempt.
        after: Seconds before the second one.
        may: Whether there may be a second one; asked at most once, after that time.
        good: Whether an outcome makes the other attempt superfluous.

    Returns:
        The first good outcome, else the last one; and how many attempts were made. What is superfluous is cancelled,
        and has ended when this returns.
    """
    running = {asyncio.ensure_future(attempt())}
    made = 1
    try:
        done, running = await asyncio.wait(running, timeout=after)
        if not done and may():
            running.add(asyncio.ensure_future(attempt()))
            made = 2
        while running:
            if any(good(task.result()) for task in done):
                break
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        best = next((task for task in done if good(task.result())), None) or done.pop()
        return best.result(), made
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
