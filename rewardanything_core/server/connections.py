"""Limits on connections, which uvicorn does not have: their number, slow headers, and answers that are not read.

`ConnectionLimiter.protocol` wraps uvicorn's HTTP protocol. Its data goes through unchanged; the wrapper only keeps
timers and closes connections.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from rewardanything_core.server.limits import Limits
from rewardanything_core.server.log_limits import RateLimit

_log = logging.getLogger("rewardanything_core.server")

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_MAX_BACKLOG = 256


def max_connections(limits: Limits) -> int:
    """How many connections to keep open: at most half of the file descriptors that the process may have.

    The other half is for the connections in the backlog, the judge's endpoint, its store and its libraries.

    Args:
        limits: The server's limits.
    """
    return max(1, min(limits.connections, _descriptors() // 2))


def backlog() -> int:
    """How many connections may wait to be accepted: at most a sixteenth of the process's file descriptors.

    asyncio accepts all of them at once. A connection is counted two iterations of the event loop later, and the one
    that it replaces is closed after a third, so up to five backlogs can be open beyond the limit.
    """
    return max(1, min(_MAX_BACKLOG, _descriptors() // 16))


def _descriptors() -> int:
    unlimited = 2**20
    try:
        import resource
    except ImportError:  # Windows
        return unlimited
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return unlimited if soft == resource.RLIM_INFINITY else soft


class ConnectionLimiter:
    """The open connections of a server. Used on one event loop only.

    Args:
        limits: The server's limits.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.max_connections = max_connections(limits)
        self._open: dict[LimitedConnection, None] = {}  # oldest first
        self._messages = RateLimit(burst=3)

    def protocol(self, *args: Any, **kwargs: Any) -> asyncio.Protocol:
        """The protocol for one connection.

        Args:
            *args: Arguments of uvicorn's protocol.
            **kwargs: Arguments of uvicorn's protocol.
        """
        return LimitedConnection(AutoHTTPProtocol(*args, **kwargs), self)

    def add(self, connection: LimitedConnection) -> bool:
        """Count a new connection; False if there is no room for it.

        When the limit is reached, the oldest connection without a request is closed, so connections that send nothing
        cannot keep others out.

        Args:
            connection: The connection.
        """
        if len(self._open) >= self.max_connections:
            self._warn("%d connections are open, which is the limit; the oldest idle one is closed for a new one")
            idle = next((other for other in self._open if not other.has_request), None)
            if idle is None:
                return False
            idle.abort()
        self._open[connection] = None
        return True

    def discard(self, connection: LimitedConnection) -> None:
        """Stop counting a connection.

        Args:
            connection: The connection.
        """
        self._open.pop(connection, None)

    def abort_all(self) -> None:
        """Close every connection without waiting for data to be sent."""
        for connection in list(self._open):
            connection.abort()

    def _warn(self, message: str) -> None:
        if self._messages.allow():
            _log.warning(message, self.max_connections)


class LimitedConnection(asyncio.Protocol):
    """One connection, with time limits.

    Args:
        inner: uvicorn's protocol for it.
        limiter: The connections that it is counted among.
    """

    def __init__(self, inner: Any, limiter: ConnectionLimiter) -> None:
        self._inner = inner
        self._limiter = limiter
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._accepted = False
        self._header_timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    @property
    def has_request(self) -> bool:
        """Whether the headers of a request have been received and its answer is not complete."""
        cycle = self._inner.cycle
        return cycle is not None and not cycle.response_complete

    def abort(self) -> None:
        """Close the connection without waiting for data to be sent."""
        self._limiter.discard(self)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the connection, or refuse it if there is no room."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class
        self._accepted = self._limiter.add(self)
        if not self._accepted:
            self._transport.write(_BUSY)
            self._transport.close()
            return
        self._inner.connection_made(transport)
        self._start_header_timer()

    def data_received(self, data: bytes) -> None:
        """Pass data on. Until it completes the headers of a request, the header timer runs."""
        if not self._accepted:
            return
        self._inner.data_received(data)
        if self.has_request:
            self._stop_header_timer()
        elif self._header_timer is None:
            self._start_header_timer()

    def eof_received(self) -> bool | None:
        """Pass the end of the client's data on."""
        result: bool | None = self._inner.eof_received() if self._accepted else None
        return result

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers and pass the end of the connection on."""
        self._limiter.discard(self)
        self._stop_header_timer()
        self._stop_send_timer()
        if self._accepted:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Start the send timer: the client is not reading its answer."""
        self._inner.pause_writing()
        self._send_timer = self._loop.call_later(self._limiter.limits.send_seconds, self.abort)

    def resume_writing(self) -> None:
        """Stop the send timer."""
        self._stop_send_timer()
        self._inner.resume_writing()

    def _start_header_timer(self) -> None:
        """Also bounds what follows an answer that was sent early, such as the rest of a body that is too long."""
        self._header_timer = self._loop.call_later(self._limiter.limits.header_seconds, self.abort)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
