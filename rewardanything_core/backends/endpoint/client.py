"""The client of one endpoint: a request is sent until it gets a reply, its error is final, or no attempt is left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar

from rewardanything_core.backends import budget
from rewardanything_core.backends.budget import Expense, Reservation
from rewardanything_core.backends.endpoint import litellm_adapter, litellm_wire
from rewardanything_core.backends.endpoint.attempt_errors import (
    AttemptError,
    ErrorContext,
    MissingKeyError,
    attempt_error,
)
from rewardanything_core.backends.endpoint.capabilities import ServerCapabilities
from rewardanything_core.backends.endpoint.completions import (
    ChatCompletion,
    MalformedReplyError,
    parse_chat_completion,
)
from rewardanything_core.backends.endpoint.concurrency import ConcurrencyLimiter
from rewardanything_core.backends.endpoint.config import EndpointConfig
from rewardanything_core.backends.endpoint.costs import Costs
from rewardanything_core.backends.endpoint.credentials import Credentials
from rewardanything_core.backends.endpoint.http import HTTPTransport
from rewardanything_core.backends.endpoint.replicas import Replicas
from rewardanything_core.backends.endpoint.retry import Backoff, hedged
from rewardanything_core.errors import (
    BackendConnectionError,
    BackendTimeoutError,
    BudgetExceededError,
)
from rewardanything_core.types import Message, Usage

Outcome = tuple[ChatCompletion | AttemptError, str | None]
"""The outcome of an attempt, and the server it was sent to; None for the provider's own address."""


class EndpointClient:
    """Sends requests to one endpoint. For one event loop at a time.

    Args:
        config: Where to send, and how often.
        api_key: The key. None: LiteLLM reads it from the environment, or there is none.
        capabilities: What the server accepts; updated from its errors.
        backoff: The wait between the attempts of a request.
    """

    reply_kind: ClassVar[str] = "a chat completion"
    """What a reply is, for error messages."""

    no_route: ClassVar[str] = "A model that writes nothing needs readout='decisions'."
    """What to do if the server has no such route."""

    def __init__(
        self, config: EndpointConfig, api_key: str | None, capabilities: ServerCapabilities, backoff: Backoff
    ) -> None:
        self._config = config
        self._base_urls = config.base_urls
        self.credentials = Credentials(config, api_key)
        self._capabilities = capabilities
        self.backoff = backoff
        self._direct = config.direct
        self._served_model = config.served_model
        self.costs = Costs(config)
        """What its requests cost."""
        self._transport: HTTPTransport | None = None
        self.litellm: Any = None
        """The library, after `prepare`. None: it is not used."""
        self._replicas: Replicas | None = Replicas(self._base_urls) if len(self._base_urls) > 1 else None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._limiter = ConcurrencyLimiter(config.max_concurrency)
        self._has_replied = False

    async def send(
        self, messages: Sequence[Message], parameters: Mapping[str, Any], *, prefix_group: Hashable = None
    ) -> tuple[ChatCompletion, Usage]:
        """Send a request until it gets a reply. While it waits for its next attempt it holds no slot.

        Args:
            messages: The conversation.
            parameters: Parameter name -> value; those that the server does not support are left out.
            prefix_group: The group of requests that share the request's prefix, which are sent consecutively. None: it
                shares none.

        Returns:
            The reply, and the calls and seconds that its attempts took.

        Raises:
            BackendError: no reply; or one of its subclasses. ``usage`` has what the attempts took.
        """
        await self.prepare()
        usage = Usage()
        sent = failures = failovers = 0
        most = self._most(messages, parameters)
        while True:
            reservation = await self._reserve(most, usage)
            try:
                async with self._limiter.slot(prefix_group, retry=sent > 0):
                    adapted = self._capabilities.adapt(messages, parameters)
                    model = self._served_model
                    began = time.monotonic()
                    (outcome, base_url), calls = await self._send_or_hedge(*adapted, reservation.add_call)
                    usage += Usage(calls=calls, seconds=time.monotonic() - began)
                    sent += calls
                    self._record(outcome)
                reservation.settle(self.costs.of_attempts(outcome, calls, most))
            finally:
                reservation.settle(reservation.expense)  # cancelled, so what it cost is not known
            if isinstance(outcome, ChatCompletion):
                return outcome, usage
            if self._drops_unsupported(outcome, *adapted) or self._has_prefix_in_name(outcome, model):
                continue
            outcome.error.usage = usage
            if not outcome.error.retryable:
                raise outcome.error
            if self._fails_over(outcome, base_url) and failovers < len(self._base_urls):
                failovers += 1
                continue
            if outcome.unreachable and self._may_be_restarting():
                continue
            failures += 1
            if failures >= self._config.attempts:
                raise outcome.error
            await asyncio.sleep(self.backoff.delay(failures - 1, outcome.retry_after))

    def close(self) -> None:
        """Close the connections; those of LiteLLM are closed when the interpreter exits."""
        self._loop = None
        if self._transport is not None:
            self._transport.close()

    async def prepare(self) -> None:
        """Import LiteLLM if it is needed, and create what belongs to the running loop."""
        if self.litellm is None and self._direct is None:
            self.litellm = await asyncio.to_thread(litellm_adapter.load)
        # An own server needs no thread, so its requests keep their order.
        if self._loop is None and self.costs.may_be_listed:
            await asyncio.to_thread(lambda: self.costs.prices)
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._limiter = ConcurrencyLimiter(self._config.max_concurrency)
            self._transport = None if self._direct is None else HTTPTransport()

    def _record(self, outcome: ChatCompletion | AttemptError) -> None:
        if isinstance(outcome, ChatCompletion):
            self._has_replied = True
            self._limiter.record_reply(overloaded=False)
        elif isinstance(outcome.error, BackendTimeoutError):
            self._limiter.record_timeout()
        elif outcome.overloaded:
            self._limiter.record_reply(overloaded=True)

    def _drops_unsupported(
        self, outcome: AttemptError, messages: Sequence[Message], parameters: Mapping[str, Any]
    ) -> bool:
        """Whether the next attempt will leave out what the server rejected in this one."""
        if not (outcome.rejects_request or outcome.may_reject_roles):
            return False
        return self._capabilities.drop_unsupported(
            messages, parameters, outcome.message, roles_only=not outcome.rejects_request
        )

    def _has_prefix_in_name(self, outcome: AttemptError, model: str) -> bool:
        """Whether ``openai/`` may belong to the model's name, as in ``openai/gpt-oss-20b`` on a vLLM server."""
        if self._direct is None or self._config.provider != "openai" or not self._config.api_base:
            return False
        if outcome.status != 404 or not outcome.responded or model == self._config.model or self._has_replied:
            return False
        self._served_model = self._config.model
        return True

    def _may_be_restarting(self) -> bool:
        """Whether a server that refuses connections has worked before and not been unreachable for long."""
        if not self._has_replied:
            return False
        if self._limiter.record_unreachable() <= self._config.patience:
            return True
        self._has_replied = False
        self._limiter.stop_waiting()
        return False

    def _fails_over(self, outcome: AttemptError, base_url: str | None) -> bool:
        """Suspend a replica that does not respond; whether another one can be tried at once without an attempt."""
        silent = isinstance(outcome.error, BackendConnectionError | BackendTimeoutError)
        if not silent or self._replicas is None or base_url is None:
            return False
        another = self._replicas.suspend(base_url)
        # A timeout has taken its time and may be due to the request itself: it counts as an attempt.
        return another and isinstance(outcome.error, BackendConnectionError)

    def _next_base_url(self, exclude: str | None) -> str | None:
        if self._replicas is not None:
            return self._replicas.choose(exclude)
        return self._base_urls[0] if self._base_urls else None

    async def batch_body(self, messages: Sequence[Message], parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The body of a request in a batch: what would be sent at once, without what is known not to be supported.

        Args:
            messages: The conversation.
            parameters: As for `send`.

        Raises:
            BackendError: LiteLLM cannot convert the request.
        """
        await self.prepare()
        renamed = {"model": self._config.batch_model} if self._config.batch_model else {}
        while True:
            adapted = self._capabilities.adapt(messages, parameters)
            if self._direct is not None:
                return {**self._body(*adapted), **renamed}
            try:
                body = await litellm_wire.body(
                    self.litellm,
                    self._config.provider,
                    self._served_model,
                    adapted[0],
                    _without_extra(adapted[1]),
                    self._extra(adapted[1]),
                )
                return {**body, **renamed}
            except Exception as error:  # noqa: BLE001  as for any other request, `attempt_error` classifies it
                outcome = attempt_error(error, self.error_context(None))
            if not self._drops_unsupported(outcome, *adapted):
                raise outcome.error

    def learn_from(self, error: Mapping[str, Any], messages: Sequence[Message], parameters: Mapping[str, Any]) -> None:
        """Remember what the server does not support from its error for a request in a batch.

        Args:
            error: The error, with ``status`` and ``message``.
            messages: The request's conversation.
            parameters: Its parameters, as for `send`.
        """
        if error.get("status") in (400, 422):
            adapted = self._capabilities.adapt(messages, parameters)
            self._capabilities.drop_unsupported(*adapted, str(error.get("message", "")), roles_only=False)

    def parse_recorded(self, reply: Mapping[str, Any]) -> ChatCompletion:
        """Parse a reply that a batch brought.

        Raises:
            BackendError: it is not a chat completion.
        """
        try:
            return self.credentials.removed_from(self._parse(reply))
        except MalformedReplyError as error:
            raise attempt_error(error, self.error_context(None)).error from error

    def _most(self, messages: Sequence[Message], parameters: Mapping[str, Any]) -> Expense:
        """The most that an attempt can take."""
        return self.costs.most(messages, parameters)

    async def _reserve(self, most: Expense, usage: Usage) -> Reservation:
        """Reserve an attempt from the budget in force."""
        try:
            return await budget.reserve(most)
        except BudgetExceededError as error:
            error.usage = usage
            raise

    async def _send_or_hedge(
        self, messages: Sequence[Message], parameters: Mapping[str, Any], may_pay: Callable[[], bool]
    ) -> tuple[Outcome, int]:
        """Make one attempt, and a second one where hedging is enabled; the outcome and the number of attempts."""
        first: str | None = None

        async def attempt() -> Outcome:
            nonlocal first
            base_url = first = self._next_base_url(exclude=first)
            return await self._attempt(messages, parameters, base_url), base_url

        if self._config.hedge_after is None:
            return await attempt(), 1
        holds_second_slot = False

        def may_hedge() -> bool:
            nonlocal holds_second_slot
            holds_second_slot = self._limiter.try_acquire()
            return holds_second_slot and may_pay()

        try:
            return await hedged(
                attempt,
                after=self._config.hedge_after,
                may_hedge=may_hedge,
                succeeded=lambda outcome: isinstance(outcome[0], ChatCompletion),
            )
        finally:
            if holds_second_slot:
                self._limiter.release()

    async def _attempt(
        self, messages: Sequence[Message], parameters: Mapping[str, Any], base_url: str | None
    ) -> ChatCompletion | AttemptError:
        """Send one HTTP request.

        An exception from elsewhere is neither raised nor chained to one of ours: it may contain the key.
        """
        try:
            async with asyncio.timeout(self._config.timeout):
                response = await self._response(messages, parameters, base_url)
            return self.credentials.removed_from(self._parse(response))
        except Exception as error:  # noqa: BLE001  providers raise anything; `attempt_error` classifies it
            return attempt_error(error, self.error_context(base_url))

    def error_context(self, base_url: str | None) -> ErrorContext:
        """Where an attempt was sent, for error messages.

        Args:
            base_url: The server. None: the provider's own address.
        """
        return ErrorContext(
            model=self._config.model,
            base_url=base_url,
            key_hint=self.credentials.hint(),
            has_key=not self.credentials.missing_variables(),
            timeout=self._config.timeout,
            reply_kind=self.reply_kind,
            no_route=self.no_route,
            secret=self.credentials.sent_by_us,
        )

    def _parse(self, response: Any) -> ChatCompletion:
        return parse_chat_completion(response)

    async def _response(self, messages: Sequence[Message], parameters: Mapping[str, Any], base_url: str | None) -> Any:
        extra, known = self._extra(parameters), _without_extra(parameters)
        if self._transport is not None:
            assert base_url is not None
            if self.credentials.key is None and self._config.requires_key:
                raise MissingKeyError
            body = self._body(messages, parameters)
            return await self._transport.chat_completion(base_url, self.credentials.key, body, self.credentials.headers)
        request = {
            "model": self._config.litellm_model,
            "messages": [dict(message) for message in messages],
            "timeout": self._config.timeout,
            **known,
            **({"api_base": base_url} if base_url else {}),
            **({"api_key": self.credentials.key} if self.credentials.key else {}),
            **({"extra_body": extra} if extra else {}),
        }
        return await litellm_adapter.chat_completion(self.litellm, request)

    def _body(self, messages: Sequence[Message], parameters: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "model": self._served_model,
            "messages": messages,
            **_without_extra(parameters),
            **self._extra(parameters),
        }

    def _extra(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Fields beyond OpenAI's protocol."""
        template = parameters.get("chat_template_kwargs")
        return {**self._config.extra_body, **({"chat_template_kwargs": template} if template else {})}


def _without_extra(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name != "chat_template_kwargs"}
