"""Models behind an HTTP endpoint, any that LiteLLM can ask: servers of your own, and the providers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

from rewardanything_core.backends.base import (
    Backend,
    ChoiceProbabilities,
    ChoiceRequest,
    ChoiceResult,
    Completion,
    Request,
    TokenProbability,
)
from rewardanything_core.backends.endpoint import litellm_adapter
from rewardanything_core.backends.endpoint.capabilities import Dialect
from rewardanything_core.backends.endpoint.client import Address, Sender
from rewardanything_core.backends.endpoint.completions import Reply, align_tokens, option_odds
from rewardanything_core.backends.endpoint.replicas import addresses
from rewardanything_core.backends.endpoint.retry import Backoff
from rewardanything_core.errors import BackendError, ConfigError, ContextLengthError
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.types import Message, Usage

ResponseFormat = Literal["auto", "json_schema", "off"]

CHARACTERS_PER_TOKEN = 12
"""More than any tokenizer reaches on text, so that a case is refused here only when it cannot possibly
fit."""


class EndpointBackend(Backend):
    """A chat model behind a server: one of vLLM's protocol is spoken to as it is, all others through LiteLLM.

    Args:
        model: LiteLLM's name of it: ``hosted_vllm/MODEL`` for a vLLM server or another that speaks its protocol,
            ``openai/MODEL`` for anything that speaks OpenAI's, or a provider's model such as
            ``anthropic/claude-sonnet-4-5``.
        api_base: Where it is served; several addresses are replicas of one model and share the load. None:
            the provider's own address.
        api_key: The key. None: taken from ``api_key_env``, or from the environment variable that LiteLLM
            knows for the provider. It is never shown, logged or stored.
        api_key_env: Name of the environment variable that holds the key.
        max_concurrency: Most requests in flight at once. There are fewer while the server is rate limiting, overloaded
            or too slow for ``timeout``.
        timeout: Seconds an attempt may take, from sending it to the last byte of the reply.
        attempts: How often a request is sent before a transport error is final; 1 or more.
        patience: Seconds to wait for a server that has answered before and that nobody can connect to any more, as
            while it is started again; no attempt is counted meanwhile. 0: none.
        hedge_after: Seconds after which a request that has no reply is sent once more, to another replica if there is
            one; the first reply counts. Only while fewer are in flight than may be. None: never. It shortens the
            longest waits and is paid for twice.
        response_format: Whether the reply's JSON schema is sent. ``auto``: where the server takes it, and for
            models that think only once it has shown that it tells reasoning from answer.
        context_window: The model's window in tokens. None: left to the server to enforce.
        input_cost_per_token: US dollars per token read; with ``output_cost_per_token``, in place of LiteLLM's
            prices.
        output_cost_per_token: US dollars per token written.
        extra_body: Further fields of each request, such as ``{"top_k": 20}``; part of the store's key, so no
            place for a secret.
        cache_as: Name under which verdicts are stored, in place of the model and its addresses, so that
            several servers of one model share them.

    Raises:
        MissingExtraError: LiteLLM is not installed.
        ConfigError: an argument is out of range, or ``api_key_env`` names a variable that is not set.
    """

    def __init__(
        self,
        model: str,
        *,
        api_base: str | Sequence[str] | None = None,
        api_key: str | None = None,
        api_key_env: str | None = None,
        max_concurrency: int = 64,
        timeout: float = 120.0,
        attempts: int = 5,
        patience: float = 120.0,
        hedge_after: float | None = None,
        response_format: ResponseFormat = "auto",
        context_window: int | None = None,
        input_cost_per_token: float | None = None,
        output_cost_per_token: float | None = None,
        extra_body: Mapping[str, Any] | None = None,
        cache_as: str | None = None,
    ) -> None:
        litellm_adapter.require()
        self._model = model
        self._api_bases = addresses(api_base)
        self._api_key_env = api_key_env
        self._api_key = api_key if api_key is not None else _from_environment(api_key_env)
        self._max_concurrency = max_concurrency
        self._timeout = timeout
        self._attempts = attempts
        self._patience = patience
        self._hedge_after = hedge_after
        self._response_format: ResponseFormat = response_format
        self._context_window = context_window
        self._prices = (input_cost_per_token, output_cost_per_token)
        self._extra_body = dict(extra_body or {})
        self._cache_as = cache_as
        self._check_settings()
        insisted = {"response_format"} if response_format == "json_schema" else set()
        self._dialect = Dialect(must_keep=frozenset(insisted))
        address = Address(
            model=model,
            api_bases=self._api_bases,
            api_key=self._api_key,
            api_key_env=api_key_env,
            extra_body=self._extra_body,
            max_concurrency=max_concurrency,
            timeout=timeout,
            attempts=attempts,
            patience=patience,
            hedge_after=hedge_after,
        )
        self._sender = Sender(address, self._dialect, Backoff())

    def _check_settings(self) -> None:
        if not self._model:
            raise ConfigError("model is empty; name one, such as 'hosted_vllm/MODEL' with api_base=.")
        for name, value in (("max_concurrency", self._max_concurrency), ("attempts", self._attempts)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value!r}.")
        if self._timeout <= 0:
            raise ConfigError(f"timeout must be above 0 seconds, not {self._timeout!r}.")
        if self._patience < 0:
            raise ConfigError(f"patience must be 0 seconds or more, not {self._patience!r}.")
        if self._hedge_after is not None and self._hedge_after <= 0:
            raise ConfigError(f"hedge_after must be above 0 seconds, not {self._hedge_after!r}.")
        if self._response_format not in get_args(ResponseFormat):
            known = ", ".join(map(repr, get_args(ResponseFormat)))
            raise ConfigError(f"response_format must be one of {known}, not {self._response_format!r}.")
        if (self._prices[0] is None) != (self._prices[1] is None):
            raise ConfigError("input_cost_per_token and output_cost_per_token must be given together.")

    @property
    def model(self) -> str:
        """The model string as given."""
        return self._model

    def fingerprint(self) -> dict[str, Any]:
        """The model, its addresses and what is asked of it; addresses in any order are the same."""
        where = (
            {"model": self._model, "api_base": sorted(self._api_bases)}
            if self._cache_as is None
            else {"cache_as": self._cache_as}
        )
        return {
            "kind": "endpoint",
            **where,
            "extra_body": self._extra_body,
            "response_format": self._response_format,
        }

    def spec(self) -> dict[str, Any]:
        """The arguments but ``api_key``: the other process takes the key from its own environment."""
        return {
            "kind": "endpoint",
            "model": self._model,
            "api_base": list(self._api_bases) or None,
            "api_key_env": self._api_key_env,
            "max_concurrency": self._max_concurrency,
            "timeout": self._timeout,
            "attempts": self._attempts,
            "patience": self._patience,
            "hedge_after": self._hedge_after,
            "response_format": self._response_format,
            "context_window": self._context_window,
            "input_cost_per_token": self._prices[0],
            "output_cost_per_token": self._prices[1],
            "extra_body": self._extra_body or None,
            "cache_as": self._cache_as,
        }

    def __repr__(self) -> str:
        where = f", api_base={list(self._api_bases)}" if self._api_bases else ""
        return f"EndpointBackend({self._model!r}{where})"

    async def complete(self, request: Request) -> Completion:
        """Ask for one reply, and once more for the answer if the reasoning used up its budget.

        Raises:
            AuthenticationError: the key was refused.
            RateLimitError: rate limited in every attempt.
            BackendTimeoutError: the last attempt took longer than ``timeout``.
            BackendConnectionError: the server could not be reached, or hung up, in the last attempt.
            ContextLengthError: the request does not fit the model's window.
            BackendError: the server refused the request, failed in every attempt, or gives no token
                probabilities.
        """
        budget = request.sampling.thinking_budget or 0
        reply, usage = await self._first(request, budget)
        if not (reply.truncated and request.final_answer_prompt is not None):
            return self._completion(request, reply, reply.reasoning, usage)
        # Templates of thinking models cut think tags, with what is in them, out of earlier turns: no tags.
        thoughts = _joined(reply.reasoning, reply.answer).removeprefix("<think>").replace("</think>", "").strip()
        so_far = [Message(role="assistant", content=thoughts)] if thoughts else []
        last, more = await self._ask(
            request,
            [*request.messages, *so_far, Message(role="user", content=request.final_answer_prompt)],
            max_tokens=request.sampling.max_tokens,
            unthinking=request.is_reasoning_model,
            constrained=True,
        )
        return self._completion(request, last, _joined(thoughts, last.reasoning) or None, usage + more)

    @property
    def supports_option_scores(self) -> bool:
        """True: whether the server does shows when it is asked."""
        return True

    async def score_options(self, questions: Sequence[ChoiceRequest]) -> ChoiceResult:
        """Ask for one token in answer to each question, with the probabilities of what could have stood there.

        Raises:
            BackendError: as for `complete`; or the server gives no log-probabilities, or the model would not begin its
                reply with any of the options.
        """
        for question in questions:
            self._check_window(question.messages, 1)
        prefix_group = hash(questions[0].messages[-1]["content"][:200]) if questions else None
        tasks = [asyncio.ensure_future(self._odds(question, prefix_group)) for question in questions]
        try:
            answered = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return ChoiceResult(
            odds=tuple(odds for odds, _ in answered), usage=sum((used for _, used in answered), Usage())
        )

    async def _odds(self, question: ChoiceRequest, prefix_group: int | None) -> tuple[ChoiceProbabilities, Usage]:
        request = Request(
            messages=question.messages,
            sampling=SamplingParams(max_tokens=1),
            prefix_group=prefix_group,
            token_probabilities=True,
        )
        reply, usage = await self._ask(request, request.messages, max_tokens=1, unthinking=True, constrained=False)
        odds = option_odds(reply.logprobs, question.options)
        if odds is not None:
            return odds, usage
        said = f"would begin its reply with {reply.answer!r}" if reply.logprobs else "gave no token log-probabilities"
        error = BackendError(
            f"{self._model} {said}, so how likely {' or '.join(question.options)} are cannot be read off.",
            hint="Use readout='generate'.",
        )
        error.usage = usage
        raise error

    async def _first(self, request: Request, budget: int) -> tuple[Reply, Usage]:
        """The reply to the messages as they are, with reasoning if the model thinks and has a budget for it."""
        thinking = request.is_reasoning_model and budget > 0
        ask = partial(
            self._ask,
            request,
            request.messages,
            max_tokens=budget + request.sampling.max_tokens,
            unthinking=request.is_reasoning_model and not thinking,
        )
        constrained = not thinking or self._dialect.constrains_thinking is True
        reply, usage = await ask(constrained=constrained)
        if thinking and self._response_format == "auto":
            held = constrained and request.schema is not None and self._dialect.takes("response_format")
            if held and not (reply.separate or reply.truncated or "</think>" in reply.answer):
                self._dialect.saw_silence()
                reply, more = await ask(constrained=False)
                usage += more
            elif reply.separate:
                self._dialect.saw_reasoning()
        return reply, usage

    def close(self) -> None:
        """Forget the replicas; LiteLLM closes its connections when the interpreter exits."""
        self._sender.close()

    async def _ask(
        self,
        request: Request,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        unthinking: bool,
        constrained: bool,
    ) -> tuple[Reply, Usage]:
        """One reply to messages, however often they have to be sent for it."""
        self._check_window(messages, max_tokens)
        parameters = partial(self._parameters, request, max_tokens, unthinking=unthinking, constrained=constrained)
        reply, usage = await self._sender.send(messages, parameters, prefix_group=request.prefix_group)
        return reply, usage + self._spent(reply)

    def _parameters(self, request: Request, max_tokens: int, *, unthinking: bool, constrained: bool) -> dict[str, Any]:
        """What is asked of the model beside the messages, less what the server has refused."""
        wanted: dict[str, Any] = {
            "max_tokens": max_tokens,
            "temperature": request.sampling.temperature,
            "seed": request.sampling.seed,
        }
        if request.sampling.top_p != 1:
            wanted["top_p"] = request.sampling.top_p
        insists = self._response_format == "json_schema"
        if request.schema is not None and (insists or (constrained and self._response_format == "auto")):
            schema = {"name": "verdict", "schema": dict(request.schema), "strict": True}
            wanted["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.token_probabilities:
            wanted |= {"logprobs": True, "top_logprobs": self._dialect.top_logprobs}
        if unthinking and self._model.startswith("hosted_vllm/"):
            given = self._extra_body.get("chat_template_kwargs", {})
            wanted["chat_template_kwargs"] = {**given, "enable_thinking": False}
        return {name: value for name, value in wanted.items() if self._dialect.takes(name)}

    def _completion(self, request: Request, reply: Reply, reasoning: str | None, usage: Usage) -> Completion:
        return Completion(
            answer=reply.answer,
            reasoning=reasoning,
            truncated=reply.truncated,
            usage=usage,
            tokens=self._tokens(reply) if request.token_probabilities else (),
        )

    def _tokens(self, reply: Reply) -> tuple[TokenProbability, ...]:
        tokens = align_tokens(reply.logprobs, reply.answer)
        if tokens is None:
            what = "that make up its answer" if reply.logprobs else "with its answer"
            raise BackendError(
                f"{self._model} gave no token log-probabilities {what}; expected_scores=True needs them.",
                hint="Use a server that gives them, such as vLLM, or expected_scores=False.",
            )
        return tokens

    def _spent(self, reply: Reply) -> Usage:
        read, write = self._prices
        cost = reply.cost
        if read is not None and write is not None:
            cost = reply.prompt_tokens * read + reply.completion_tokens * write
        return Usage(prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens, cost=cost)

    def _check_window(self, messages: Sequence[Message], max_tokens: int) -> None:
        if self._context_window is None:
            return
        least = sum(len(message["content"]) for message in messages) // CHARACTERS_PER_TOKEN + max_tokens
        if least > self._context_window:
            detail = f"That counts {max_tokens:,} for the reply and is the least the texts can take."
            raise ContextLengthError(tokens=least, limit=self._context_window, detail=detail)


def _joined(*parts: str | None) -> str:
    return "\n\n".join(part for part in parts if part)


def _from_environment(name: str | None) -> str | None:
    if name is None:
        return None
    if not os.environ.get(name):
        raise ConfigError(f"The environment variable {name}, named by api_key_env, is not set.")
    return os.environ[name]
