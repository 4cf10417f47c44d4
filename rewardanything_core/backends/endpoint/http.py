"""Chat completions over plain HTTP, for servers whose protocol needs no translation.

LiteLLM takes some 3 ms of CPU for each request and seconds to be imported; a server of one's own needs neither.
"""

from __future__ import annotations

import asyncio
import json
import os
import weakref
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp

PREFIX = "hosted_vllm/"
"""What LiteLLM calls the models that are spoken to in this way."""

KEY_VARIABLE = "HOSTED_VLLM_API_KEY"

_IDLE_SECONDS = 4.0
"""How long a connection is kept for the next request: servers close theirs after 5 s or more."""


class RefusedError(Exception):
    """An answer that is no chat completion."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str]) -> None:
        super().__init__(status)
        self.status_code = status
        self.text = text
        self.headers = headers


class Wire:
    """One pool of connections. Used on the event loop on which it was made."""

    def __init__(self) -> None:
        import aiohttp  # LiteLLM needs it too

        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS)
        timeout = aiohttp.ClientTimeout(total=None)  # the caller has one
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, trust_env=True, cookie_jar=aiohttp.DummyCookieJar()
        )
        loop = asyncio.get_running_loop()
        self.close = weakref.finalize(self, _close, self._session, connector, loop, os.getpid())

    async def chat(self, base: str, key: str | None, body: Mapping[str, Any]) -> Any:
        """Ask for a completion.

        Returns:
            The reply's JSON, with attributes for keys.

        Raises:
            RefusedError: the server answered with another status than 200, or with no completion.
            aiohttp.ClientError: it could not be reached, or hung up.
        """
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        url = base if base.endswith("/chat/completions") else f"{base}/chat/completions"
        content = json.dumps(body).encode()
        async with self._session.post(url, data=content, headers=headers, allow_redirects=False) as response:
            raw = await response.read()
        reply = _parsed(raw) if response.status == 200 else None
        if not getattr(reply, "choices", None):
            told = {name.lower(): value for name, value in response.headers.items()}
            raise RefusedError(response.status, raw.decode(errors="replace"), told)
        return reply


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw, object_hook=lambda found: SimpleNamespace(**found))
    except (ValueError, RecursionError):
        return None


def _close(
    session: aiohttp.ClientSession,
    connector: aiohttp.TCPConnector,
    loop: asyncio.AbstractEventLoop,
    pid: int,
) -> None:
    """Close the connections from whatever thread, while their loop runs or after."""
    if pid != os.getpid():  # a fork: the connections, and the poll object they are registered with, are the parent's
        _inherited.append((session, connector))
    elif loop.is_running():
        asyncio.run_coroutine_threadsafe(session.close(), loop)
    else:
        session.detach()
        connector._close()


_inherited: list[Any] = []
