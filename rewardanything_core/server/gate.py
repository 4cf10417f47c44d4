"""What stands before every route: request ids, tokens, host names, the number of open requests, and the access log."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import time
import uuid
from collections.abc import Sequence
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rewardanything_core.errors import ConfigError
from rewardanything_core.server import refusals
from rewardanything_core.server.refusals import Refusal
from rewardanything_core.server.service import Service

OPEN_PATHS = frozenset({"/health", "/health/live", "/docs", "/openapi.json"})
"""What needs no token: it tells nothing that is not public but whether the server works."""

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
MIN_TOKEN_CHARS = 16

_access = logging.getLogger("rewardanything_core.server.access")
_log = logging.getLogger("rewardanything_core.server")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Gate:
    """Lets requests through to the application, or answers them itself.

    Args:
        app: The application.
        service: Whose limits and counters to use.
        tokens: Any of them lets a client in. Empty: no token is asked for.
        hosts: The host names by which the server may be called. None: any.

    Raises:
        ConfigError: a token is too short to be one.
    """

    def __init__(
        self, app: ASGIApp, service: Service, *, tokens: Sequence[str] = (), hosts: Sequence[str] | None = None
    ) -> None:
        for token in tokens:
            if len(token) < MIN_TOKEN_CHARS or not token.isascii() or not token.isprintable() or " " in token:
                raise ConfigError(
                    f"A token must have {MIN_TOKEN_CHARS} or more ASCII characters and no space.",
                    hint="Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
                )
        self.app = app
        self.service = service
        self._digests = tuple(map(_digest, tokens))
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection's request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers = Headers(scope=scope)
        request_id = headers.get("x-request-id", "")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        self._open += 1
        try:
            self._check(scope["path"], headers)
            await self.app(scope, receive, answer)
        except Refusal as refusal:
            if not status:
                await refusal.response(request_id)(scope, receive, answer)
        except Exception:  # noqa: BLE001  # logged, and the client is told
            _log.exception("%s: answering broke", request_id)
            if not status:
                await refusals.broken(None).response(request_id)(scope, receive, answer)
        finally:
            self._open -= 1
            self._note(scope, request_id, state.get("ended", status), time.perf_counter() - started)

    def _check(self, path: str, headers: Headers) -> None:
        if self._hosts is not None and _name(headers.get("host", "")) not in self._hosts:
            raise Refusal(
                421,
                "wrong_host",
                "This server is not called by that host name.",
                hint="Start it with a token, or name the host with --allow-host, if it is to be reached by that name.",
            )
        if path in OPEN_PATHS:
            return
        if self._digests:
            self._check_token(headers.get("authorization", ""))
        if self._open > self.service.limits.open_requests:
            raise Refusal(429, "overloaded", "Too many requests are open at a time.", retry_after=1)

    def _check_token(self, given: str) -> None:
        scheme, _, token = given.partition(" ")
        digest = _digest(token.strip())
        # All are compared, each in constant time, so that timing tells nothing.
        matches = sum(hmac.compare_digest(digest, known) for known in self._digests)
        if scheme.lower() != "bearer" or not matches:
            raise Refusal(
                401,
                "unauthorized",
                "This server wants a token, and got none that it knows.",
                hint="Send the header Authorization: Bearer TOKEN.",
                headers={"www-authenticate": "Bearer"},
            )

    def _note(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", None) or "other"
        self.service.metrics.requests.labels(route, status or "cut_off").inc()
        self.service.metrics.request_seconds.labels(route).observe(seconds)
        if _access.isEnabledFor(logging.INFO):
            client = scope.get("client") or ("-",)
            cases = scope["state"].get("cases")
            _access.info(
                '%s %s "%s %s" %s %.1fms%s',
                client[0],
                request_id,
                scope["method"],
                quote(scope["path"][:100]),
                status or "cut off",
                seconds * 1000,
                "" if cases is None else f" cases={cases}",
            )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _name(host: str) -> str:
    """A Host header without its port."""
    return re.sub(r":\d*$", "", host.strip().lower())
