"""The process of a server: its socket, loading the judge, signals, and a graceful shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import cast

import uvicorn

from rewardanything_core.errors import ConfigError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.server.connections import ConnectionLimiter, backlog
from rewardanything_core.server.log_limits import limit_logs
from rewardanything_core.server.middleware import AuthMiddleware

_log = logging.getLogger("rewardanything_core.server")

_GRACE_SECONDS = 5.0
"""Time to send the answers to abandoned requests before their connections are closed."""

_SHORT_GRACE_SECONDS = 1.0
"""The same after a second signal."""


class Server(uvicorn.Server):
    """A uvicorn server with limits on connections and a bounded shutdown, which exits with code 0 after a signal.

    Args:
        app: The application.
    """

    def __init__(self, app: AuthMiddleware) -> None:
        self._service = app.service
        self._connections = ConnectionLimiter(app.service.limits)
        self._stop_now = asyncio.Event()
        super().__init__(
            uvicorn.Config(
                app,
                http=cast(type[asyncio.Protocol], self._connections.protocol),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="off",
                backlog=backlog(),
                # Only in case that a request neither ends nor reacts to being cancelled.
                timeout_graceful_shutdown=int(app.service.limits.drain_seconds + 2 * _GRACE_SECONDS),
            )
        )

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop gracefully at the first signal and at once at the second.

        Unlike uvicorn's own method, it does not record the signal, which would be raised again at the end.

        Args:
            sig: The signal.
            frame: The interrupted frame.
        """
        if self.should_exit:
            self._stop_now.set()
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, finish requests in flight, and abandon them at the time limit.

        Args:
            sockets: The listening sockets.
        """
        self._service.draining = True
        _log.info("Stopping: %d cases are in flight", self._service.admission.pending)
        deadline = asyncio.create_task(self._enforce_drain_limit())
        await super().shutdown(sockets)
        deadline.cancel()
        _log.info("Stopped")

    async def _enforce_drain_limit(self) -> None:
        """After the time limit or a second signal, answer what is in flight with 503 and then close connections."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop_now.wait(), self._service.limits.drain_seconds)
        self._service.stop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop_now.wait(), _GRACE_SECONDS - _SHORT_GRACE_SECONDS)
        await asyncio.sleep(_SHORT_GRACE_SECONDS)
        self._connections.abort_all()


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Args:
        host: The address or name to listen on.
        port: The port, 0..65535; 0 picks a free one.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = addresses[0]
        # asyncio disables Nagle's algorithm, which delays answers by 40 ms, only for sockets declared as TCP.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
        try:
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(backlog())
        except BaseException:
            listener.close()
            raise
        return listener
    except (OSError, OverflowError) as error:
        raise ConfigError(f"Cannot listen on {host}, port {port}: {error}.") from error


def serve(app: AuthMiddleware, listener: socket.socket, load: Callable[[], BaseJudge]) -> None:
    """Accept connections, load the judge in the background, and serve until a signal arrives.

    Args:
        app: The application.
        listener: The listening socket.
        load: Loads the judge; called in a thread.

    Raises:
        Exception: any exception that ``load`` raised.
    """
    limit_logs()
    server = Server(app)
    errors: list[BaseException] = []

    def load_judge() -> None:
        try:
            app.service.judge = load()
            _log.info("Ready: %s", app.service.judge.model)
        except BaseException as error:  # noqa: BLE001  # it is raised below
            errors.append(error)
            server.should_exit = True

    loader = threading.Thread(target=load_judge, name="load-judge", daemon=True)
    loader.start()
    server.run(sockets=[listener])
    if errors:
        raise errors[0]
    if loader.is_alive():  # a download or a library is still at work, and the interpreter could not exit cleanly
        sys.stderr.flush()
        os._exit(0)
    if app.service.judge is not None:
        app.service.judge.close()
