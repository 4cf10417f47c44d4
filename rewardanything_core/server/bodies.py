"""Reading request bodies: limits on size, time and total memory, and strict JSON."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import ClientDisconnect, Request

from rewardanything_core.server.errors import APIError, client_disconnected, stopping
from rewardanything_core.server.limits import Limits

_THREAD_BYTES = 256 * 2**10
"""Bodies longer than this are parsed in a thread, so that the event loop is not blocked."""


@dataclass(eq=False)
class _Body:
    """A body that is being read."""

    deadline: asyncio.Timeout
    data: bytearray = field(default_factory=bytearray)
    error: APIError | None = None
    """Why reading was interrupted. None: it was not."""


class BodyReader:
    """Reads the JSON bodies of all requests of a server. Used on one event loop only.

    The bytes of all bodies together are bounded. When a client sends more than is left, the body that has received no
    data for the longest time is dropped, so stalled uploads cannot block active ones.

    Args:
        limits: The server's limits.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._max_bytes = max(limits.bodies_bytes, limits.body_bytes)
        self._reading: dict[_Body, None] = {}  # in the order of their latest data, oldest first
        self._stopped = False
        self.held_bytes = 0
        """Bytes of all bodies in memory."""

    async def read_json(self, request: Request) -> Any:
        """The body of a request as JSON.

        Raises:
            APIError: the body is not JSON or not declared as JSON, is too long or too slow, was dropped to make room,
                or the server is stopping.
        """
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise APIError(
                415,
                "unsupported_media_type",
                f"The body must be JSON, not {media_type[:60] or 'of an undeclared type'}.",
                hint="Send the header Content-Type: application/json.",
            )
        encoding = request.headers.get("content-encoding", "identity").strip().lower()
        if encoding != "identity":
            raise APIError(
                415,
                "unsupported_media_type",
                f"The body must not be compressed; it is declared as {encoding[:60]}.",
                hint="Send it without Content-Encoding (TypeSafe's SDK: compression=False).",
            )
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > self._limits.body_bytes:
            raise self._too_long()
        body = _Body(asyncio.timeout(self._limits.body_seconds))
        try:
            await self._receive(body, request)
            return await parse_json(body.data)
        finally:
            self._release(body)

    def stop(self) -> None:
        """Interrupt every body that is being read, and each one that starts later."""
        self._stopped = True
        for body in list(self._reading):
            self._interrupt(body, _abandoned())

    async def _receive(self, body: _Body, request: Request) -> None:
        if self._stopped:
            raise _abandoned()
        try:
            async with body.deadline:
                self._reading[body] = None
                async for chunk in request.stream():
                    self._append(body, chunk)
        except TimeoutError:
            raise body.error or APIError(
                408,
                "body_timeout",
                f"The body did not arrive within {self._limits.body_seconds:g} s.",
                headers={"connection": "close"},
            ) from None
        except ClientDisconnect:
            raise client_disconnected() from None
        finally:
            self._reading.pop(body, None)

    def _append(self, body: _Body, chunk: bytes) -> None:
        if body.error is not None:
            raise body.error
        if len(body.data) + len(chunk) > self._limits.body_bytes:
            raise self._too_long()
        while self.held_bytes + len(chunk) > self._max_bytes:
            stalled = next((other for other in self._reading if other is not body), None)
            if stalled is None:
                raise _no_room()
            self._interrupt(stalled, _no_room())
        self.held_bytes += len(chunk)
        body.data += chunk
        self._reading[body] = self._reading.pop(body)

    def _interrupt(self, body: _Body, error: APIError) -> None:
        """End the reading of a body with an error; its memory is released at once."""
        body.error = error
        del self._reading[body]
        self._release(body)
        body.deadline.reschedule(asyncio.get_running_loop().time())

    def _release(self, body: _Body) -> None:
        self.held_bytes -= len(body.data)
        body.data = bytearray()

    def _too_long(self) -> APIError:
        return APIError(
            413,
            "too_large",
            f"The body is longer than this server's limit of {self._limits.body_bytes:,} bytes.",
            hint="Send fewer cases at a time.",
        )


def _no_room() -> APIError:
    return APIError(
        429,
        "overloaded",
        "The bodies of all requests together exceed this server's memory limit.",
        hint="Retry after the number of seconds in the Retry-After header.",
        retry_after=2,
        headers={"connection": "close"},
    )


def _abandoned() -> APIError:
    return stopping("The server is stopping and did not wait for this request's body.")


async def parse_json(body: bytearray) -> Any:
    """Strict JSON: NaN, infinities (``1e999``, too) and repeated keys are errors. Long bodies are parsed in a thread.

    Raises:
        APIError: the body is not such JSON.
    """
    return await asyncio.to_thread(_parse, body) if len(body) > _THREAD_BYTES else _parse(body)


def _parse(body: bytearray) -> Any:
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise APIError(422, "invalid_json", f"The body is not valid JSON: {problem}.", field="body") from None


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"an object has the key {key[:80]!r} twice")
            seen.add(key)
    return members


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_constant(f"{text:.40}, which exceeds the range of a double,")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_without_repeated_keys, parse_constant=_refuse_constant, parse_float=_finite
)
