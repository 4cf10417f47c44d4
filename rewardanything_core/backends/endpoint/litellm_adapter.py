"""The only use of LiteLLM: its import, its terminal output, its calls, its list of prices."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from functools import cache, wraps
from pathlib import Path
from typing import Any

from rewardanything_core.backends.pricing import Prices
from rewardanything_core.errors import ConfigError, MissingExtraError

_PRICE_SWITCH = "LITELLM_LOCAL_MODEL_COST_MAP"
_PRICE_LIST = "model_prices_and_context_window_backup.json"

COST = "_cost"
"""The key of the price of a call, in US dollars, in what `decisions` returns."""

_in_our_call: ContextVar[bool] = ContextVar("_in_our_call", default=False)
_lock = threading.Lock()
_quiet_calls = 0
_suppressed_by_host: object = False


def require(model: str = "A model") -> None:
    """Check that LiteLLM is installed, without importing it.

    Args:
        model: The model that needs it, for the message.

    Raises:
        MissingExtraError: it is not.
    """
    if _folder() is None:
        raise MissingExtraError(f"{model}, which is called through LiteLLM,", extra="endpoint")


def _folder() -> Path | None:
    """Where LiteLLM is installed. None: it is not."""
    try:
        spec = importlib.util.find_spec("litellm")
    except ValueError:  # a program has put None in its place
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


@cache
def prices(model: str, provider: str = "openai", *, in_batch: bool = False) -> Prices | None:
    """A model's prices in the list that comes with LiteLLM, which is read without importing LiteLLM.

    Args:
        model: The provider's name of the model.
        provider: LiteLLM's name of the provider.
        in_batch: Whether the prices of batches are meant.

    Returns:
        None: LiteLLM is not installed, or does not list the model or such prices.
    """
    folder = _folder()
    try:
        content = json.loads((folder / _PRICE_LIST).read_bytes()) if folder else {}
        listed = content.get(f"{provider}/{model}") or content[model]
        if not listed["litellm_provider"].startswith(provider):
            return None  # another provider's model of the same name
        kind = "_batches" if in_batch else ""
        prompt, completion = listed[f"input_cost_per_token{kind}"], listed[f"output_cost_per_token{kind}"]
        return Prices(prompt, listed.get(f"cache_read_input_token_cost{kind}", prompt), completion)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def load() -> Any:
    """Import LiteLLM; the first time this takes seconds and about 180 MB.

    During its import LiteLLM would fetch a price list from the network. The bundled list is used instead, unless the
    host program decided otherwise; the environment is restored.

    Raises:
        MissingExtraError: it is not installed.
    """
    require()
    with _lock:
        decided = _PRICE_SWITCH in os.environ
        os.environ.setdefault(_PRICE_SWITCH, "True")
        try:
            litellm = importlib.import_module("litellm")
            _follow_no_redirects()
            return litellm
        finally:
            if not decided:
                os.environ.pop(_PRICE_SWITCH, None)


@cache
def _follow_no_redirects() -> None:
    """Let the HTTP clients below LiteLLM follow no redirects in our calls. Other calls of the process are as before.

    A redirect would send the texts, and keys in headers such as ``x-api-key``, to a server that the user did not name.
    LiteLLM's clients follow redirects, and most providers take no other client.
    """
    for name in filter(importlib.util.find_spec, ("httpx", "httpx2")):
        module = importlib.import_module(name)
        for client in (module.Client, module.AsyncClient):
            client.send = _without_redirects(client.send)


def _without_redirects(send: Any) -> Any:
    @wraps(send)
    def send_once(client: Any, request: Any, **options: Any) -> Any:
        if _in_our_call.get():
            options["follow_redirects"] = False
        return send(client, request, **options)

    return send_once


@contextlib.contextmanager
def quiet(litellm: Any) -> Iterator[None]:
    """Keep LiteLLM from printing advice about errors to the terminal, and from following redirects, during our calls.

    The switch for advice is global: it is set when the first of our concurrent calls begins and restored when the last
    one ends.

    Args:
        litellm: The library.
    """
    global _quiet_calls, _suppressed_by_host
    with _lock:
        if _quiet_calls == 0:
            _suppressed_by_host = litellm.suppress_debug_info
        _quiet_calls += 1
        litellm.suppress_debug_info = True
    token = _in_our_call.set(True)
    try:
        yield
    finally:
        _in_our_call.reset(token)
        with _lock:
            _quiet_calls -= 1
            if _quiet_calls == 0:
                litellm.suppress_debug_info = _suppressed_by_host


async def chat_completion(litellm: Any, request: Mapping[str, Any]) -> Any:
    """Request a chat completion once.

    Args:
        litellm: The library.
        request: The arguments of ``litellm.acompletion``, without those for retries.

    Returns:
        A ``ModelResponse``; or the server's JSON object, where LiteLLM could not convert it.

    Raises:
        Exception: whatever LiteLLM raises.
    """
    with quiet(litellm):
        try:
            return await litellm.acompletion(**request, num_retries=0, max_retries=0)
        except Exception as error:
            response = _unconverted_response(error)
            if response is None:
                raise
            return response


async def decisions(litellm: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """Request decisions once.

    Args:
        litellm: The library.
        request: The arguments of ``litellm.adecisions``, without those for retries.

    Returns:
        The response in OpenAI's format, with its price, if it is known, as `COST`.

    Raises:
        ConfigError: this version of LiteLLM has no decisions.
        Exception: whatever LiteLLM raises.
    """
    if not hasattr(litellm, "adecisions"):
        raise ConfigError(
            "This version of LiteLLM has no decisions.", hint="Run: pip install --upgrade 'litellm>=1.104.2'."
        )
    with quiet(litellm):
        response = await litellm.adecisions(**request, num_retries=0, max_retries=0)
    cost = getattr(response, "_hidden_params", {}).get("response_cost")
    return {**response.model_dump(mode="json"), COST: cost if isinstance(cost, int | float) else None}


def provider_environment(model: str) -> dict[str, Any]:
    """Which environment variables LiteLLM reads for a model's key: ``keys_in_environment`` and ``missing_keys``.

    Args:
        model: The model string.
    """
    litellm = load()
    with quiet(litellm):
        environment: dict[str, Any] = litellm.validate_environment(model=model)
    return environment


def _unconverted_response(error: BaseException) -> Mapping[str, Any] | None:
    """The server's JSON object that LiteLLM failed to convert.

    LiteLLM validates a response with pydantic and fails as a whole if, for example, the content is a list of parts. Its
    error then has the response only as text; the object itself is a local variable of the function that raised it.
    """
    current: BaseException | None = error
    for _ in range(20):
        if current is None:
            return None
        traceback = current.__traceback__
        while traceback is not None:
            response = traceback.tb_frame.f_locals.get("response_object")
            if isinstance(response, dict) and "choices" in response and not response.get("error"):
                return response
            traceback = traceback.tb_next
        current = current.__cause__ or current.__context__
    return None
