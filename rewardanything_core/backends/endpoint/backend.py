"""Models behind an HTTP endpoint: OpenAI-compatible servers, and every provider that LiteLLM supports."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, ClassVar

from rewardanything_core.backends.base import (
    Backend,
    ChoiceProbabilities,
    ChoiceRequest,
    ChoiceResult,
    Completion,
    DecisionResult,
    HiddenStates,
    Request,
    TokenProbability,
)
from rewardanything_core.backends.endpoint import batch_session, litellm_adapter
from rewardanything_core.backends.endpoint.attempt_errors import redact
from rewardanything_core.backends.endpoint.batch_anthropic import AnthropicBatchAPI
from rewardanything_core.backends.endpoint.batch_api import BatchAPI
from rewardanything_core.backends.endpoint.batch_azure import AzureBatchAPI
from rewardanything_core.backends.endpoint.batch_openai import OpenAIBatchAPI
from rewardanything_core.backends.endpoint.capabilities import ServerCapabilities
from rewardanything_core.backends.endpoint.client import EndpointClient
from rewardanything_core.backends.endpoint.completions import (
    ChatCompletion,
    MalformedReplyError,
    align_tokens,
    option_probabilities,
)
from rewardanything_core.backends.endpoint.config import EndpointConfig
from rewardanything_core.backends.endpoint.decisions_client import DecisionsClient
from rewardanything_core.backends.endpoint.providers import OWN_SERVER
from rewardanything_core.backends.endpoint.retry import Backoff
from rewardanything_core.backends.endpoint.states_client import StatesClient
from rewardanything_core.backends.placeholders import placeholder_reply
from rewardanything_core.backends.pricing import Prices
from rewardanything_core.concurrency import background_loop
from rewardanything_core.decisions import Question
from rewardanything_core.decisions.limits import LITELLM_QUESTIONS, OPENAI_QUESTIONS, SYSTEM_ONE_QUESTIONS
from rewardanything_core.errors import (
    BackendError,
    ConfigError,
    ContextLengthError,
    NoProbabilitiesError,
    RefusalError,
)
from rewardanything_core.fields import construct
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.types import Message, Usage

CHARACTERS_PER_TOKEN = 12
"""More than any tokenizer reaches on text, so that a case is rejected here only if it cannot possibly fit."""

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
        return self._client.prices

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
        reply, usage = await self._first_reply(request)
        if not (reply.truncated and request.final_answer_prompt is not None):
            return self._completion(request, reply, reply.reasoning, usage)
        # Templates of reasoning models remove think tags and their content from earlier turns, so there are none here.
        thoughts = _joined(reply.reasoning, reply.answer).removeprefix("<think>").replace("</think>", "").strip()
        so_far = [Message(role="assistant", content=thoughts)] if thoughts else []
        last, more = await self._ask(
            request,
            [*request.messages, *so_far, Message(role="user", content=request.final_answer_prompt)],
            max_tokens=request.sampling.max_tokens,
            without_thinking=request.is_reasoning_model,
            constrained=True,
        )
        return self._completion(request, last, _joined(thoughts, last.reasoning) or None, usage + more)

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
        for question in questions:
            self._check_window(question.messages, 1)
        prefix_group = hash(questions[0].messages[-1]["content"][:200]) if questions else None
        answers = await background_loop.gather(self._probabilities(question, prefix_group) for question in questions)
        return ChoiceResult(
            answers=tuple(probabilities for probabilities, _ in answers),
            usage=sum((usage for _, usage in answers), Usage()),
        )

    async def hidden_states(self, prompts: Sequence[tuple[Message, ...]], layer: int) -> HiddenStates:
        """Request the state of each prompt from the server ``states_base``.

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

        Raises:
            DecisionFormatError: the request exceeds a limit of the route; nothing was sent.
            VerdictParseError: the response does not follow its format.
            BackendError: as for `complete`; or the server has no decision route.
        """
        self._check_window((content,), 0)
        return await self._decisions_client.decide(content, questions)

    async def _probabilities(
        self, question: ChoiceRequest, prefix_group: int | None
    ) -> tuple[ChoiceProbabilities, Usage]:
        request = Request(
            messages=question.messages,
            sampling=SamplingParams(max_tokens=1),
            prefix_group=prefix_group,
            token_probabilities=True,
        )
        reply, usage = await self._ask(
            request, request.messages, max_tokens=1, without_thinking=True, constrained=False
        )
        try:
            probabilities = option_probabilities(reply.logprobs, question.options)
        except MalformedReplyError as error:
            raise self._malformed(error, usage) from error
        if probabilities is not None:
            return probabilities, usage
        problem = (
            f"would begin its reply with {redact(reply.answer)!r}"
            if reply.logprobs
            else "returned no token log-probabilities"
        )
        raise _with_usage(
            NoProbabilitiesError(
                f"{self.model} {problem}, so the probabilities of {' or '.join(question.options)} are not known.",
                hint="Use readout='generate'.",
            ),
            usage,
        )

    async def _first_reply(self, request: Request) -> tuple[ChatCompletion, Usage]:
        """The reply to the request's messages, with reasoning if the model reasons and has a budget for it."""
        budget = request.sampling.thinking_budget or 0
        thinking = request.is_reasoning_model and budget > 0
        ask = partial(
            self._ask,
            request,
            request.messages,
            max_tokens=budget + request.sampling.max_tokens,
            without_thinking=request.is_reasoning_model and not thinking,
        )
        constrained = not thinking or self._capabilities.constrains_after_reasoning is True
        reply, usage = await ask(constrained=constrained)
        if thinking and self.config.response_format == "auto":
            had_schema = constrained and request.schema is not None and self._capabilities.accepts("response_format")
            if had_schema and not (reply.separate or reply.truncated or "</think>" in reply.answer):
                self._capabilities.saw_suppressed_reasoning()
                reply, more = await ask(constrained=False)
                usage += more
            elif reply.separate:
                self._capabilities.saw_reasoning()
        return reply, usage

    async def _ask(
        self,
        request: Request,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        without_thinking: bool,
        constrained: bool,
    ) -> tuple[ChatCompletion, Usage]:
        """One reply to messages, and what it took.

        Raises:
            BackendError: there is none, or it is not the model's answer.
        """
        self._check_window(messages, max_tokens)
        parameters = self._parameters(request, max_tokens, without_thinking=without_thinking, constrained=constrained)
        if (session := batch_session.in_force()) is not None:
            identity = self._identity(request, messages, max_tokens, without_thinking)
            placeholder = placeholder_reply(request.schema)
            reply, usage = await session.reply(self._client, identity, messages, parameters, placeholder)
        else:
            reply, usage = await self._client.send(messages, parameters, prefix_group=request.prefix_group)
            usage += self._client.spent(reply)
        if reply.failure is not None:
            raise self._failed(reply, usage)
        return reply, usage

    def _identity(
        self, request: Request, messages: Sequence[Message], max_tokens: int, without_thinking: bool
    ) -> list[Any]:
        """What makes a request another one, apart from what the server turns out to support."""
        sampling = dataclasses.asdict(request.sampling)
        return [self.fingerprint(), messages, max_tokens, sampling, without_thinking, request.token_probabilities]

    def _parameters(
        self, request: Request, max_tokens: int, *, without_thinking: bool, constrained: bool
    ) -> dict[str, Any]:
        """The request's fields besides the messages, for a server that supports everything."""
        parameters: dict[str, Any] = {
            "max_tokens": max_tokens,
            "temperature": request.sampling.temperature,
            "seed": request.sampling.seed,
        }
        if request.sampling.top_p != 1:
            parameters["top_p"] = request.sampling.top_p
        always = self.config.response_format == "json_schema"
        if request.schema is not None and (always or (constrained and self.config.response_format == "auto")):
            schema = {"name": "verdict", "schema": dict(request.schema), "strict": True}
            parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.token_probabilities:
            parameters |= {"logprobs": True, "top_logprobs": self._capabilities.top_logprobs}
        if without_thinking and self.config.provider == OWN_SERVER:
            given = self.config.extra_body.get("chat_template_kwargs", {})
            parameters["chat_template_kwargs"] = {**given, "enable_thinking": False}
        return parameters

    def _completion(self, request: Request, reply: ChatCompletion, reasoning: str | None, usage: Usage) -> Completion:
        return Completion(
            answer=reply.answer,
            reasoning=reasoning,
            truncated=reply.truncated,
            usage=usage,
            tokens=self._tokens(reply, usage) if request.token_probabilities else (),
        )

    def _tokens(self, reply: ChatCompletion, usage: Usage) -> tuple[TokenProbability, ...]:
        try:
            tokens = align_tokens(reply.logprobs, reply.answer)
        except MalformedReplyError as error:
            raise self._malformed(error, usage) from error
        if tokens is None:
            which = "for the tokens of its answer" if reply.logprobs else "with its answer"
            raise _with_usage(
                BackendError(
                    f"{self.model} returned no token log-probabilities {which}; expected_scores=True needs them.",
                    hint="Use a server that returns them, such as vLLM, or expected_scores=False.",
                ),
                usage,
            )
        return tokens

    def _failed(self, reply: ChatCompletion, usage: Usage) -> BackendError:
        """A reply that is not the model's answer, as an error. It is not sent again: it would be paid for again."""
        detail = f": {redact(reply.failure_text)}" if reply.failure_text else "."
        error: BackendError
        if reply.failure == "failed":
            error = BackendError(f"{self.model} stopped with an error{detail}", status_code=200)
        elif reply.failure == "filtered":
            error = RefusalError(f"A content filter stopped the reply of {self.model}{detail}", status_code=200)
        else:
            error = RefusalError(f"{self.model} refused to answer{detail}", status_code=200)
        error.raw = reply.answer or reply.failure_text or reply.reasoning
        return _with_usage(error, usage)

    def _malformed(self, problem: MalformedReplyError, usage: Usage) -> BackendError:
        message = f"{self.model} returned token log-probabilities of an unknown form: {problem}."
        return _with_usage(BackendError(message, status_code=200), usage)

    def _check_window(self, messages: Sequence[Message], max_tokens: int) -> None:
        if self.config.context_window is None:
            return
        least = sum(map(_text_length, messages)) // CHARACTERS_PER_TOKEN + max_tokens
        if least > self.config.context_window:
            detail = f"That includes {max_tokens:,} for the reply and is a lower bound for the texts."
            raise ContextLengthError(tokens=least, limit=self.config.context_window, detail=detail)


def _joined(*parts: str | None) -> str:
    return "\n\n".join(part for part in parts if part)


def _with_usage(error: BackendError, usage: Usage) -> BackendError:
    error.usage = usage
    return error


def _key_from_environment(name: str | None) -> str | None:
    if name is None:
        return None
    if not os.environ.get(name):
        raise ConfigError(f"The environment variable {name}, named by api_key_env, is not set.")
    return os.environ[name]


def _text_length(message: Message) -> int:
    content = message["content"]
    return len(content) if isinstance(content, str) else sum(len(part.get("text", "")) for part in content)
