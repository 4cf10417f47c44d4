"""How many cases a server has accepted, and when it takes no more."""

from __future__ import annotations

from rewardanything_core.server.refusals import Refusal

_WEIGHT_OF_LATEST = 0.1


class Admission:
    """Counts the cases accepted and not yet judged; used on one event loop only.

    Args:
        most: How many there may be.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.pending = 0
        self._typical = 1.0

    def check(self, count: int = 1) -> None:
        """Raise the refusal with which ``count`` more cases would be met now, if they would."""
        if self.pending + count > self.most:
            raise Refusal(
                429,
                "overloaded",
                f"{self.pending:,} cases are waiting or being judged, and this server takes {self.most:,} at a time.",
                hint="Ask again after the seconds in Retry-After.",
                retry_after=min(60.0, self._typical),
            )

    def enter(self, count: int = 1) -> None:
        """Accept cases.

        Raises:
            Refusal: there would be too many.
        """
        self.check(count)
        self.pending += count

    def leave(self) -> None:
        """One case is done, or given up."""
        self.pending -= 1

    def took(self, seconds: float) -> None:
        """Learn how long a case typically takes, which is when a place will be free again."""
        self._typical += _WEIGHT_OF_LATEST * (seconds - self._typical)
