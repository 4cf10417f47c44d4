"""Models behind an HTTP endpoint: OpenAI-compatible servers, and every provider that LiteLLM supports."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from rewardanything_core.backends.base import (
    Backend,
    ChoiceRequest,
    ChoiceResult,
    Completion,
    DecisionResult,
    HiddenStates,
    Request,
)
from rewardanything_core.backends.endpoint import litellm_adapter
from rewardanything_core.backends.endpoint.batch_anthropic import AnthropicBatchAPI
from rewardanything_core.backends.endpoint.batch_api import BatchAPI
from rewardanything_core.backends.endpoint.batch_azure import AzureBatchAPI
from rewardanything_core.backends.endpoint.batch_openai import OpenAIBatchAPI
from rewardanything_core.backends.endpoint.capabilities import ServerCapabilities
from rewardanything_core.backends.endpoint.chat import ChatModel
from rewardanything_core.backends.endpoint.client import EndpointClient
from rewardanything_core.backends.endpoint.config import EndpointConfig
from rewardanything_core.backends.endpoint.decisions_client import DecisionsClient
from rewardanything_core.backends.endpoint.providers import OWN_SERVER
from rewardanything_core.backends.endpoint.retry import Backoff
from rewardanything_core.backends.endpoint.states_client import StatesClient
from rewardanything_core.backends.pricing import Prices
from rewardanything_core.concurrency import background_loop
from rewardanything_core.decisions import Question
from rewardanything_core.decisions.limits import LITELLM_QUESTIONS, OPENAI_QUESTIONS, SYSTEM_ONE_QUESTIONS
from rewardanything_core.errors import ConfigError
from rewardanything_core.fields import construct
from rewardanything_core.types import Message, Usage

_BATCH_APIS: dict[str, type[BatchAPI]] = {
    "openai": OpenAIBatchAPI,
    OWN_SERVER: OpenAIBatchAPI,
    "azure": AzureBatchAPI,
    "anthropic": AnthropicBatchAPI,
}
"""The batch APIs of providers."""


class EndpointBackend(Backend):
    """A chat model behind a server, called over plain HTTP if it has OpenAI's protocol, otherwise through LiteLLM.

    Args:
        model: The model's name; see `EndpointConfig`.
        api_key: The key. None: from ``api_key_env``, or from the provider's own environment variable. It is never
            shown, logged or stored.
        **options: The other fields of `EndpointConfig`.

    Raises:
        MissingExtraError: the model needs LiteLLM, which is not installed.
        ConfigError: an option is unknown or out of its range, or ``api_key_env`` names a variable that is not set.
    """

    def __init__(self, model: str, *, api_key: str | None = None, **options: Any) -> None:
        self.config = construct(EndpointConfig, {"model": model, **options}, owner="EndpointBackend")
        if self.config.direct is None:
            litellm_adapter.require(self.config.model)
        required = {"response_format"} if self.config.response_format == "json_schema" else set()
        self._capabilities = ServerCapabilities(required=frozenset(required))
        key = api_key if api_key is not None else _key_from_environment(self.config.api_key_env)
        self._client = EndpointClient(self.config, key, self._capabilities, Backoff())
        self._chat = ChatModel(self.config, self._client, self._capabilities, self.fingerprint())
        self._key = key
        self._states_clients: dict[int, StatesClient] = {}
        self._decisions_client = DecisionsClient(self.config, key, self._capabilities)

    reserves_requests: ClassVar[bool] = True

    @property
    def model(self) -> str:
        """The model string, in the form ``provider/model`` if it names a provider."""
        return self.config.model

    @property
    def supports_images(self) -> bool:
        """True: the server says whether its model takes images, in a `BackendError` of the case if it does not."""
        return True

    @property
    def supports_option_scores(self) -> bool:
        """True: whether the server returns log-probabilities shows in its first reply."""
        return True

    @property
    def supports_decisions(self) -> bool:
        """True: whether the server has a decision route shows in its first reply."""
        return True

    @property
    def max_questions(self) -> int:
        """LiteLLM's limit for its SDK and proxy, OpenAI's where the route is known to be its own, else System One's."""
        if self.config.direct is None or self.config.provider == "litellm_proxy":
            return LITELLM_QUESTIONS
        return OPENAI_QUESTIONS if self.config.known_decision_route == "decisions" else SYSTEM_ONE_QUESTIONS

    @cached_property
    def _writes_nothing(self) -> bool:
        direct = self.config.direct
        if direct is not None and (direct.decision_route or self.config.decision_route != "auto"):
            return True
        if direct is None or self.config.provider != OWN_SERVER:
            return False
        try:
            return background_loop.wait(background_loop.submit(self._decisions_client.writes_nothing()))
        except RuntimeError:  # made on the package's own event loop, which cannot wait for an answer
            return False

    def prefers_decisions(self) -> bool:
        """Whether ``decision_route`` is set, or the model is known to write nothing.

        That is so for a provider of decision models only, and for the user's own server if it has a decision route and
        no chat route, for which it is asked once.
        """
        return self._writes_nothing

    @property
    def num_layers(self) -> int:
        """0 without ``states_base``; otherwise any layer, since the server refuses others than its own."""
        return sys.maxsize if self.config.states_base else 0

    def fingerprint(self) -> dict[str, Any]:
        """The model, its servers in any order, and the options that affect replies."""
        config = self.config
        identity: dict[str, Any] = (
            {"model": config.model, "api_base": sorted(config.api_base or ())}
            if config.cache_as is None
            else {"cache_as": config.cache_as}
        )
        if config.states_base and config.cache_as is None:
            identity["states_base"] = sorted(config.states_base)
        return {
            "kind": "endpoint",
            **identity,
            "extra_body": config.extra_body,
            "response_format": config.response_format,
            **({} if config.decision_route == "auto" else {"decision_route": config.decision_route}),
        }

    def spec(self) -> dict[str, Any]:
        """The options, without the key: another process takes it from its own environment."""
        config = self.config
        return {
            "kind": "endpoint",
            "model": config.model,
            "api_base": list(config.api_base or ()) or None,
            "api_key_env": config.api_key_env,
            "client": config.client,
            "max_concurrency": config.max_concurrency,
            "timeout": config.timeout,
            "attempts": config.attempts,
            "patience": config.patience,
            "hedge_after": config.hedge_after,
            "response_format": config.response_format,
            "context_window": config.context_window,
            "input_cost_per_token": config.input_cost_per_token,
            "output_cost_per_token": config.output_cost_per_token,
            "extra_body": config.extra_body or None,
            **({"batch_model": config.batch_model} if config.batch_model else {}),
            **({"states_base": list(config.states_base)} if config.states_base else {}),
            **({} if config.decision_route == "auto" else {"decision_route": config.decision_route}),
            "cache_as": config.cache_as,
        }

    def __repr__(self) -> str:
        servers = f", api_base={list(self.config.api_base)}" if self.config.api_base else ""
        return f"EndpointBackend({self.model!r}{servers})"

    def close(self) -> None:
        """Close the connections; those of LiteLLM are closed when the interpreter exits."""
        for client in (self._client, self._decisions_client, *self._states_clients.values()):
            client.close()

    @property
    def prices(self) -> Prices | None:
        """``input_cost_per_token`` and ``output_cost_per_token``, else LiteLLM's prices of the provider's model."""
        return self._client.costs.prices

    @property
    def client(self) -> EndpointClient:
        """What sends the requests."""
        return self._client

    @property
    def batch_limits(self) -> tuple[int, int]:
        """The most requests and bytes that a batch can hold."""
        kind = self._batch_kind()
        return kind.max_requests, kind.max_bytes

    def check_batches(self) -> None:
        """Check that the provider takes batches.

        Raises:
            ConfigError: it does not, or not in a protocol that is known here.
        """
        self._batch_kind()

    def batch_api(self) -> BatchAPI:
        """The provider's batch API, for the running event loop."""
        return self._batch_kind()(self._client, next(iter(self.config.base_urls), None))

    def _batch_kind(self) -> type[BatchAPI]:
        kind = _BATCH_APIS.get(self.config.provider)
        if kind is None or (kind is OpenAIBatchAPI and self.config.direct is None):
            raise ConfigError(
                f"Batches are not possible with {self.model}: only the batch APIs of OpenAI, Azure OpenAI and "
                "Anthropic, and of servers with OpenAI's API, are known.",
                hint="Judge without batch=True (--batch).",
            )
        return kind

    def require_key(self) -> None:
        """Check that there is a key where no request can succeed without one.

        Raises:
            AuthenticationError: there is none.
        """
        self._client.credentials.require()

    async def complete(self, request: Request) -> Completion:
        """Request a reply, and then the answer alone if the reasoning used up the token limit.

        Raises:
            AuthenticationError: the key was rejected.
            RateLimitError: the last attempt was rate limited.
            RefusalError: the model or a content filter refused.
            BackendTimeoutError: the last attempt took longer than ``timeout``.
            BackendConnectionError: the server could not be reached, or closed the connection, in the last attempt.
            ContextLengthError: the request exceeds the model's context window.
            BackendError: the server rejected the request, failed in every attempt, sent something else than a chat
                completion, or returned no token probabilities where they are needed.
        """
        return await self._chat.complete(request)

    async def score_options(self, questions: Sequence[ChoiceRequest]) -> ChoiceResult:
        """Request one token in answer to each question, with the probabilities of its alternatives.

        Args:
            questions: The questions.

        Returns:
            The probabilities of each question's options.

        Raises:
            NoProbabilitiesError: the server returns no log-probabilities, or the reply would begin with none of the
                options.
            BackendError: as for `complete`.
        """
        return await self._chat.score_options(questions)

    async def hidden_states(self, prompts: Sequence[tuple[Message, ...]], layer: int) -> HiddenStates:
        """Request the state of each prompt from the server ``states_base``.

        Args:
            prompts: The chat messages of each prompt.
            layer: Number of layers after which the state is taken.

        Raises:
            ConfigError: there is no such server.
            BackendError: as for `complete`; or the server serves another layer.
        """
        if self.config.states_base is None:
            return await super().hidden_states(prompts, layer)
        client = self._states_clients.get(layer)
        if client is None:
            client = self._states_clients[layer] = StatesClient(self.config, self._key, layer)
        results = await background_loop.gather(client.state(prompt) for prompt in prompts)
        return HiddenStates(
            states=tuple(state for state, _ in results), usage=sum((usage for _, usage in results), Usage())
        )

    async def decide(self, content: Message, questions: Sequence[Question]) -> DecisionResult:
        """Request the answers to all questions at once.

        Args:
            content: The message that the questions are about.
            questions: The questions.

        Raises:
            DecisionFormatError: the request exceeds a limit of the route; nothing was sent.
            VerdictParseError: the response does not follow its format.
            BackendError: as for `complete`; or the server has no decision route.
        """
        self._chat.check_window((content,), 0)
        return await self._decisions_client.decide(content, questions)


def _key_from_environment(name: str | None) -> str | None:
    if name is None:
        return None
    if not os.environ.get(name):
        raise ConfigError(f"The environment variable {name}, named by api_key_env, is not set.")
    return os.environ[name]
