"""A server in place of providers whose APIs differ from OpenAI's, and the environment that leads to it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from aiohttp import web

VERDICT = '{"scores": {"model-1": 4}, "best-to-worst": ["model-1"]}'
"""Its reply, to a case of one response."""


async def _reply(received: list[str], request: web.Request) -> web.Response:
    received.append(await request.text())
    if "token" in request.path:  # Google's OAuth
        body: dict[str, object] = {"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}
    elif "converse" in request.path:  # Bedrock
        message = {"role": "assistant", "content": [{"text": VERDICT}]}
        usage = {"inputTokens": 5, "outputTokens": 5, "totalTokens": 10}
        body = {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}
    elif "generateContent" in request.path:  # Vertex AI
        candidate = {"content": {"role": "model", "parts": [{"text": VERDICT}]}, "finishReason": "STOP"}
        usage = {"promptTokenCount": 5, "candidatesTokenCount": 5, "totalTokenCount": 10}
        body = {"candidates": [candidate], "usageMetadata": usage}
    else:  # OpenAI's protocol
        choice = {"index": 0, "message": {"role": "assistant", "content": VERDICT}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
        head = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
        body = {**head, "choices": [choice], "usage": usage}
    return web.json_response(body)


@contextmanager
def providers() -> Iterator[tuple[str, list[str]]]:
    """The server's address without a path, and the bodies of the requests it has received."""
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    received: list[str] = []
    port = 0

    async def start() -> web.AppRunner:
        nonlocal port
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", partial(_reply, received))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        return runner

    def run() -> None:
        runner = loop.run_until_complete(start())
        ready.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, name="providers", daemon=True)
    thread.start()
    if not ready.wait(10):
        raise RuntimeError("the server did not start")
    try:
        yield f"http://127.0.0.1:{port}", received
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def service_account(path: Path, url: str) -> Path:
    """Write a Google service account with a new key, whose tokens come from a server.

    Args:
        path: The file to write.
        url: The server's address.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    account = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "1",
        "private_key": pem.decode(),
        "client_email": "judge@example.com",
        "token_uri": f"{url}/token",
    }
    path.write_text(json.dumps(account), encoding="utf-8")
    return path
