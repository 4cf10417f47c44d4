"""The limits of a server: per request, per connection, and for all requests together."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rewardanything_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a server. Every value is above 0.

    Raises:
        ConfigError: a value is not above 0, or a batch may be larger than the number of pending cases.
    """

    body_bytes: int = 16 * 2**20
    """Maximum size of a request body, in bytes."""

    bodies_bytes: int = 128 * 2**20
    """Maximum size of all request bodies in memory, in bytes, until they are parsed; at least ``body_bytes``. When it
    is reached, the body that has received no data for the longest time is dropped."""

    text_chars: int = 200_000
    """Maximum length of one text of a case (principle, part of a rubric, message, response, reference, context) or of a
    request with typed questions, in characters."""

    responses: int = 64
    """Maximum number of responses in a case."""

    criteria: int = 32
    """Maximum number of criteria in a rubric."""

    messages: int = 200
    """Maximum number of messages in a prompt, in a response that is a list of messages, and in an input of typed
    questions."""

    questions: int = 400
    """Maximum number of typed questions in a request."""

    answers: int = 4000
    """Maximum number of options and levels of all typed questions in a request."""

    batch: int = 1000
    """Maximum number of cases in a batch."""

    pending: int = 2000
    """Maximum number of cases and typed questions accepted and not yet answered, over all requests; beyond it the
    server answers 429."""

    window: int = 128
    """Maximum number of cases of one batch judged concurrently, so that a large batch leaves room for others."""

    connections: int = 2048
    """Maximum number of open connections. `connections.max_connections` lowers it to fit the process's descriptors."""

    seconds: float = 600.0
    """Maximum time that judging one case may take, in seconds."""

    header_seconds: float = 10.0
    """Maximum time from the first byte of a request, or from the connection, to the end of its headers, in seconds."""

    body_seconds: float = 30.0
    """Maximum time that a client may take to send a body, in seconds."""

    send_seconds: float = 60.0
    """Maximum time that a client may leave an answer unread, in seconds."""

    drain_seconds: float = 30.0
    """Maximum time that a stopping server spends on accepted requests, in seconds."""

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
        """Maximum number of requests being handled: one per pending case, and some for health checks and metrics."""
        return self.pending + 64
