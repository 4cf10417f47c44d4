"""When to ask again: exponential backoff with full jitter, and what a server says in ``Retry-After``."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

LONGEST_WAIT = 120.0
"""Most seconds that a ``Retry-After`` is honoured for; a server that asks for an hour is asked again
sooner."""


@dataclass(kw_only=True)
class Backoff:
    """How long to wait before the next attempt."""

    base: float = 0.5
    """Upper bound of the first wait, in seconds; it doubles with every attempt."""

    cap: float = 30.0
    """Upper bound of any wait that the server did not ask for, in seconds."""

    rng: random.Random = field(default_factory=random.Random)
    """Private source of the jitter."""

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after attempt number ``attempt`` (from 0) failed.

        The wait is drawn from the whole interval up to the bound, so that requests which failed together do
        not come back together. A server's own ``retry_after`` is a lower bound, for the same reason with
        jitter on top.
        """
        jitter = self.rng.uniform(0, min(self.cap, self.base * 2**attempt))
        return jitter if retry_after is None else min(retry_after, LONGEST_WAIT) + min(jitter, 1.0)


def retry_after_seconds(value: str | None, *, now: datetime | None = None) -> float | None:
    """Read a ``Retry-After`` header, given in seconds or as an HTTP date.

    Returns:
        Seconds from now, 0 or more; None if there is no header or it says nothing readable.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
        except ValueError:
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = (when - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if seconds == seconds else None  # NaN is not equal to itself


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
