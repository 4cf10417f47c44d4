"""Streamed answers, and work that stops when the client disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rewardanything_core.server.errors import APIError, client_disconnected

T = TypeVar("T")


async def cancel_on_disconnect(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the client closes the connection.

    Args:
        receive: The request's channel; its body must have been read.
        work: The coroutine to run.

    Raises:
        APIError: the client closed the connection.
    """
    task, disconnected = asyncio.ensure_future(work), asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        await asyncio.wait({task, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise client_disconnected()
        return task.result()
    finally:
        task.cancel()
        disconnected.cancel()
        await asyncio.gather(task, disconnected, return_exceptions=True)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class NDJSONResponse(Response):
    """Newline-delimited JSON, each line sent as soon as it is available and the headers before the first line.

    Args:
        lines: The lines; the generator is closed when the client disconnects. The request's body must have been read.
    """

    media_type = "application/x-ndjson"

    def __init__(self, lines: AsyncGenerator[bytes, None]) -> None:
        # The second header disables buffering in nginx.
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        try:
            await cancel_on_disconnect(receive, self._send(send))
        except APIError as error:  # the status line was sent already; the log gets this status instead
            scope["state"]["final_status"] = error.status

    async def _send(self, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for line in self._lines:
                await send({"type": "http.response.body", "body": line, "more_body": True})
        finally:
            await self._lines.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
