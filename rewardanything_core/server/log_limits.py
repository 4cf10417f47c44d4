"""Rate limits for log records that any client can cause."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

LIMITED_LOGGERS = ("asyncio", "uvicorn.error")
"""Loggers that write a record for every malformed request or failed connection."""


class RateLimit:
    """Allows a number of events per period and counts the others.

    Args:
        burst: Number of events allowed in a period.
        period: Length of a period, in seconds.
        clock: Returns the time in seconds.
    """

    def __init__(self, burst: int = 20, period: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst
        self._period = period
        self._clock = clock
        self._started = clock()
        self._count = 0
        self._suppressed = 0

    def allow(self) -> bool:
        """Whether one more event is allowed now."""
        now = self._clock()
        if now - self._started >= self._period:
            self._started, self._count = now, 0
        self._count += 1
        if self._count > self._burst:
            self._suppressed += 1
            return False
        return True

    def take_suppressed(self) -> int:
        """The number of events suppressed since the last call."""
        count, self._suppressed = self._suppressed, 0
        return count


class RateLimitFilter(logging.Filter):
    """Limits the records of each place in the code separately; a later record has the number of those suppressed."""

    def __init__(self) -> None:
        super().__init__()
        self._limits: dict[tuple[str, int], RateLimit] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log a record."""
        limit = self._limits.setdefault((record.pathname, record.lineno), RateLimit())
        if not limit.allow():
            return False
        if suppressed := limit.take_suppressed():
            record.msg = f"{record.getMessage()} ({suppressed:,} similar messages were suppressed)"
            record.args = ()
        return True


def limit_logs() -> None:
    """Limit the records of `LIMITED_LOGGERS`, in a process that is only a server."""
    for name in LIMITED_LOGGERS:
        logging.getLogger(name).addFilter(RateLimitFilter())
