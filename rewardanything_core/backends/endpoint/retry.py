"""When to send again: exponential backoff with full jitter, the server's ``Retry-After``, and hedged requests."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

MAX_RETRY_AFTER = 120.0
"""Maximum ``Retry-After`` that is honoured, in seconds; a request is sent again sooner than a server that asks for an
hour wants."""


@dataclass(kw_only=True)
class Backoff:
    """How long to wait before the next attempt."""

    base: float = 0.5
    """Upper bound of the first wait, in seconds; it doubles with every attempt."""

    cap: float = 30.0
    """Upper bound of any wait that the server did not request, in seconds."""

    rng: random.Random = field(default_factory=random.Random)
    """Private source of the jitter."""

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """How long to wait after a failed attempt.

        The wait is drawn from the whole interval up to the bound, so that requests that failed together are not sent
        again together. A server's ``retry_after`` is a lower bound, with jitter added for the same reason.

        Args:
            attempt: Number of the failed attempt, from 0.
            retry_after: The wait that the server requested, in seconds. None: none.

        Returns:
            Seconds.
        """
        jitter = self.rng.uniform(0, min(self.cap, self.base * 2**attempt))
        return jitter if retry_after is None else min(retry_after, MAX_RETRY_AFTER) + min(jitter, 1.0)


def retry_after_seconds(value: str | None, *, now: datetime | None = None) -> float | None:
    """Parse a ``Retry-After`` header, in seconds or an HTTP date.

    Args:
        value: The header. None: there was none.
        now: The current time. None: the clock's.

    Returns:
        Seconds from now, 0 or more; None without a header, or if it is neither a number nor a date.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
            seconds = (when - (now or datetime.now(UTC))).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if seconds == seconds else None  # NaN is not equal to itself


Result = TypeVar("Result")


async def hedged(
    attempt: Callable[[], Awaitable[Result]],
    *,
    after: float,
    may_hedge: Callable[[], bool],
    succeeded: Callable[[Result], bool],
) -> tuple[Result, int]:
    """Make an attempt, and a second one in parallel if the first takes long.

    Args:
        attempt: Makes one attempt.
        after: Seconds before the second attempt.
        may_hedge: Whether the second attempt is allowed; called at most once, after that time.
        succeeded: Whether an outcome makes the other attempt unnecessary.

    Returns:
        The first successful outcome, otherwise the last one; and the number of attempts made. The attempt that is still
        running is cancelled and has ended when this returns.
    """
    running = {asyncio.ensure_future(attempt())}
    made = 1
    try:
        done, running = await asyncio.wait(running, timeout=after)
        if not done and may_hedge():
            running.add(asyncio.ensure_future(attempt()))
            made = 2
        while running:
            if any(succeeded(task.result()) for task in done):
                break
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        best = next((task for task in done if succeeded(task.result())), None) or done.pop()
        return best.result(), made
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
