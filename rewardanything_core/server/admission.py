"""Admission control: how many cases and typed questions a server accepts before it answers 429."""

from __future__ import annotations

from rewardanything_core.server.errors import APIError

_SMOOTHING = 0.1
"""Weight of the latest duration in the moving average."""


class Admission:
    """Counts the cases and typed questions that are accepted and not yet answered. Used on one event loop only.

    Args:
        max_pending: Maximum number of such cases, 1 or more.
    """

    def __init__(self, max_pending: int) -> None:
        self.max_pending = max_pending
        self.pending = 0
        self._average_seconds = 1.0

    def check(self, count: int = 1) -> None:
        """Check that ``count`` more cases would be accepted now.

        Raises:
            APIError: they would exceed the limit.
        """
        if self.pending + count > self.max_pending:
            raise APIError(
                429,
                "overloaded",
                f"{self.pending:,} cases are pending and this server accepts at most {self.max_pending:,}.",
                hint="Retry after the number of seconds in the Retry-After header.",
                retry_after=min(60.0, self._average_seconds),
            )

    def admit(self, count: int = 1) -> None:
        """Accept ``count`` cases; each must be released with `release`.

        Raises:
            APIError: they would exceed the limit.
        """
        self.check(count)
        self.pending += count

    def release(self, count: int = 1) -> None:
        """Release cases, judged or abandoned."""
        self.pending -= count

    def record_duration(self, seconds: float) -> None:
        """Update the average duration of a case, which is what ``Retry-After`` is based on."""
        self._average_seconds += _SMOOTHING * (seconds - self._average_seconds)
