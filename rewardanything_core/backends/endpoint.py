"""Models behind an HTTP endpoint, any that LiteLLM can ask: servers of your own, and the providers."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, Literal, get_args

from rewardanything_core.backends import _litellm
from rewardanything_core.backends._dialect import Dialect
from rewardanything_core.backends._litellm import Problem, Target
from rewardanything_core.backends._replicas import Replicas, addresses
from rewardanything_core.backends._replies import Reply, align_tokens, read_reply
from rewardanything_core.backends._retry import Backoff
from rewardanything_core.backends.base import Backend, Completion, Request, TokenProbability
from rewardanything_core.errors import (
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    ConfigError,
    ContextLengthError,
)
from rewardanything_core.types import Message, Usage

ResponseFormat = Literal["auto", "json_schema", "off"]

CHARACTERS_PER_TOKEN = 12
"""More than any tokenizer reaches on text, so that a case is refused here only when it cannot possibly
fit."""


class EndpointBackend(Backend):
    """A chat model asked through LiteLLM.

    Args:
        model: LiteLLM's name of it: ``hosted_vllm/MODEL`` for a vLLM server, ``openai/MODEL`` for anything
            that speaks OpenAI's protocol, or a provider's model such as ``anthropic/claude-sonnet-4-5``.
        api_base: Where it is served; several addresses are replicas of one model and share the load. None:
            the provider's own address.
        api_key: The key. None: taken from ``api_key_env``, or from the environment variable that LiteLLM
            knows for the provider. It is never shown, logged or stored.
        api_key_env: Name of the environment variable that holds the key.
        max_concurrency: Most requests in flight at once.
        timeout: Seconds an attempt may take, from sending it to the last byte of the reply.
        attempts: How often a request is sent before a transport error is final; 1 or more.
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
        response_format: ResponseFormat = "auto",
        context_window: int | None = None,
        input_cost_per_token: float | None = None,
        output_cost_per_token: float | None = None,
        extra_body: Mapping[str, Any] | None = None,
        cache_as: str | None = None,
    ) -> None:
        _litellm.require()
        self._model = model
        self._api_bases = addresses(api_base)
        self._api_key_env = api_key_env
        self._api_key = api_key if api_key is not None else _from_environment(api_key_env)
        self._max_concurrency = max_concurrency
        self._timeout = timeout
        self._attempts = attempts
        self._response_format: ResponseFormat = response_format
        self._context_window = context_window
        self._prices = (input_cost_per_token, output_cost_per_token)
        self._extra_body = dict(extra_body or {})
        self._cache_as = cache_as
        self._check_settings()
        insisted = {"response_format"} if response_format == "json_schema" else set()
        self._dialect = Dialect(must_keep=frozenset(insisted))
        self._backoff = Backoff()
        self._litellm: Any = None
        self._replicas: Replicas | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = asyncio.Semaphore(max_concurrency)

    def _check_settings(self) -> None:
        if not self._model:
            raise ConfigError("model is empty; name one, such as 'hosted_vllm/MODEL' with api_base=.")
        for name, value in (("max_concurrency", self._max_concurrency), ("attempts", self._attempts)):
            if value < 1:
                raise ConfigError(f"{name} must be at least 1, not {value!r}.")
        if self._timeout <= 0:
            raise ConfigError(f"timeout must be above 0 seconds, not {self._timeout!r}.")
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
        await self._ready()
        budget = request.sampling.thinking_budget or 0
        async with self._slots:
            reply, usage = await self._first(request, budget)
            if not (reply.truncated and request.wrap_up is not None):
                return self._completion(request, reply, reply.reasoning, usage)
            # Templates of thinking models cut think tags, with what is in them, out of earlier turns: no tags.
            thoughts = _joined(reply.reasoning, reply.answer).removeprefix("<think>").replace("</think>", "").strip()
            so_far = [Message(role="assistant", content=thoughts)] if thoughts else []
            last, more = await self._ask(
                request,
                [*request.messages, *so_far, Message(role="user", content=request.wrap_up)],
                max_tokens=request.sampling.max_tokens,
                unthinking=request.thinks,
                constrained=True,
            )
            return self._completion(request, last, _joined(thoughts, last.reasoning) or None, usage + more)

    async def _first(self, request: Request, budget: int) -> tuple[Reply, Usage]:
        """The reply to the messages as they are, with reasoning if the model thinks and has a budget for it."""
        thinking = request.thinks and budget > 0
        ask = partial(
            self._ask,
            request,
            request.messages,
            max_tokens=budget + request.sampling.max_tokens,
            unthinking=request.thinks and not thinking,
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
        self._replicas = None

    async def _ready(self) -> None:
        """Import LiteLLM and make what belongs to the running loop, the first time and for each new loop."""
        if self._litellm is None:
            self._litellm = await asyncio.to_thread(_litellm.load)
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._slots = asyncio.Semaphore(self._max_concurrency)
        if self._replicas is None and len(self._api_bases) > 1:
            self._replicas = Replicas(self._litellm, self._model, self._api_bases)

    async def _ask(
        self,
        request: Request,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        unthinking: bool,
        constrained: bool,
    ) -> tuple[Reply, Usage]:
        """Send until a reply comes, the error is final, or the attempts are used up."""
        self._check_window(messages, max_tokens)
        usage = Usage()
        failures = failovers = 0
        while True:
            parameters = self._parameters(request, max_tokens, unthinking=unthinking, constrained=constrained)
            base = await self._next_base()
            began = time.monotonic()
            outcome = await self._attempt(messages, parameters, base)
            usage += Usage(calls=1, seconds=time.monotonic() - began)
            if isinstance(outcome, Reply):
                return outcome, usage + self._spent(outcome)
            if outcome.blames_request and self._dialect.concede(parameters, outcome.text):
                continue
            outcome.error.usage = usage
            if not outcome.error.retryable:
                raise outcome.error
            if self._gone(outcome, base) and failovers < len(self._api_bases):
                failovers += 1
                continue
            failures += 1
            if failures >= self._attempts:
                raise outcome.error
            await asyncio.sleep(self._backoff.delay(failures - 1, outcome.retry_after))

    def _gone(self, problem: Problem, base: str | None) -> bool:
        """Rest a replica that does not answer; whether another one can be asked at once and at no cost."""
        silent = isinstance(problem.error, BackendConnectionError | BackendTimeoutError)
        if not silent or self._replicas is None or base is None:
            return False
        another = self._replicas.rest(base)
        # A timeout has cost its time, and may be the request's own fault: it counts as an attempt.
        return another and isinstance(problem.error, BackendConnectionError)

    async def _attempt(
        self, messages: Sequence[Message], parameters: dict[str, Any], base: str | None
    ) -> Reply | Problem:
        """Send one HTTP request.

        A foreign error never leaves this function, nor hides behind one of ours: it may hold the key.
        """
        template = parameters.get("chat_template_kwargs")
        extra = {**self._extra_body, **({"chat_template_kwargs": template} if template else {})}
        try:
            with _litellm.quiet(self._litellm):
                async with asyncio.timeout(self._timeout):
                    response = await self._litellm.acompletion(
                        model=self._model,
                        messages=[dict(message) for message in messages],
                        timeout=self._timeout,
                        num_retries=0,
                        max_retries=0,
                        **{name: value for name, value in parameters.items() if name != "chat_template_kwargs"},
                        **({"api_base": base} if base else {}),
                        **({"api_key": self._key} if self._key else {}),
                        **({"extra_body": extra} if extra else {}),
                    )
            return read_reply(response)
        except Exception as error:  # noqa: BLE001  providers raise whatever they like; `explain` sorts it out
            target = Target(
                model=self._model,
                api_base=base,
                key_hint=self._key_hint(),
                timeout=self._timeout,
                secret=self._api_key,
            )
            return _litellm.explain(error, target)

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

    async def _next_base(self) -> str | None:
        if self._replicas is not None:
            return await self._replicas.pick()
        return self._api_bases[0] if self._api_bases else None

    @cached_property
    def _key(self) -> str | None:
        """The key to pass on. None: LiteLLM is to find it in the environment."""
        if self._api_key is not None or not self._api_bases:
            return self._api_key
        # A server of one's own often wants no key, but OpenAI's client does not start without one.
        return None if self._provider_environment()["keys_in_environment"] else "not-needed"

    def _key_hint(self) -> str:
        if self._api_key_env is not None:
            return f"Check the key in the environment variable {self._api_key_env}."
        if self._api_key is not None:
            return "Check the key given as api_key=."
        missing = self._provider_environment()["missing_keys"]
        names = " and ".join(missing) or f"{self._model.split('/')[0].upper()}_API_KEY"
        return f"Set {names} in the environment, or give api_key= or api_key_env=."

    def _provider_environment(self) -> dict[str, Any]:
        with _litellm.quiet(self._litellm):
            found: dict[str, Any] = self._litellm.validate_environment(model=self._model)
        return found

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
