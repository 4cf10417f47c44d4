"""Sending: a request goes out until a reply comes, its error is final, or the attempts are used up."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rewardanything_core.backends.endpoint import litellm_adapter
from rewardanything_core.backends.endpoint.capabilities import Dialect
from rewardanything_core.backends.endpoint.completions import Reply, read_reply
from rewardanything_core.backends.endpoint.concurrency import Slots
from rewardanything_core.backends.endpoint.http import KEY_VARIABLE, PREFIX, Wire
from rewardanything_core.backends.endpoint.litellm_adapter import Problem, Target
from rewardanything_core.backends.endpoint.replicas import Replicas
from rewardanything_core.backends.endpoint.retry import Backoff, hedged
from rewardanything_core.errors import BackendConnectionError, BackendTimeoutError
from rewardanything_core.types import Message, Usage


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where requests go, and how hard to try; the fields are those of `EndpointBackend`."""

    model: str
    """LiteLLM's name of the model."""

    api_bases: tuple[str, ...]
    """Its replicas. Empty: the provider's own address."""

    api_key: str | None
    """None: LiteLLM is to find it."""

    api_key_env: str | None
    """The variable that the key came from, for messages."""

    extra_body: Mapping[str, Any]
    """Further fields of each request."""

    max_concurrency: int
    """Most requests in flight."""

    timeout: float
    """Seconds an attempt may take."""

    attempts: int
    """How often to send a request before an error is final."""

    patience: float
    """Seconds to wait for a server that has answered before and is gone."""

    hedge_after: float | None = None
    """Seconds after which a request is sent a second time beside the first. None: never."""


class Sender:
    """Sends to one address. Used on one event loop at a time.

    Args:
        address: Where to.
        dialect: What the server has shown to accept; learns from refusals.
        backoff: How long a request waits between its attempts.
    """

    def __init__(self, address: Address, dialect: Dialect, backoff: Backoff) -> None:
        self._to = address
        self._dialect = dialect
        self.backoff = backoff
        self._direct = address.model.startswith(PREFIX) and bool(address.api_bases)
        self._wire: Wire | None = None
        self._litellm: Any = None
        self._replicas: Replicas | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._slots = Slots(address.max_concurrency)
        self._has_answered = False

    async def send(
        self,
        messages: Sequence[Message],
        parameters: Callable[[], dict[str, Any]],
        *,
        prefix_group: Hashable = None,
    ) -> tuple[Reply, Usage]:
        """Send until a reply comes. No place among the requests in flight is held while waiting to try again.

        Args:
            messages: The conversation so far.
            parameters: All else, asked for before each attempt, since a refusal may teach to ask for less.
            prefix_group: What the request has in common with others; they are sent one after the other. None: nothing.

        Raises:
            BackendError: or one of its kinds; ``usage`` says what the attempts took.
        """
        await self._ready()
        usage = Usage()
        sent = failures = failovers = 0
        while True:
            async with self._slots.one(prefix_group, again=sent > 0):
                asked = parameters()
                began = time.monotonic()
                (outcome, base), calls = await self._one_or_two(messages, asked)
                usage += Usage(calls=calls, seconds=time.monotonic() - began)
                sent += calls
                self._note(outcome)
            if isinstance(outcome, Reply):
                return outcome, usage
            if outcome.blames_request and self._dialect.concede(asked, outcome.text):
                continue
            outcome.error.usage = usage
            if not outcome.error.retryable:
                raise outcome.error
            if self._passes_over(outcome, base) and failovers < len(self._to.api_bases):
                failovers += 1
                continue
            if outcome.unreachable and self._will_be_back():
                continue
            failures += 1
            if failures >= self._to.attempts:
                raise outcome.error
            await asyncio.sleep(self.backoff.delay(failures - 1, outcome.retry_after))

    def close(self) -> None:
        """Close the connections; LiteLLM closes its own when the interpreter exits."""
        self._replicas = self._loop = None
        if self._wire is not None:
            self._wire.close()

    async def _ready(self) -> None:
        """Import LiteLLM if need be, and make what belongs to the running loop, each time it is another one."""
        if self._litellm is None and not self._direct:
            self._litellm = await asyncio.to_thread(litellm_adapter.load)
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._slots = Slots(self._to.max_concurrency)
            self._wire = Wire() if self._direct else None
        if self._replicas is None and len(self._to.api_bases) > 1:
            self._replicas = Replicas(self._litellm, self._to.model, self._to.api_bases)

    def _note(self, outcome: Reply | Problem) -> None:
        if isinstance(outcome, Reply):
            self._has_answered = True
            self._slots.answered(refused=False)
        elif isinstance(outcome.error, BackendTimeoutError):
            self._slots.timed_out()
        elif outcome.overloaded:
            self._slots.answered(refused=True)

    def _will_be_back(self) -> bool:
        """Whether a server that nobody can connect to has worked, and not been gone for long: it may be restarting."""
        if not self._has_answered:
            return False
        if self._slots.gone() <= self._to.patience:
            return True
        self._has_answered = False
        self._slots.give_up()
        return False

    def _passes_over(self, problem: Problem, base: str | None) -> bool:
        """Rest a replica that does not answer; whether another one can be asked at once and at no cost."""
        silent = isinstance(problem.error, BackendConnectionError | BackendTimeoutError)
        if not silent or self._replicas is None or base is None:
            return False
        another = self._replicas.rest(base)
        # A timeout has cost its time, and may be the request's own fault: it counts as an attempt.
        return another and isinstance(problem.error, BackendConnectionError)

    async def _next_base(self, but: str | None) -> str | None:
        if self._replicas is not None:
            return await self._replicas.pick(but)
        return self._to.api_bases[0] if self._to.api_bases else None

    async def _one_or_two(
        self, messages: Sequence[Message], parameters: dict[str, Any]
    ) -> tuple[tuple[Reply | Problem, str | None], int]:
        """Send, and send again if hedging is asked for; the outcome with where it came from, and how often was sent."""
        first: str | None = None

        async def attempt() -> tuple[Reply | Problem, str | None]:
            nonlocal first
            base = first = await self._next_base(but=first)
            return await self._attempt(messages, parameters, base), base

        if self._to.hedge_after is None:
            return await attempt(), 1
        with self._slots.spare() as may:
            return await hedged(
                attempt, after=self._to.hedge_after, may=may, good=lambda outcome: isinstance(outcome[0], Reply)
            )

    async def _attempt(
        self, messages: Sequence[Message], parameters: dict[str, Any], base: str | None
    ) -> Reply | Problem:
        """Send one HTTP request.

        A foreign error never leaves this function, nor hides behind one of ours: it may hold the key.
        """
        template = parameters.get("chat_template_kwargs")
        extra = {**self._to.extra_body, **({"chat_template_kwargs": template} if template else {})}
        known = {name: value for name, value in parameters.items() if name != "chat_template_kwargs"}
        try:
            async with asyncio.timeout(self._to.timeout):
                if self._wire is not None:
                    assert base is not None
                    model = self._to.model.removeprefix(PREFIX)
                    body = {"model": model, "messages": messages, **known, **extra}
                    return read_reply(await self._wire.chat(base, self._key, body))
                with litellm_adapter.quiet(self._litellm):
                    response = await self._litellm.acompletion(
                        model=self._to.model,
                        messages=[dict(message) for message in messages],
                        timeout=self._to.timeout,
                        num_retries=0,
                        max_retries=0,
                        **known,
                        **({"api_base": base} if base else {}),
                        **({"api_key": self._key} if self._key else {}),
                        **({"extra_body": extra} if extra else {}),
                    )
            return read_reply(response)
        except Exception as error:  # noqa: BLE001  providers raise whatever they like; `explain` sorts it out
            target = Target(
                model=self._to.model,
                api_base=base,
                key_hint=self._key_hint(),
                timeout=self._to.timeout,
                secret=self._to.api_key,
            )
            return litellm_adapter.explain(error, target)

    @cached_property
    def _key(self) -> str | None:
        """The key to pass on. None: there is none, or LiteLLM is to find it in the environment."""
        if self._to.api_key is not None or not self._to.api_bases:
            return self._to.api_key
        if self._direct:
            return os.environ.get(KEY_VARIABLE)
        # A server of one's own often wants no key, but OpenAI's client does not start without one.
        return None if self._provider_environment()["keys_in_environment"] else "not-needed"

    def _key_hint(self) -> str:
        if self._to.api_key_env is not None:
            return f"Check the key in the environment variable {self._to.api_key_env}."
        if self._to.api_key is not None:
            return "Check the key given as api_key=."
        missing = [] if self._direct else self._provider_environment()["missing_keys"]
        names = " and ".join(missing) or f"{self._to.model.split('/')[0].upper()}_API_KEY"
        return f"Set {names} in the environment, or give api_key= or api_key_env=."

    def _provider_environment(self) -> dict[str, Any]:
        with litellm_adapter.quiet(self._litellm):
            found: dict[str, Any] = self._litellm.validate_environment(model=self._to.model)
        return found
