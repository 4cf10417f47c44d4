"""Request ids, access control, the number of open requests, and the access log, for every route."""

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
from rewardanything_core.server import errors
from rewardanything_core.server.error_formats import error_response
from rewardanything_core.server.errors import APIError
from rewardanything_core.server.hosts import ANY_ADDRESS, host_name, is_address
from rewardanything_core.server.log_limits import RateLimit
from rewardanything_core.server.service import Service

OPEN_PATHS = frozenset({"/health", "/health/live", "/docs", "/openapi.json"})
"""Paths that need no token; apart from the server's health they contain only what is public."""

TYPESAFE_PATHS = frozenset({"/v1/systemone", "/v1/models"})
"""Paths whose answers have the request's id also in the header that TypeSafe's SDK reads."""

MIN_TOKEN_CHARS = 16

_access = logging.getLogger("rewardanything_core.server.access")
_log = logging.getLogger("rewardanything_core.server")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class AuthMiddleware:
    """Passes requests that may be served to the application and answers the others.

    Args:
        app: The application.
        service: The state that its requests share.
        tokens: A request needs one of them. Empty: it needs none.
        hosts: The host names by which the server may be called, and `hosts.ANY_ADDRESS` for every IP address. None:
            any.

    Raises:
        ConfigError: a token is too short or has characters that a header cannot carry.
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
        self._open_requests = 0
        self._anonymous_lines = RateLimit(burst=100)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request.

        Args:
            scope: ASGI's description of the request.
            receive: The channel of the request's body.
            send: The channel of the response.
        """
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

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    *([(b"x-typesafe-request-id", request_id.encode())] if scope["path"] in TYPESAFE_PATHS else []),
                ]
            await send(message)

        self._open_requests += 1
        try:
            self._check(scope["path"], headers, state)
            await self.app(scope, receive, send_with_headers)
        except APIError as error:
            if not status:
                await error_response(error, scope["path"], request_id)(scope, receive, send_with_headers)
        except Exception:  # noqa: BLE001  # it is logged, and the client gets an error
            _log.exception("%s: the request failed with an internal error", request_id)
            if not status:
                error_answer = error_response(errors.internal_error(None), scope["path"], request_id)
                await error_answer(scope, receive, send_with_headers)
        finally:
            self._open_requests -= 1
            self._record(scope, state.get("final_status", status), time.perf_counter() - started)

    def _check(self, path: str, headers: Headers, state: dict[str, object]) -> None:
        if "content-length" in headers and "transfer-encoding" in headers:
            # Proxies disagree about where such a request ends, so a second request can be smuggled in its body.
            raise APIError(
                400,
                "invalid_request",
                "The request has both Content-Length and Transfer-Encoding.",
                hint="Send only one of these headers.",
                headers={"connection": "close"},
            )
        if self._hosts is not None and not self._accepts(host_name(headers.get("host", ""))):
            raise APIError(
                421,
                "wrong_host",
                "This server does not accept requests for that host name.",
                hint="Add the name with --allow-host if clients should use it.",
            )
        if path in OPEN_PATHS:
            return
        if self._digests:
            self._check_token(headers.get("authorization", ""))
        state["authorized"] = True
        if self._open_requests > self.service.limits.open_requests:
            raise APIError(429, "overloaded", "Too many requests are open.", retry_after=1)

    def _accepts(self, host: str) -> bool:
        assert self._hosts is not None
        return host in self._hosts or (ANY_ADDRESS in self._hosts and is_address(host))

    def _check_token(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        digest = _digest(token.strip())
        # Every token is compared, each in constant time, so that the duration reveals nothing.
        matches = sum(hmac.compare_digest(digest, valid) for valid in self._digests)
        if scheme.lower() != "bearer" or not matches:
            raise APIError(
                401,
                "unauthorized",
                "This server needs a token and the request has no valid one.",
                hint="Send the header Authorization: Bearer TOKEN.",
                headers={"www-authenticate": "Bearer"},
            )

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        """Update the metrics and write a line to the access log."""
        state = scope["state"]
        route = getattr(scope.get("route"), "path", None) or "other"
        self.service.metrics.requests.labels(route, status or "cut_off").inc()
        self.service.metrics.request_seconds.labels(route).observe(seconds)
        # Anyone can send requests that need no token or have none, so only some of them are logged.
        if not _access.isEnabledFor(logging.INFO) or not ("authorized" in state or self._anonymous_lines.allow()):
            return
        if suppressed := self._anonymous_lines.take_suppressed():
            _access.info("%d requests without a token were not logged", suppressed)
        client = scope.get("client") or ("-",)
        cases = state.get("cases")
        _access.info(
            '%s %s "%s %s" %s %.1fms%s',
            client[0],
            state["request_id"],
            scope["method"],
            quote(scope["path"][:100]),
            status or "cut off",
            seconds * 1000,
            "" if cases is None else f" cases={cases}",
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
