"""The options of an endpoint backend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from rewardanything_core.errors import ConfigError

ResponseFormat = Literal["auto", "json_schema", "off"]


@dataclass(frozen=True, kw_only=True)
class EndpointConfig:
    """Which model to call, and how. The API key is not part of it, so that it is never stored or shown.

    Raises:
        ConfigError: a value is out of its range, or two contradict each other.
    """

    model: str
    """LiteLLM's name of the model: ``hosted_vllm/MODEL`` for a vLLM server or another with its protocol,
    ``openai/MODEL`` for any OpenAI-compatible server, or a provider's model (``anthropic/claude-sonnet-4-5``)."""

    api_base: str | Sequence[str] | None = None
    """URL of the server, up to and including ``/v1``. Several are replicas of one model and share the load. None: the
    provider's own address."""

    api_key_env: str | None = None
    """Environment variable with the key. None: the variable that LiteLLM knows for the provider."""

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

    context_window: int | None = None
    """The model's context window, in tokens. None: left to the server to enforce."""

    cache_as: str | None = None
    """The model's name in the store's key, so that several servers of one model share verdicts. None: ``model`` and
    ``api_base`` together."""

    extra_body: Mapping[str, Any] = field(default_factory=dict)
    """Additional fields of each request, such as ``{"top_k": 20}``. Part of the store's key: not for secrets."""

    input_cost_per_token: float | None = None
    """Price of a prompt token, in US dollars. None: LiteLLM's price, if it knows one."""

    output_cost_per_token: float | None = None
    """Price of a generated token, in US dollars; set together with ``input_cost_per_token``."""

    def __post_init__(self) -> None:
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
        if self.response_format not in get_args(ResponseFormat):
            known = ", ".join(map(repr, get_args(ResponseFormat)))
            raise ConfigError(f"response_format must be one of {known}, not {self.response_format!r}.")
