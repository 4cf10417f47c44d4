"""Requests that are answered by a provider's batch instead of at once.

While a session is in force, an endpoint looks each request up among the replies that batches have brought. A request
without one is collected for the next batch, and gets a placeholder for now, so that what else its case needs is
collected too. Code that makes a verdict checks with `tracking` whether a placeholder was involved. Since orders and
seeds of requests follow from the case, the same requests are made when the case is judged again with the replies, in
any process.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol

from rewardanything_core.backends import budget
from rewardanything_core.backends.budget import Expense, Reservation
from rewardanything_core.backends.endpoint.client import EndpointClient
from rewardanything_core.backends.endpoint.completions import ChatCompletion
from rewardanything_core.errors import AuthenticationError, BackendError
from rewardanything_core.types import Message, Usage

MAX_FAILURES = 2
"""Failures of a request in batches after which it is sent at once, at the full price."""


MAX_CHECKS = 3
"""Requests that are sent at once, until one succeeds, before the others are collected for a batch."""

_NOT_FOUND = 404


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What is known of a request."""

    reply: Mapping[str, Any] | None = None
    """The server's reply; or ``{"parsed": ...}``, the fields of a `ChatCompletion` that was requested at once."""

    is_waiting: bool = False
    """Whether a batch with it is under way."""

    failures: int = 0
    """How many batches ended without a reply to it."""

    error: Mapping[str, Any] | None = None
    """The status and the message of the latest failure, where the provider gave them."""


class Records(Protocol):
    """Where replies are recorded."""

    def lookup(self, request_id: str) -> Recorded:
        """What is known of a request."""

    def record_live(self, request_id: str, reply: Mapping[str, Any]) -> None:
        """Record the reply to a request that was sent at once.

        Args:
            request_id: The request's id.
            reply: The server's reply, as in `Recorded.reply`.
        """


@dataclass(frozen=True, kw_only=True)
class PendingRequest:
    """A request for the next batch."""

    client: EndpointClient
    """The endpoint that it is for."""

    body: Mapping[str, Any]
    """What would be sent."""


@dataclass
class _Check:
    """Whether an endpoint answers at all."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    tries: int = 0
    passed: bool = False
    error: BackendError | None = None


class BatchSession:
    """Looks requests up and collects those without a reply. Used on one event loop.

    Args:
        records: The replies.
        reservations: Request id -> what its batch may cost, of this and earlier sessions of the run.
        sends: Whether requests without a reply are sent at once instead.
    """

    def __init__(self, records: Records, reservations: dict[str, Reservation], *, sends: bool = False) -> None:
        self._records, self._reservations, self._sends = records, reservations, sends
        self.pending: dict[str, PendingRequest] = {}
        """Request id -> a request that is in no batch yet."""
        self.answered = 0
        """Number of requests for which a batch brought a reply or a failure."""
        self._checks: dict[EndpointClient, _Check] = {}

    async def reply(
        self,
        client: EndpointClient,
        identity: Sequence[Any],
        messages: Sequence[Message],
        parameters: Mapping[str, Any],
        placeholder: str,
    ) -> tuple[ChatCompletion, Usage]:
        """The reply to a request, or a placeholder.

        Args:
            client: The endpoint.
            identity: What makes it another request, as plain JSON; not what the server turns out to support.
            messages: The conversation.
            parameters: Its parameters.
            placeholder: A reply of the form that the request asks for.

        Raises:
            BackendError: as for `EndpointClient.send`; or the recorded reply is none.
        """
        request_id = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:48]
        recorded = self._records.lookup(request_id)
        in_batch = recorded.reply is not None and "parsed" not in recorded.reply
        self.answered += in_batch or recorded.failures > 0
        if recorded.reply is not None:
            completion = _completion(client, recorded.reply)
            usage = Usage(calls=1) + client.costs.spent(completion, in_batch=in_batch)
            self._settle(request_id, usage)
            return completion, usage
        if recorded.is_waiting:
            return self._placeholder(request_id, parameters, placeholder)
        if request_id not in self.pending:
            self._settle(request_id, Usage())  # of a batch that brought nothing
        if self._sends or recorded.failures >= MAX_FAILURES:
            return await self._send(client, request_id, messages, parameters)
        if recorded.error is not None:
            client.learn_from(recorded.error, messages, parameters)
        check = self._checks.setdefault(client, _Check())
        async with check.lock:
            if check.error is not None:
                raise type(check.error)(check.error.message, hint=check.error.hint)
            if check.tries < MAX_CHECKS and not check.passed:
                # Sent at once: a wrong key, model or parameter would otherwise show after hours.
                return await self._check(check, client, request_id, messages, parameters)
        if request_id not in self.pending:
            body = await client.batch_body(messages, parameters)
            if request_id not in self.pending:  # an equal request may have come meanwhile
                self._reserve(request_id, client, messages, parameters)
                self.pending[request_id] = PendingRequest(client=client, body=body)
        return self._placeholder(request_id, parameters, placeholder)

    def _reserve(
        self, request_id: str, client: EndpointClient, messages: Sequence[Message], parameters: Mapping[str, Any]
    ) -> None:
        in_force = budget.in_force()
        if in_force is not None:  # what else is reserved will be free after hours only, so there is no waiting for it
            self._reservations[request_id] = in_force.reserve_now(client.costs.most_in_batch(messages, parameters))

    async def _check(
        self,
        check: _Check,
        client: EndpointClient,
        request_id: str,
        messages: Sequence[Message],
        parameters: Mapping[str, Any],
    ) -> tuple[ChatCompletion, Usage]:
        check.tries += 1
        try:
            sent = await self._send(client, request_id, messages, parameters)
        except BackendError as error:
            if isinstance(error, AuthenticationError) or error.status_code == _NOT_FOUND:
                check.error = error  # no request can succeed
            raise
        check.passed = True
        return sent

    def _settle(self, request_id: str, usage: Usage) -> None:
        """Pay for a request of a batch that this process submitted."""
        reservation = self._reservations.pop(request_id, None)
        if reservation is not None:
            tokens = usage.prompt_tokens + usage.completion_tokens
            reservation.settle(Expense(usage.calls, tokens, usage.cost or 0.0))

    async def _send(
        self, client: EndpointClient, request_id: str, messages: Sequence[Message], parameters: Mapping[str, Any]
    ) -> tuple[ChatCompletion, Usage]:
        completion, usage = await client.send(messages, parameters)
        parsed = dataclasses.asdict(completion)
        await asyncio.to_thread(self._records.record_live, request_id, {"parsed": parsed})
        return completion, usage + client.costs.spent(completion)

    def _placeholder(
        self, request_id: str, parameters: Mapping[str, Any], placeholder: str
    ) -> tuple[ChatCompletion, Usage]:
        missing = _missing.get()
        if missing is not None:
            missing.append(request_id)
        entries = [{"token": character, "logprob": 0.0} for character in placeholder if parameters.get("logprobs")]
        return (
            ChatCompletion(
                answer=placeholder,
                reasoning=None,
                separate=False,
                truncated=False,
                failure=None,
                failure_text="",
                logprobs=entries,
                prompt_tokens=0,
                cached_tokens=0,
                completion_tokens=0,
                cost=0.0,
            ),
            Usage(),
        )


def _completion(client: EndpointClient, reply: Mapping[str, Any]) -> ChatCompletion:
    parsed = reply.get("parsed")
    return ChatCompletion(**parsed) if parsed is not None else client.parse_recorded(reply)


_in_force: ContextVar[BatchSession | None] = ContextVar("rewardanything_batch_session", default=None)
_missing: ContextVar[list[str] | None] = ContextVar("rewardanything_missing_replies", default=None)


@contextmanager
def answering(session: BatchSession) -> Iterator[None]:
    """Requests of the block are answered by a session.

    Args:
        session: The session.
    """
    token = _in_force.set(session)
    try:
        yield
    finally:
        _in_force.reset(token)


def in_force() -> BatchSession | None:
    """The session that answers requests made here. None: they are sent."""
    return _in_force.get()


@contextmanager
def tracking() -> Iterator[list[str]]:
    """Yield a list, which gets the ids of requests of the block that got a placeholder."""
    missing: list[str] = []
    token = _missing.set(missing)
    try:
        yield missing
    finally:
        _missing.reset(token)
