"""LiteLLM, kept at arm's length: the one import of it, its chatter, and its errors mapped to ours."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rewardanything_core.backends.endpoint.http import RefusedError
from rewardanything_core.backends.endpoint.retry import retry_after_seconds
from rewardanything_core.errors import (
    AuthenticationError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    ContextLengthError,
    MissingExtraError,
    RateLimitError,
    RewardAnythingError,
)

_PRICE_SWITCH = "LITELLM_LOCAL_MODEL_COST_MAP"
_LONGEST_MESSAGE = 400
_TOO_LONG = "maximum context length|exceed_context_size|exceeds the available context"

_lock = threading.Lock()
_quiet_calls = 0
_host_wants_chatter: object = False


def require() -> None:
    """Check that LiteLLM is installed, without paying for its import.

    Raises:
        MissingExtraError: it is not.
    """
    if importlib.util.find_spec("litellm") is None:
        raise MissingExtraError("An endpoint", extra="endpoint")


def load() -> Any:
    """Import LiteLLM: seconds and some 180 MB the first time.

    It would fetch a price list from the network while it is imported. The bundled list is used instead,
    unless the host program decided that itself; the environment is left as it was.

    Raises:
        MissingExtraError: it is not installed.
    """
    require()
    with _lock:
        decided = _PRICE_SWITCH in os.environ
        os.environ.setdefault(_PRICE_SWITCH, "True")
        try:
            return importlib.import_module("litellm")
        finally:
            if not decided:
                os.environ.pop(_PRICE_SWITCH, None)


@contextlib.contextmanager
def quiet(litellm: Any) -> Iterator[None]:
    """Keep LiteLLM from printing advice on errors to the terminal while a call of ours is under way.

    The switch is global, so it is set when the first of our calls begins and put back when the last one ends.
    """
    global _quiet_calls, _host_wants_chatter
    with _lock:
        if _quiet_calls == 0:
            _host_wants_chatter = litellm.suppress_debug_info
        _quiet_calls += 1
        litellm.suppress_debug_info = True
    try:
        yield
    finally:
        with _lock:
            _quiet_calls -= 1
            if _quiet_calls == 0:
                litellm.suppress_debug_info = _host_wants_chatter


@dataclass(frozen=True, kw_only=True)
class Target:
    """Whom an attempt was addressed to, for error messages."""

    model: str
    """The model string."""

    api_base: str | None
    """Where it is served. None: the provider's own address."""

    key_hint: str
    """How a key is given to this endpoint."""

    timeout: float
    """Seconds an attempt may take."""

    secret: str | None = None
    """The key, to be kept out of messages. None: none was given to us."""

    def __str__(self) -> str:
        return f"{self.model} at {self.api_base}" if self.api_base else self.model


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A failed attempt, understood."""

    error: RewardAnythingError
    """What to raise if there is no further attempt."""

    status: int | None
    """The HTTP status that came, or that LiteLLM stands in for one. None: neither."""

    text: str
    """The server's message, whole and unredacted: for reading what it blames, never for showing."""

    retry_after: float | None = None
    """Seconds the server asked us to wait. None: it did not say."""

    answered: bool = False
    """Whether a server answered at all, if only to refuse."""

    unreachable: bool = False
    """Whether no connection came about, so that nothing was sent."""

    @property
    def overloaded(self) -> bool:
        """Whether the server said that it has too much to do; 529 is Anthropic's."""
        return self.status in (429, 503, 529) and self.answered

    @property
    def blames_request(self) -> bool:
        """Whether the request was refused for what it asks, so that asking for less may help."""
        return self.status in (400, 422) and type(self.error) is BackendError


def explain(error: BaseException, target: Target) -> Problem:
    """Map whatever an attempt raised to one of our errors.

    LiteLLM's class and status are not enough: a refused connection and a reply cut in half are both an
    ``InternalServerError`` 500 there. Whether a server answered at all shows in the chain of causes.
    """
    chain = list(_chain(error))
    response = next((e for e in chain if isinstance(e, RefusedError)), None) or next(
        (getattr(e, "response", None) for e in chain if _is(e, "httpx.HTTPStatusError")), None
    )
    status = getattr(response, "status_code", None) or getattr(error, "status_code", None)
    status = status if isinstance(status, int) else None
    text = _server_message(response) or _own_words(error)
    headers = getattr(response, "headers", None) or getattr(error, "litellm_response_headers", None) or {}
    answered = response is not None
    return Problem(
        error=_classify(error, chain, status, text, target, answered=answered),
        status=status,
        text=text,
        retry_after=retry_after_seconds(headers.get("retry-after")),
        answered=answered,
        unreachable=not answered and any(map(_is_no_connection, chain)),
    )


def _classify(
    error: BaseException,
    chain: list[BaseException],
    status: int | None,
    text: str,
    target: Target,
    *,
    answered: bool,
) -> RewardAnythingError:
    said = f": {shown(text, target.secret)}" if text else "."
    kind = type(error).__name__
    if isinstance(error, TimeoutError) or kind == "Timeout" or (status == 408 and not answered):
        return BackendTimeoutError(
            f"{target} did not answer within {target.timeout:g} s.",
            hint="Raise timeout=, lower max_concurrency=, or see whether the server is overloaded.",
            status_code=status if answered else None,
        )
    tokens, limit = window_numbers(text)
    if kind == "ContextWindowExceededError" or (
        status in (400, 413, 422) and (limit is not None or re.search(_TOO_LONG, text))
    ):
        return ContextLengthError(tokens=tokens, limit=limit, detail=f"{target} refused it.")
    if "Missing credentials" in text and not answered:  # the provider's own client, before it sent anything
        return AuthenticationError(f"There is no key for {target}.", hint=target.key_hint)
    if status in (401, 403):
        return AuthenticationError(f"{target} refused the key{said}", hint=target.key_hint, status_code=status)
    if status == 429:
        spent = "insufficient_quota" in text
        hint = "The account has no quota left." if spent else "Lower max_concurrency= or raise attempts=."
        limited = f"{target} is rate limited{said}"
        return RateLimitError(limited, hint=hint, status_code=429, retryable=not spent)
    if not answered and any(_is_connection(e) for e in chain):
        return BackendConnectionError(
            f"Cannot reach {target}{said}", hint="Check api_base= and that the server is running."
        )
    garbled = "Invalid response object" in text  # LiteLLM's words, followed by a traceback
    if status == 200 or (not answered and (garbled or any(isinstance(e, json.JSONDecodeError) for e in chain))):
        wrong = f"{target} did not answer with a chat completion{'.' if garbled else said}"
        return BackendError(wrong, status_code=200, retryable=True)
    if "LLM Provider NOT provided" in text:
        hint = f"Name the provider, as in 'hosted_vllm/{target.model}' with api_base= for a server of your own."
        return BackendError(f"LiteLLM knows no provider for the model {target.model!r}.", hint=hint)
    if status == 404:
        hint = "Check the model's name and that api_base= ends as the server wants, usually in /v1."
        return BackendError(f"{target} was not found{said}", hint=hint, status_code=404)
    answer = f"answered with status {status}" if answered else f"failed with {kind}"
    retryable = status is not None and (status >= 500 or status in (408, 409, 425))
    return BackendError(f"{target} {answer}{said}", status_code=status, retryable=retryable)


def shown(text: str, secret: str | None = None) -> str:
    """A foreign message fit to be shown: keys out, one line, trimmed."""
    known = {v for name, v in os.environ.items() if re.search("KEY|TOKEN|SECRET|PASSWORD", name) and len(v) >= 8}
    for value in sorted({*known, *([secret] if secret else [])}, key=len, reverse=True):
        text = text.replace(value, "***")
    text = re.sub(r"\b(sk-|hf_|gsk_|xai-|AIza)[\w-]{8,}|(?<=Bearer )[\w.~+/=-]+", "***", text)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."


def window_numbers(text: str) -> tuple[int | None, int | None]:
    """The tokens needed and the tokens a window has, from a server's refusal; None if it does not say."""
    needed = _number(
        text,
        r"(?:you )?requested (?:about )?(\d+) tokens",  # OpenAI, vLLM
        r"n_prompt_tokens\D{1,4}(\d+)",  # llama.cpp
        r"messages resulted in (\d+) tokens",  # OpenAI
        r"prompt is too long: (\d+) tokens",  # Anthropic
        r"request \((\d+) tokens\)",  # llama.cpp
    )
    if needed is None:  # vLLM: "You passed 900 input tokens and requested 300 output tokens"
        read = _number(text, r"(?:passed|has|contains)(?: at least)? (\d+) input tokens")
        write = _number(text, r"requested (\d+) output tokens", r"is too large: (\d+)")
        needed = read + (write or 0) if read is not None else None
    limit = _number(
        text,
        r"context length (?:is|of)(?: only)? (\d+)",
        r"n_ctx\D{1,4}(\d+)",
        r"context size \((\d+)",
        r"> (\d+) maximum",
    )
    return needed, limit


def _number(text: str, *patterns: str) -> int | None:
    for pattern in patterns:
        if found := re.search(pattern, text.replace(",", "")):
            return int(found[1])
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _is(error: BaseException, name: str) -> bool:
    return any(f"{c.__module__.split('.')[0]}.{c.__name__}" == name for c in type(error).__mro__)


def _is_connection(error: BaseException) -> bool:
    """Whether it stems from the wire. By name, because neither HTTP library is a dependency of ours."""
    names = ("aiohttp.ClientConnectionError", "aiohttp.ClientPayloadError", "httpx.TransportError")
    return isinstance(error, ConnectionError) or any(_is(error, name) for name in names)


def _is_no_connection(error: BaseException) -> bool:
    """Whether nobody could be connected to."""
    names = ("aiohttp.ClientConnectorError", "httpx.ConnectError")
    return isinstance(error, ConnectionRefusedError) or any(_is(error, name) for name in names)


def _server_message(response: Any) -> str:
    """The message in an error's body, with what it blames; the body as it is when it has no such form."""
    try:
        body: str = response.text if response is not None else ""
    except RuntimeError:  # httpx: the body was never read
        return ""
    try:
        error = json.loads(body)
    except ValueError:
        return body
    error = error.get("error", error) if isinstance(error, dict) else error
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        rest = {k: v for k, v in error.items() if k not in ("message", "type") and v is not None}
        return f"{error['message']} {json.dumps(rest)}" if rest else str(error["message"])
    return body


def _own_words(error: BaseException) -> str:
    text = re.sub(r" ssl:<[^>]*>", "", str(error))
    return re.sub(r"^(?:litellm\.)?(?:\w+Error: )*(?:litellm\.)?(?:\w+Error: )*(?:\w+Exception - )?", "", text)
