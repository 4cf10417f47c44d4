"""Answers that take their time, and clients that do not wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rewardanything_core.server.intake import gone
from rewardanything_core.server.refusals import Refusal

T = TypeVar("T")


async def while_there(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled if the client hangs up. The body must have been read.

    Raises:
        Refusal: the client hung up.
    """
    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise gone()
        return task.result()
    finally:
        task.cancel()
        leaving.cancel()
        await asyncio.gather(task, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Lines(Response):
    """Newline-delimited JSON, each line sent as soon as it is there; the headers at once. The body must have been read.

    Args:
        lines: The lines; closed early if the client hangs up.
    """

    media_type = "application/x-ndjson"

    def __init__(self, lines: AsyncGenerator[bytes, None]) -> None:
        # The second header asks nginx not to hold lines back.
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await while_there(receive, self._send(send))
        except Refusal as refusal:  # the answer has begun; the log is told
            scope["state"]["ended"] = refusal.status

    async def _send(self, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async for line in self._lines:
                await send({"type": "http.response.body", "body": line, "more_body": True})
        finally:
            await self._lines.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
