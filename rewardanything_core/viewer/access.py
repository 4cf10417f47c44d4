"""Who may see the page: this machine only, by a link that works once, under the names of this machine."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rewardanything_core.server.hosts import accepted_hosts, host_name

POLICY = "; ".join(
    [
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
"""The content security policy: the page's own style sheets, script and events, and nothing else."""

_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with none, browsers do not say where a form comes from
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_MAX_SESSIONS = 100


class Access:
    """Passes requests that may be answered to the application, and adds the headers that keep pages inert.

    A request needs the cookie that a link with a one-time token gives. A web page elsewhere cannot send one: the host
    name is checked against DNS rebinding, the cookie is sent from this server's own pages only, and what changes data
    must come from one of them.

    Args:
        app: The application.
        port: The port that the server listens on.
        announce: Called with each new link: there is always one that was not used.
    """

    def __init__(self, app: ASGIApp, port: int, announce: Callable[[str], None]) -> None:
        self.app = app
        self.cookie = f"ra_judge_view_{port}"  # browsers send a cookie to all ports of a host
        self._port, self._announce = port, announce
        self._hosts = frozenset(accepted_hosts("127.0.0.1", (), has_tokens=False) or ())
        self._token = ""
        self._sessions: list[str] = []

    def new_link(self) -> str:
        """A link that opens the page once, in place of the one before."""
        self._token = secrets.token_urlsafe(24)
        link = f"http://127.0.0.1:{self._port}/?token={self._token}"
        self._announce(link)
        return link

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request.

        Args:
            scope: ASGI's description of the request.
            receive: The channel of the request's body.
            send: The channel of the response.
        """
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *(pair for pair in added if pair[0] not in given)]
            await send(message)

        answer = self._refusal_or_login(scope, Headers(scope=scope))
        await (answer or self.app)(scope, receive, send_with_headers)

    def _refusal_or_login(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if host_name(host) not in self._hosts:
            return PlainTextResponse("This server does not answer to that host name.\n", 421)
        query = parse_qsl(scope["query_string"].decode("latin-1"))
        if scope["path"] == "/" and (token := dict(query).get("token")) and scope["method"] == "GET":
            return self._login(token, [pair for pair in query if pair[0] != "token"], headers)
        if not self._has_session(headers):
            return PlainTextResponse("Open the link that `ra-judge view` printed. Each link opens one browser.\n", 403)
        if scope["method"] not in ("GET", "HEAD") and headers.get("origin") != f"http://{host}":
            return PlainTextResponse("This request does not come from the page itself.\n", 403)
        return None

    def _login(self, token: str, query: list[tuple[str, str]], headers: Headers) -> Response:
        target = RedirectResponse("/" + (f"?{urlencode(query)}" if query else ""), 303)
        if not self._token or not hmac.compare_digest(token.encode(), self._token.encode()):
            if self._has_session(headers):  # the same link again, in the browser that it opened
                return target
            return PlainTextResponse("This link was used. `ra-judge view` has printed another one.\n", 403)
        session = secrets.token_urlsafe(32)
        self._sessions = [*self._sessions[-_MAX_SESSIONS + 1 :], session]
        self.new_link()
        target.set_cookie(self.cookie, session, httponly=True, samesite="strict", path="/")
        return target

    def _has_session(self, headers: Headers) -> bool:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return False
        given = "" if cookie is None else cookie.value
        return any(hmac.compare_digest(given.encode(), session.encode()) for session in self._sessions)
