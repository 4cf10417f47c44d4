"""The process of the viewer: its socket, its link, and its end."""

from __future__ import annotations

import socket
from collections.abc import Callable
from types import FrameType

import uvicorn

from rewardanything_core.server.running import listen
from rewardanything_core.viewer.access import Access
from rewardanything_core.viewer.app import create_app
from rewardanything_core.viewer.viewer import Viewer

HOST = "127.0.0.1"
"""The only address that is listened on."""


class _Server(uvicorn.Server):
    """A uvicorn server that ends at the first signal, and whose process then exits with code 0."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.should_exit = True


def serve(viewer: Viewer, port: int, announce: Callable[[str], None]) -> None:
    """Show a viewer until a signal arrives.

    Args:
        viewer: The viewer.
        port: The port to listen on, 0..65535; 0 picks a free one.
        announce: Called with each link that opens the page; the first one when the server listens.

    Raises:
        ConfigError: the port cannot be listened on.
    """
    listener = listen(HOST, port)
    application, server = application_of(viewer, listener, announce)
    application.new_link()
    server.run(sockets=[listener])


def application_of(
    viewer: Viewer, listener: socket.socket, announce: Callable[[str], None]
) -> tuple[Access, uvicorn.Server]:
    """The application with its access control, and a server for it.

    Args:
        viewer: The viewer.
        listener: The listening socket.
        announce: See `serve`.
    """
    application = Access(create_app(viewer), listener.getsockname()[1], announce)
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        lifespan="off",
        timeout_graceful_shutdown=1,  # pages that wait for events keep their connections open
    )
    return application, _Server(config)
