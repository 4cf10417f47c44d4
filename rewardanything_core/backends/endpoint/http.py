"""Chat completions over plain HTTP, for servers with OpenAI's protocol.

LiteLLM needs about 3 ms of CPU time for each request and seconds for its import; these servers need neither
(``benchmarks/throughput_endpoint.py``).
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import ssl
import weakref
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from rewardanything_core.backends.endpoint.proxies import environment_proxy

if TYPE_CHECKING:
    import aiohttp

_KEEPALIVE_SECONDS = 4.0
"""How long an idle connection is kept: servers close theirs after 5 s or more."""

_MAX_BYTES = 128 * 2**20
"""Largest reply that is read; it has room for 60,000 tokens with 20 alternatives each."""


class UnexpectedResponseError(Exception):
    """An HTTP response that is not what was requested.

    Args:
        status: The HTTP status; for status 200 with an error object, the status that the object names.
        text: The body.
        headers: Header names in lower case -> values.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str]) -> None:
        super().__init__(status)
        self.status_code = status
        self.text = text
        self.headers = headers


class HTTPTransport:
    """A pool of connections. For the event loop on which it was created."""

    def __init__(self) -> None:
        import aiohttp

        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEPALIVE_SECONDS, ssl=_tls_context())
        timeout = aiohttp.ClientTimeout(total=None)  # the caller has one
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        self._proxies: dict[str, str | None] = {}
        loop = asyncio.get_running_loop()
        self.close = weakref.finalize(self, close_session, self._session, loop, os.getpid())

    async def chat_completion(
        self, base_url: str, api_key: str | None, body: Mapping[str, Any], headers: Mapping[str, str] = {}
    ) -> Mapping[str, Any]:
        """Request a chat completion; see `post`.

        Args:
            base_url: The server's URL, with or without ``/chat/completions``.
            api_key: The bearer token. None: none is sent.
            body: The request, as JSON values.
            headers: Additional header names -> values.
        """
        url = base_url if base_url.endswith("/chat/completions") else f"{base_url}/chat/completions"
        return await self.post(url, api_key, body, headers, required="choices")

    async def post(
        self, url: str, api_key: str | None, body: Mapping[str, Any], headers: Mapping[str, str] = {}, *, required: str
    ) -> Mapping[str, Any]:
        """Send a request.

        Redirects are not followed: the texts would go to a server that the user did not name.

        Args:
            url: The URL.
            api_key: The bearer token. None: none is sent.
            body: The request, as JSON values.
            headers: Additional header names -> values.
            required: A field without which the response is none.

        Returns:
            The response's JSON object; the field is present and not empty. Only a chat completion may have an error
            next to it, since its text is kept.

        Raises:
            UnexpectedResponseError: the status is an error, or the body lacks the field or is too large.
            aiohttp.ClientError: the server could not be reached, or closed the connection.
        """
        headers = {"Content-Type": "application/json", **headers}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        data = json.dumps(body).encode()
        status, lower_case, raw = await self.request("POST", url, headers, data, max_bytes=_MAX_BYTES)
        parsed = _parse(raw)
        is_complete = is_success(status) and isinstance(parsed, Mapping) and parsed.get(required)
        if is_complete and (required == "choices" or not parsed.get("error")):
            return cast("Mapping[str, Any]", parsed)
        raise UnexpectedResponseError(_status(status, parsed), raw.decode(errors="replace"), lower_case)

    async def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        data: bytes | None = None,
        *,
        max_bytes: float = math.inf,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request of any kind; redirects are not followed.

        Args:
            method: The HTTP method.
            url: The URL.
            headers: Header names -> values.
            data: The body. None: there is none.
            max_bytes: Largest body that is read, after decompression, in bytes.

        Returns:
            The status, the headers with names in lower case, and the body.

        Raises:
            UnexpectedResponseError: the body is larger than ``max_bytes``.
            aiohttp.ClientError: the server could not be reached, or closed the connection.
        """
        if url not in self._proxies:
            self._proxies[url] = environment_proxy(url)
        async with self._session.request(
            method, url, data=data, headers=headers, allow_redirects=False, proxy=self._proxies[url]
        ) as response:
            lower_case = {name.lower(): value for name, value in response.headers.items()}
            raw = bytearray()
            async for chunk in response.content.iter_any():
                raw += chunk
                if len(raw) > max_bytes:
                    raise UnexpectedResponseError(response.status, f"more than {max_bytes:,} bytes", lower_case)
        return response.status, lower_case, bytes(raw)


@cache
def _tls_context() -> ssl.SSLContext:
    """Certificates of the system, and those of certifi for systems that have none, such as a slim container."""
    context = ssl.create_default_context()
    if not (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")):
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def is_success(status: int | None) -> bool:
    """Whether a status means that there is a reply; gateways may send others than 200.

    Args:
        status: The HTTP status. None: there is none.
    """
    return status is not None and 200 <= status < 300


def _status(status: int, body: Any) -> int:
    """The status of a response; gateways such as OpenRouter send an upstream error with status 200."""
    error = body.get("error") if isinstance(body, Mapping) else None
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if is_success(status) and type(code) is int and 400 <= code < 600 else status


def close_session(session: aiohttp.ClientSession, loop: asyncio.AbstractEventLoop, pid: int) -> None:
    """Close a session's connections from any thread, while its loop runs or after.

    Args:
        session: The session.
        loop: The event loop that it belongs to.
        pid: The process that created it.
    """
    connector = session.connector
    if pid != os.getpid():  # after a fork the connections, and the poll object that they use, belong to the parent
        _inherited.append((session, connector))
    elif loop.is_running():
        asyncio.run_coroutine_threadsafe(session.close(), loop)
    elif connector is not None:
        session.detach()
        connector._close()


_inherited: list[Any] = []
"""Connections of the parent process, referenced so that they are not closed here."""
