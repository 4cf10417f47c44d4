"""Chat completions over plain HTTP, for servers with OpenAI's protocol.

LiteLLM needs about 3 ms of CPU time for each request and seconds for its import; these servers need neither
(``benchmarks/throughput_endpoint.py``).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import ssl
import urllib.request
import weakref
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import aiohttp

_KEEPALIVE_SECONDS = 4.0
"""How long an idle connection is kept: servers close theirs after 5 s or more."""


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
            The response's JSON object; the field is present and not empty.

        Raises:
            UnexpectedResponseError: the status is not 200, or the body lacks the field.
            aiohttp.ClientError: the server could not be reached, or closed the connection.
        """
        headers = {"Content-Type": "application/json", **headers}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        status, lower_case, raw = await self.request("POST", url, headers, json.dumps(body).encode())
        parsed = _parse(raw)
        if status == 200 and isinstance(parsed, Mapping) and parsed.get(required):
            return parsed
        raise UnexpectedResponseError(_status(status, parsed), raw.decode(errors="replace"), lower_case)

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], data: bytes | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request of any kind; redirects are not followed.

        Args:
            method: The HTTP method.
            url: The URL.
            headers: Header names -> values.
            data: The body. None: there is none.

        Returns:
            The status, the headers with names in lower case, and the body.

        Raises:
            aiohttp.ClientError: the server could not be reached, or closed the connection.
        """
        if url not in self._proxies:
            self._proxies[url] = environment_proxy(url)
        async with self._session.request(
            method, url, data=data, headers=headers, allow_redirects=False, proxy=self._proxies[url]
        ) as response:
            raw = await response.read()
        return response.status, {name.lower(): value for name, value in response.headers.items()}, raw


@cache
def _tls_context() -> ssl.SSLContext:
    """Certificates of the system, and those of certifi for systems that have none, such as a slim container."""
    context = ssl.create_default_context()
    if not (os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")):
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def environment_proxy(url: str) -> str | None:
    """The proxy that the environment configures for a URL, as LiteLLM's clients determine it.

    ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``ALL_PROXY`` may lack the scheme (``host:port``). ``NO_PROXY`` may contain
    networks (``10.0.0.0/8``).

    Args:
        url: The URL of the request.

    Returns:
        The proxy's URL. None: the request goes to the server directly.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    with_port = f"{host}:{parts.port}" if parts.port else host
    if not proxy or urllib.request.proxy_bypass(host) or urllib.request.proxy_bypass(with_port):
        return None
    if any(_contains(network, host) for network in proxies.get("no", "").split(",")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _contains(network: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network.strip(), strict=False)
    except ValueError:  # a name, not an address or a network
        return False


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _status(status: int, body: Any) -> int:
    """The status of a response; gateways such as OpenRouter send an upstream error with status 200."""
    error = body.get("error") if isinstance(body, Mapping) else None
    code = error.get("code") if isinstance(error, Mapping) else None
    return code if status == 200 and type(code) is int and 400 <= code < 600 else status


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
