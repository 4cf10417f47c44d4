"""A chat server that waits and sends a fixed reply, with so little work that a client's own overhead can be measured.

It runs in a separate process and parses as little HTTP as possible. The path selects the reply: ``/NAME/v1`` is the
api_base of the reply ``NAME``.

>>> with Stub({"plain": "the reply"}, latency=0.05) as stub:
...     stub.url("plain")
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Self


class Stub:
    """The server's process.

    Args:
        replies: Name -> content of the reply.
        latency: Seconds before each reply.
    """

    def __init__(self, replies: Mapping[str, str], *, latency: float) -> None:
        self._settings = (dict(replies), latency)
        self._process: SpawnProcess
        self._port = 0

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs, *self._settings), daemon=True)
        self._process.start()
        self._port = ours.recv()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.join()

    def url(self, name: str) -> str:
        """The api_base of the reply of that name."""
        return f"http://127.0.0.1:{self._port}/{name}/v1"


def _run(parent: Connection, replies: dict[str, str], latency: float) -> None:
    asyncio.run(_serve(parent, replies, latency))


async def _serve(parent: Connection, replies: dict[str, str], latency: float) -> None:
    responses = {name: _response(reply) for name, reply in replies.items()}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Client(responses, latency), "127.0.0.1", 0, backlog=4096)
    parent.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


class _Client(asyncio.Protocol):
    """One connection, with any number of sequential requests."""

    def __init__(self, responses: Mapping[str, bytes], latency: float) -> None:
        self._responses = responses
        self._latency = latency
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if len(self._received) < end + 4 + length:
                return
            self._received = self._received[end + 4 + length :]
            name = head.split(b"/", 2)[1].decode()
            asyncio.get_running_loop().call_later(self._latency, self._reply, name)

    def _reply(self, name: str) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._responses[name])


def _response(content: str) -> bytes:
    body = json.dumps(
        {
            "id": "chatcmpl-stub",
            "object": "chat.completion",
            "created": 0,
            "model": "stub",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 300, "completion_tokens": 30, "total_tokens": 330},
        }
    ).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
