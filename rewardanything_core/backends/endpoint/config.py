"""The options of an endpoint backend."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from rewardanything_core.backends.endpoint.providers import (
    DIRECT,
    FIXED_ADDRESSES,
    OWN_SERVER,
    PROVIDERS,
    DirectProvider,
    normalized,
    provider_of,
)
from rewardanything_core.decisions import DecisionFormatName
from rewardanything_core.errors import ConfigError

ResponseFormat = Literal["auto", "json_schema", "off"]
Client = Literal["auto", "litellm"]
DecisionRoute = Literal["auto", "decisions", "systemone"]

_HOST = re.compile(r"[\w.:%-]+")
"""The characters of a host's name or address."""


@dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """Which model to call, and how. The API key is not part of it, so that it is never stored or shown.

    Raises:
        ConfigError: a value is out of its range, two contradict each other, or the model's provider needs an
            ``api_base``.
    """

    model: str
    """The model's name. With ``api_base``: any name that the server knows (``Qwen/Qwen3-8B``). Without: a provider and
    its model (``openai/gpt-5-mini``, ``ollama/qwen3``, ``anthropic/claude-sonnet-4-5``). ``provider:/model`` and
    ``provider:model`` mean the same and become ``provider/model`` once the config is constructed."""

    api_base: str | Sequence[str] | None = None
    """URL of an OpenAI-compatible server, up to and including ``/v1``; or an address for the provider that ``model``
    names. Several are replicas of one model and share the load. None: the provider's own address. A tuple of distinct
    URLs once the config is constructed."""

    client: Client = "auto"
    """``auto``: plain HTTP for servers with OpenAI's protocol, LiteLLM for other providers. ``litellm``: LiteLLM for
    every call, so that its callbacks, budgets and proxies see it, at about 3 ms of CPU time a call."""

    api_key_env: str | None = None
    """Environment variable with the key. None: the provider's own variable, such as OPENAI_API_KEY."""

    max_concurrency: int = 64
    """Maximum number of requests in flight, 1 or more; fewer while the server is rate limiting, overloaded or slower
    than ``timeout``."""

    timeout: float = 120.0
    """Time limit of one attempt, from sending it to the last byte of the reply, in seconds."""

    attempts: int = 5
    """How often a request is sent before a transport error is final, 1 or more."""

    patience: float = 120.0
    """How long to wait for a server that has replied before and refuses connections, as during a restart, in seconds.
    No attempt is counted meanwhile. 0: not at all."""

    hedge_after: float | None = None
    """Seconds after which a request without a reply is sent again, to another replica if there is one; the first reply
    counts. It shortens tail latency, costs the second request, and happens only below ``max_concurrency``. None: never.
    """

    response_format: ResponseFormat = "auto"
    """Whether the reply's JSON schema is sent. ``auto``: if the server supports it; for reasoning models only after the
    server has separated reasoning from the answer once. ``json_schema``: always. ``off``: never."""

    decision_route: DecisionRoute = "auto"
    """The route of ``readout="decisions"``: ``decisions`` for OpenAI's ``/v1/decisions``, ``systemone`` for TypeSafe's
    ``/v1/systemone``. ``auto``: the one that the server has, found out with an empty request; OpenAI's if it has both.
    Any other value than ``auto`` makes ``readout="auto"`` mean ``decisions``."""

    context_window: int | None = None
    """The model's context window, in tokens. None: left to the server to enforce."""

    cache_as: str | None = None
    """The model's name in the store's key, so that several servers of one model share verdicts. None: ``model`` and
    ``api_base`` together."""

    batch_model: str | None = None
    """The provider's name of the model in batches, where it has another one than for requests that are sent at once, as
    a deployment of Azure OpenAI has. Not part of the store's key: it has to be the same model. None: the same name."""

    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Additional fields of each request, such as ``{"top_k": 20}``. Part of the store's key: not for secrets."""

    states_base: str | Sequence[str] | None = None
    """URL of a vLLM server, up to and including ``/v1``, for ``readout="head"``: it serves the folder that ``ra-judge
    export-backbone`` has written, for pooling. Several are replicas. None: the model gives no hidden states."""

    input_cost_per_token: float | None = None
    """Price of a prompt token, in US dollars. None: LiteLLM's price, if it knows one."""

    output_cost_per_token: float | None = None
    """Price of a generated token, in US dollars; set together with ``input_cost_per_token``."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "api_base", _base_urls(self.api_base))
        object.__setattr__(self, "states_base", _base_urls(self.states_base) or None)
        object.__setattr__(self, "model", normalized(self.model, has_server=bool(self.api_base)))
        object.__setattr__(self, "extra_body", dict(self.extra_body or {}))
        self._check_ranges()
        known = DIRECT.get(self.provider)
        if known is not None and known.base_url is None and not self.base_urls:
            raise ConfigError(
                f"{self.model} needs api_base=, the URL of the server (such as 'http://localhost:8000/v1'): "
                f"{self.provider}/ models have no public address."
            )
        if self.api_base and self.provider in FIXED_ADDRESSES:
            raise ConfigError(
                f"{self.model} cannot be sent to api_base=: LiteLLM sends {self.provider}/ models to their provider.",
                hint="Omit api_base=; for an OpenAI-compatible server write hosted_vllm/ in place of the provider.",
            )
        if self.client == "auto" and not self.api_base and provider_of(self.model) is None:
            raise _unknown_provider(self.model)

    def _check_ranges(self) -> None:
        if not self.model:
            raise ConfigError("model is empty; name one, such as 'hosted_vllm/MODEL' with api_base=.")
        for name in ("max_concurrency", "attempts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)!r}.")
        if self.timeout <= 0:
            raise ConfigError(f"timeout must be above 0 seconds, not {self.timeout!r}.")
        if self.patience < 0:
            raise ConfigError(f"patience must be 0 seconds or more, not {self.patience!r}.")
        if self.hedge_after is not None and self.hedge_after <= 0:
            raise ConfigError(f"hedge_after must be above 0 seconds, not {self.hedge_after!r}.")
        kinds = {"response_format": ResponseFormat, "client": Client, "decision_route": DecisionRoute}
        for name, kind in kinds.items():
            if getattr(self, name) not in get_args(kind):
                choices = ", ".join(map(repr, get_args(kind)))
                raise ConfigError(f"{name} must be one of {choices}, not {getattr(self, name)!r}.")
        if self.client == "litellm" and self.decision_route == "systemone":
            raise ConfigError("client='litellm' takes decisions in OpenAI's format only; omit decision_route.")
        if (self.input_cost_per_token is None) != (self.output_cost_per_token is None):
            raise ConfigError("input_cost_per_token and output_cost_per_token must be given together.")

    @property
    def provider(self) -> str:
        """LiteLLM's name of the provider: the model's prefix, or `OWN_SERVER` for any other name on a server."""
        return provider_of(self.model) or (OWN_SERVER if self.api_base else self.model.partition("/")[0])

    @property
    def direct(self) -> DirectProvider | None:
        """How to call the provider without LiteLLM. None: through LiteLLM."""
        return DIRECT.get(self.provider) if self.client == "auto" else None

    @property
    def base_urls(self) -> tuple[str, ...]:
        """Base URLs to send to. Empty: LiteLLM's address for the provider."""
        urls, known = _base_urls(self.api_base), DIRECT.get(self.provider)
        if not urls and known is not None and (self.direct or known.base_url is None):
            variables = (os.environ.get(name) for name in known.base_url_variables)
            urls = _base_urls(next(filter(None, variables), known.base_url))
        if self.direct is not None:
            urls = tuple(url if urlsplit(url).path else f"{url}{self.direct.path}" for url in urls)
        return urls

    @property
    def requires_key(self) -> bool:
        """Whether no request can succeed without a key."""
        return self.direct is not None and self.direct.requires_key and self.base_urls == (self.direct.base_url,)

    @property
    def known_decision_route(self) -> DecisionFormatName | None:
        """The decision route as far as it is known without asking the server; through LiteLLM it is always OpenAI's."""
        if self.direct is None:
            return "decisions"
        if self.decision_route != "auto":
            return self.decision_route
        if self.direct.decision_route is None and self.requires_key:  # OpenAI's own address
            return "decisions"
        return self.direct.decision_route

    @property
    def served_model(self) -> str:
        """The model's name without the provider, as its server knows it."""
        return self.model if provider_of(self.model) is None else self.model.partition("/")[2]

    @property
    def litellm_model(self) -> str:
        """The model string for LiteLLM."""
        return self.model if self.model.startswith(f"{self.provider}/") else f"{self.provider}/{self.model}"


def _unknown_provider(model: str) -> ConfigError:
    prefix, slash, rest = model.partition("/")
    close = get_close_matches(prefix, PROVIDERS, n=1, cutoff=0.8) if slash else []
    suggestion = f" Did you mean '{close[0]}/{rest}'?" if close else ""
    return ConfigError(
        f"The model {model!r} names no provider, and there is no api_base.{suggestion}",
        hint="For a model on your own server give api_base=, the server's URL; for a hosted one write provider/model, "
        "such as 'openai/gpt-5-mini'. A provider that only LiteLLM knows needs client='litellm'.",
    )


def _base_urls(api_base: object) -> tuple[str, ...]:
    """One api_base or several, as distinct URLs without a trailing slash.

    Raises:
        ConfigError: one is not an HTTP URL, or contains something that may be a secret.
    """
    given = api_base if isinstance(api_base, list | tuple) else () if api_base is None else (api_base,)
    return tuple(dict.fromkeys(map(_base_url, given)))


def _base_url(given: object) -> str:
    if not isinstance(given, str):
        raise ConfigError(f"An api_base must be a text, not {type(given).__name__}.")
    url = given.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and _HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:  # an unfinished IPv6 address, or a port that is not a number
        parts, usable = None, None
    if "?" in url or "#" in url or "@" in (parts.netloc if parts and usable else url):
        # URLs are logged and stored, so they must not contain a secret; nor must this message.
        raise ConfigError(
            "An api_base must not contain a user name, password, query or fragment; give the key as api_key=."
        )
    if not usable or any(character.isspace() or not character.isprintable() for character in url):
        raise ConfigError(f"api_base must be a URL such as 'http://localhost:8000/v1', not {given!r}.")
    return url
