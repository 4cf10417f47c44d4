"""The process of a server: a socket, a judge being loaded, signals, and a graceful end."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn

from rewardanything_core.errors import ConfigError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.server.gate import Gate

_log = logging.getLogger("rewardanything_core.server")
_GRACE_SECONDS = 5
"""After time is up, for failures to be told to those who wait."""


class Server(uvicorn.Server):
    """A uvicorn server that tells the application when it stops, and leaves with a clean exit code.

    Args:
        gate: The application.
    """

    def __init__(self, gate: Gate) -> None:
        super().__init__(
            uvicorn.Config(
                gate,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                ws="none",
                lifespan="off",
                timeout_graceful_shutdown=int(gate.service.limits.drain_seconds) + _GRACE_SECONDS,
            )
        )
        self._gate = gate

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Stop; at once if asked a second time. Unlike uvicorn's own, it does not end in death by the signal."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, finish what is in flight, and cut it off when time is up."""
        service = self._gate.service
        service.draining = True
        _log.info("Stopping: %d cases are in flight", service.admission.pending)
        limit = asyncio.get_running_loop().call_later(service.limits.drain_seconds, service.cut_off)
        await super().shutdown(sockets)
        limit.cancel()
        _log.info("Stopped")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one.

    Raises:
        ConfigError: it cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
        # Said to be TCP, as asyncio turns off Nagle's algorithm, which costs 40 ms an answer, only for what says so.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
        try:
            if os.name == "posix":
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(2048)
        except BaseException:
            listener.close()
            raise
        return listener
    except (OSError, OverflowError) as error:
        raise ConfigError(f"Cannot listen on {host}, port {port}: {error}.") from error


def serve(gate: Gate, listener: socket.socket, load: Callable[[], BaseJudge]) -> None:
    """Listen at once, load the judge meanwhile, and serve until a signal says to stop.

    Raises:
        Exception: whatever ``load`` raised.
    """
    server = Server(gate)
    failed: list[BaseException] = []

    def loading() -> None:
        try:
            gate.service.judge = load()
            _log.info("Ready: %s", gate.service.judge.model)
        except BaseException as error:  # noqa: BLE001  # whatever it is, it is raised below
            failed.append(error)
            server.should_exit = True

    loader = threading.Thread(target=loading, name="loading", daemon=True)
    loader.start()
    server.run(sockets=[listener])
    if failed:
        raise failed[0]
    if loader.is_alive():  # a download or a library at work, which the interpreter could not leave cleanly
        sys.stderr.flush()
        os._exit(0)
    if gate.service.judge is not None:
        gate.service.judge.close()
