"""How much a server takes on: of one request, of one client, of all of them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rewardanything_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a server. Each is above 0.

    Raises:
        ConfigError: one is not, or a batch may have more cases than may be pending.
    """

    body_bytes: int = 16 * 2**20
    """Longest request body, in bytes."""

    text_chars: int = 200_000
    """Longest single text of a case (principle, message, response, reference, context), in characters."""

    responses: int = 64
    """Most responses of one case."""

    messages: int = 200
    """Most messages of one prompt."""

    batch: int = 1000
    """Most cases of one batch."""

    pending: int = 2000
    """Most cases accepted and not yet judged, of all requests together; beyond it there is 429."""

    window: int = 128
    """Most cases of one batch that are with the judge at a time, so that a long batch leaves room for others."""

    seconds: float = 600.0
    """Longest that one case may be with the judge."""

    body_seconds: float = 30.0
    """Longest that a client may take to send its body."""

    drain_seconds: float = 30.0
    """Longest that a stopping server goes on with what it has accepted."""

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if not value > 0:
                raise ConfigError(f"The limit {name} must be above 0, not {value!r}.")
        if self.batch > self.pending:
            raise ConfigError(
                f"A batch may have {self.batch:,} cases, but only {self.pending:,} may be pending.",
                hint="Lower the limit of a batch or raise that of pending cases.",
            )

    @property
    def open_requests(self) -> int:
        """Most requests that are answered at a time, so that bodies alone cannot fill the memory."""
        return self.pending + 64
