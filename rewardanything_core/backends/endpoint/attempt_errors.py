"""From whatever an attempt raised to an error of ours that says what failed, where, and what to do."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from rewardanything_core.backends.endpoint.completions import MalformedReplyError
from rewardanything_core.backends.endpoint.context_length import is_context_overflow, token_counts
from rewardanything_core.backends.endpoint.http import UnexpectedResponseError, is_success
from rewardanything_core.backends.endpoint.retry import retry_after_seconds
from rewardanything_core.errors import (
    AuthenticationError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    ContextLengthError,
    ModelNotFoundError,
    RateLimitError,
    RefusalError,
    RewardAnythingError,
)

_MAX_SHOWN = 400
"""How much of a server's message is shown, in characters."""

_LONG_SECRET = 8
"""Secrets of this length are removed wherever they occur; shorter ones only as whole words, which they may resemble."""

_FILTERED = re.compile(r'"code": "content_filter"|content_policy_violation|ResponsibleAIPolicyViolation')

_MODERATED = re.compile("moderat|flagged", re.IGNORECASE)
"""Words of a gateway, such as OpenRouter, that refuses a request for its content with the status of a wrong key."""

_UNSUPPORTED_INPUT = re.compile("support (?:image|audio|video|file|tool)", re.IGNORECASE)
"""OpenRouter's words for a case that no provider of the model can take, with the status of an unknown model."""

_TOO_LARGE = 413
"""The status of a proxy or provider that takes no request of this size; shorter lists may fit."""

_MISSING_KEY = re.compile(
    "Missing credentials|Missing [a-z]+ API key|API_KEY is not set|Unable to locate credentials|"
    "credentials were not found",
    re.IGNORECASE,
)
"""Messages of LiteLLM, and of the clients it uses, when they refuse to send a request without a key."""

_NO_COMPLETION = re.compile(
    "Invalid response object|'choices' that is not a list|with no 'choices'|Empty or invalid response from LLM endpoint"
)
"""LiteLLM's messages about a response that it cannot convert; the first is followed by a traceback."""


class MissingKeyError(Exception):
    """There is no key for a provider that refuses requests without one; nothing was sent."""


@dataclass(frozen=True, kw_only=True)
class ErrorContext:
    """Where an attempt was sent and how, for error messages."""

    model: str
    """The model string."""

    base_url: str | None
    """The server. None: the provider's own address."""

    key_hint: str
    """How to give a key to this endpoint."""

    has_key: bool = True
    """Whether there is a key to send."""

    timeout: float
    """Time limit of the attempt, in seconds."""

    reply_kind: str = "a chat completion"
    """What a reply should be."""

    no_route: str = ""
    """What to do if the server has no such route."""

    secret: str | None = None
    """The key, which must not appear in a message. None: none was given to us."""

    def __str__(self) -> str:
        return f"{self.model} at {self.base_url}" if self.base_url else self.model


@dataclass(frozen=True, kw_only=True)
class AttemptError:
    """A classified failure of one attempt."""

    error: RewardAnythingError
    """What to raise if there is no further attempt."""

    status: int | None
    """The HTTP status, or the one that LiteLLM assigned. None: neither."""

    message: str
    """The server's whole message, not redacted: for analysis, never to be shown."""

    retry_after: float | None = None
    """The wait that the server requested, in seconds. None: none."""

    responded: bool = False
    """Whether a server responded at all, if only with an error."""

    unreachable: bool = False
    """Whether no connection was established, so that nothing was sent."""

    @property
    def overloaded(self) -> bool:
        """Whether the server is rate limiting or overloaded; 529 is Anthropic's status for it."""
        return self.status in (429, 503, 529) and self.responded

    @property
    def rejects_request(self) -> bool:
        """Whether the request was rejected for its content, so that a simpler request may be accepted."""
        return self.status in (400, 422) and type(self.error) is BackendError

    @property
    def may_reject_roles(self) -> bool:
        """Whether a chat template may have failed, which some servers report as an internal error."""
        return self.status == 500 and self.responded and type(self.error) is BackendError


def attempt_error(error: BaseException, context: ErrorContext) -> AttemptError:
    """Classify what an attempt raised.

    LiteLLM's class and status are not enough: for it, a refused connection and a truncated response are both an
    ``InternalServerError`` with status 500. The chain of causes shows whether a server responded at all.

    Args:
        error: The exception.
        context: Where the attempt was sent.
    """
    if isinstance(error, MalformedReplyError):
        problem = BackendError(
            f"{context} sent a reply of an unknown form: {error}.",
            hint="See whether the server follows OpenAI's chat completion format.",
            status_code=200,
            retryable=error.field == "choices",
        )
        return AttemptError(error=problem, status=200, message=str(error), responded=True)
    chain = list(_chain(error))
    response = next((e for e in chain if isinstance(e, UnexpectedResponseError)), None) or next(
        (getattr(e, "response", None) for e in chain if _is(e, "httpx.HTTPStatusError")), None
    )
    status = getattr(response, "status_code", None) or getattr(error, "status_code", None)
    status = status if isinstance(status, int) else None
    headers = getattr(response, "headers", None) or getattr(error, "litellm_response_headers", None) or {}
    attempt = _Attempt(
        error=error,
        chain=chain,
        status=status,
        message=_server_message(response) or _own_message(error),
        headers=headers,
        responded=response is not None,
    )
    return AttemptError(
        error=_classify(attempt, context),
        status=status,
        message=attempt.message,
        retry_after=retry_after_seconds(headers.get("retry-after")),
        responded=attempt.responded,
        unreachable=not attempt.responded and any(map(_is_connection_refused, chain)),
    )


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    error: BaseException
    chain: list[BaseException]
    status: int | None
    message: str
    headers: Mapping[str, str]
    responded: bool


def _classify(attempt: _Attempt, context: ErrorContext) -> RewardAnythingError:
    error, status, message = attempt.error, attempt.status, attempt.message
    shown = redact(message.partition("Traceback (most recent call last)")[0], context.secret)
    quoted = f": {_sentence(shown)}" if shown else "."
    kind = type(error).__name__
    if isinstance(error, TimeoutError) or kind == "Timeout" or (status == 408 and not attempt.responded):
        return BackendTimeoutError(
            f"{context} did not reply within {context.timeout:g} s.",
            hint="Raise timeout=, lower max_concurrency=, or check whether the server is overloaded.",
            status_code=status if attempt.responded else None,
        )
    may_overflow = status in (400, 422) or (status == 500 and attempt.responded)
    overflows = status == _TOO_LARGE or (may_overflow and is_context_overflow(message))
    if kind == "ContextWindowExceededError" or overflows:
        tokens, limit = token_counts(message)
        return ContextLengthError(tokens=tokens, limit=limit, detail=f"{context} rejected it.")
    is_filtered = (status in (400, 422) and _FILTERED.search(message)) or (status == 403 and _MODERATED.search(message))
    if kind == "ContentPolicyViolationError" or is_filtered:
        return RefusalError(f"A content filter of {context} rejected the request{quoted}", status_code=status)
    if isinstance(error, MissingKeyError) or (not attempt.responded and _MISSING_KEY.search(message)):
        detail = quoted if "credentials were not found" in message else "."  # Google's names the steps to take
        return AuthenticationError(f"There is no key for {context}{detail}", hint=context.key_hint)
    if status in (401, 403):
        if not context.has_key:
            wanted = f"There is no key for {context}, which requires one{quoted}"
            return AuthenticationError(wanted, hint=context.key_hint, status_code=status)
        return AuthenticationError(f"{context} refused the key{quoted}", hint=context.key_hint, status_code=status)
    if status == 429:
        exhausted = "insufficient_quota" in message
        hint = "The account has no quota left." if exhausted else "Lower max_concurrency= or raise attempts=."
        limited = f"{context} is rate limited{quoted}"
        return RateLimitError(limited, hint=hint, status_code=429, retryable=not exhausted)
    if not attempt.responded and any(map(_is_connection_refused, attempt.chain)):
        return BackendConnectionError(
            f"Cannot reach {context}{quoted}", hint="Check api_base= and that the server is running."
        )
    if not attempt.responded and any(map(_is_connection_error, attempt.chain)):
        return BackendConnectionError(
            f"The connection to {context} failed before the whole reply had arrived{quoted}",
            hint="Check that the server, and any proxy before it, is running and speaks HTTP.",
        )
    unreadable = _NO_COMPLETION.search(message) or any(isinstance(e, json.JSONDecodeError) for e in attempt.chain)
    if is_success(status) or (not attempt.responded and unreadable):
        detail = "." if "Traceback" in message or not message.strip() else quoted
        wrong = f"{context} did not reply with {context.reply_kind}{detail}"
        return BackendError(wrong, status_code=status if is_success(status) else 200, retryable=True)
    return _other_error(attempt, context, quoted)


def _other_error(attempt: _Attempt, context: ErrorContext, quoted: str) -> BackendError:
    status, message = attempt.status, attempt.message
    if status in (301, 302, 303, 307, 308) and (location := attempt.headers.get("location")):
        target = redact(_target(context.base_url or "", location), context.secret)
        base = re.sub(r"/(chat/completions|decisions|systemone)$", "", target)
        return BackendError(
            f"{context} redirects to {target}, which is not followed.",
            hint=f"Set api_base='{base}' if that is the right server.",
            status_code=status,
        )
    if "LLM Provider NOT provided" in message:
        hint = f"Name the provider, as in 'hosted_vllm/{context.model}' with api_base= for your own server."
        return ModelNotFoundError(f"LiteLLM knows no provider for the model {context.model!r}.", hint=hint)
    if status == 404 and not _UNSUPPORTED_INPUT.search(message):
        hint = "Check the model's name and that api_base= ends as the server requires, usually in /v1."
        hint = f"{hint} {context.no_route}".strip()
        return ModelNotFoundError(f"{context} was not found{quoted}", hint=hint, status_code=404)
    outcome = f"replied with status {status}" if attempt.responded else f"failed with {type(attempt.error).__name__}"
    retryable = status is not None and (status >= 500 or status in (408, 409, 425))
    return BackendError(f"{context} {outcome}{quoted}", status_code=status, retryable=retryable)


def redact(text: str, secret: str | None = None) -> str:
    """A message from elsewhere that can be shown: without keys, on one line, shortened.

    Args:
        text: The message.
        secret: The key in use. None: none is known.
    """
    known = {v for name, v in os.environ.items() if re.search("KEY|TOKEN|SECRET|PASSWORD", name) and len(v) >= 8}
    for value in sorted({*known, *([secret] if secret else [])}, key=len, reverse=True):
        if len(value) >= _LONG_SECRET:
            text = without_secret(text, value)
        else:
            text = re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", "***", text)
    text = re.sub(r"(?<=://)[^/@\s]+@", "***@", text)  # the credentials of a proxy
    text = re.sub(r"\b(sk-|hf_|gsk_|xai-|AIza)[\w-]{8,}|(?<=Bearer )[\w.~+/=-]+", "***", text)
    text = " ".join(text.split())
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def without_secret(text: str, secret: str | None) -> str:
    """A model's text without a key that its server put into it; otherwise unchanged.

    Args:
        text: The text.
        secret: The key. None, or too short to be one: there is nothing to remove.
    """
    return text.replace(secret, "***") if secret and len(secret) >= _LONG_SECRET else text


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _target(url: str, location: str) -> str:
    """Where a redirect leads, without user name, password, query and fragment."""
    try:
        parts = urlsplit(urljoin(url, location))
    except ValueError:
        return f"an invalid address ({location.partition('?')[0].rpartition('@')[2]!r:.80})"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _is(error: BaseException, name: str) -> bool:
    return any(f"{c.__module__.split('.')[0]}.{c.__name__}" == name for c in type(error).__mro__)


def _is_connection_error(error: BaseException) -> bool:
    """Whether the connection failed. By name, because neither HTTP library is a dependency of ours."""
    names = (
        "aiohttp.ClientConnectionError",
        "aiohttp.ClientPayloadError",
        "aiohttp.ClientResponseError",
        "httpx.TransportError",
        "httpx.DecodingError",
    )
    return isinstance(error, ConnectionError) or any(_is(error, name) for name in names)


def _is_connection_refused(error: BaseException) -> bool:
    """Whether no connection was established."""
    names = ("aiohttp.ClientConnectorError", "httpx.ConnectError")
    return isinstance(error, ConnectionRefusedError) or any(_is(error, name) for name in names)


def _server_message(response: Any) -> str:
    """The message in an error's body, with the field that it blames; the whole body if it has another form."""
    try:
        body: str = response.text if response is not None else ""
    except RuntimeError:  # httpx: the body was never received
        return ""
    try:
        error = json.loads(body)
    except (ValueError, RecursionError):
        return body
    error = error[0] if isinstance(error, list) and error else error  # Gemini
    error = error.get("error", error) if isinstance(error, dict) else error
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        rest = {k: v for k, v in error.items() if k not in ("message", "type") and v is not None}
        return f"{error['message']} {json.dumps(rest)}" if rest else str(error["message"])
    return body


def _own_message(error: BaseException) -> str:
    if isinstance(error, UnexpectedResponseError):  # its response is all that it says
        return ""
    text = re.sub(r" ssl:<[^>]*>", "", str(error))
    return re.sub(r"^(?:litellm\.)?(?:\w+Error: )*(?:litellm\.)?(?:\w+Error: )*(?:\w+Exception - )?", "", text)
