"""The client of a decision route: OpenAI's ``/v1/decisions`` or System One's ``/v1/systemone``.

Which of the two a server has is found out once, with an empty request, which no server can answer or charge for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rewardanything_core.backends.base import DecisionResult
from rewardanything_core.backends.budget import Expense
from rewardanything_core.backends.endpoint import litellm_adapter
from rewardanything_core.backends.endpoint.attempt_errors import MissingKeyError, redact, without_secret
from rewardanything_core.backends.endpoint.capabilities import ServerCapabilities
from rewardanything_core.backends.endpoint.client import EndpointClient
from rewardanything_core.backends.endpoint.completions import ChatCompletion, token_count
from rewardanything_core.backends.endpoint.config import EndpointConfig
from rewardanything_core.backends.endpoint.http import UnexpectedResponseError
from rewardanything_core.backends.endpoint.retry import Backoff
from rewardanything_core.backends.pricing import approximate_tokens
from rewardanything_core.decisions import FORMATS, DecisionFormatName, DecisionRequest, Question
from rewardanything_core.errors import DecisionFormatError, VerdictParseError
from rewardanything_core.types import Message

_NO_ROUTE = frozenset({404, 405, 501})
"""Statuses of a server that has no such route."""

_OVERLOADED = 429
"""The status that, like those from 500, says nothing about the route."""

_PROBE_SECONDS = 3.0
"""How long a server may take to refuse an empty request, or all of those that are sent when a judge is made."""


@dataclass(frozen=True, kw_only=True)
class _DecisionReply(ChatCompletion):
    """A reply that is the body of a decision response instead of text."""

    body: Mapping[str, Any]
    """The body, not checked yet."""


class DecisionsClient(EndpointClient):
    """Requests decisions, with the retries and limits of other requests.

    Args:
        config: The options of the backend.
        api_key: The key. None: from the provider's environment variable, or there is none.
        capabilities: What is known of the server; its decision route is added.
    """

    reply_kind: ClassVar[str] = "a decision"
    no_route: ClassVar[str] = "A server without /decisions and /systemone needs another readout, such as 'generate'."

    def __init__(self, config: EndpointConfig, api_key: str | None, capabilities: ServerCapabilities) -> None:
        super().__init__(config, api_key, capabilities, Backoff())
        self._probing: asyncio.Lock | None = None

    async def decide(self, content: Message, questions: Sequence[Question]) -> DecisionResult:
        """The answers to questions about an input.

        Args:
            content: The input, a user message.
            questions: The questions, with distinct names.

        Raises:
            DecisionFormatError: the request exceeds a limit, or has an image that the route cannot take; nothing was
                sent.
            VerdictParseError: the response does not follow its format, or does not fit the questions.
            BackendError: as for `EndpointClient.send`.
        """
        await self.prepare()
        route = await self._route()
        request = DecisionRequest(model=self._served_model, questions=tuple(questions), messages=(content,))
        body = FORMATS[route].write_request(request)
        # Requests that begin alike are sent one after the other, so that the server's prefix cache serves them.
        prefix_group = hash(str(content["content"])[:200])
        reply, usage = await self.send((content,), {"route": route, "body": body}, prefix_group=prefix_group)
        assert isinstance(reply, _DecisionReply)
        usage += self.costs.spent(reply)
        raw = without_secret(json.dumps(reply.body, ensure_ascii=False), self.credentials.sent_by_us)
        try:
            response = FORMATS[route].read_response(reply.body, questions)
        except DecisionFormatError as error:
            problem = f"{self._config.model} sent a decision that does not follow its format: {redact(error.message)}"
            malformed = VerdictParseError(problem, raw=raw)
            malformed.usage = usage
            raise malformed from error
        return DecisionResult(answers=response.answers, raw=raw, usage=usage)

    async def writes_nothing(self) -> bool:
        """Whether the server has a decision route and no chat route; False also if it does not respond."""
        await self.prepare()
        if self._transport is None or not self._base_urls:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PROBE_SECONDS):
                return (
                    await self._find_route() is not None
                    and await self._status(f"{self._base_urls[0]}/chat/completions") in _NO_ROUTE
                )
        return False

    async def _route(self) -> DecisionFormatName:
        """The route to use: as configured, as found out before, or as found out now."""
        # Without an answer the request itself will show what is wrong.
        return self._config.known_decision_route or await self._find_route() or "decisions"

    async def _find_route(self) -> DecisionFormatName | None:
        """The route that the server has; found out once, and None while it does not respond."""
        self._probing = self._probing or asyncio.Lock()
        async with self._probing:
            for base_url in self._base_urls:
                if self._capabilities.decision_route is None:
                    self._capabilities.decision_route = await self._offered_route(base_url)
        return self._capabilities.decision_route

    async def _offered_route(self, base_url: str) -> DecisionFormatName | None:
        for name in FORMATS:
            status = await self._status(f"{base_url}/{name}")
            if status is None:
                break
            if status < 500 and status not in {_OVERLOADED, *_NO_ROUTE}:
                return name
        return None

    async def _status(self, url: str) -> int | None:
        """The status of the response to an empty request. None: there is no response."""
        assert self._transport is not None
        try:
            async with asyncio.timeout(min(_PROBE_SECONDS, self._config.timeout)):
                await self._transport.post(url, self.credentials.key, {}, self.credentials.headers, required="answers")
        except UnexpectedResponseError as error:
            return error.status_code
        except Exception:  # noqa: BLE001  whatever it is, the request itself will meet and explain it
            return None
        return 200

    async def prepare(self) -> None:
        """See `EndpointClient.prepare`."""
        if self._loop is not asyncio.get_running_loop():
            self._probing = None
        await super().prepare()

    async def _response(
        self,
        messages: Sequence[Message],  # noqa: ARG002  they are in the body
        parameters: Mapping[str, Any],
        base_url: str | None,
    ) -> Any:
        body = {**parameters["body"], "model": self._served_model, **self._config.extra_body}
        if self._transport is not None:
            assert base_url is not None
            if self.credentials.key is None and self._config.requires_key:
                raise MissingKeyError
            url = f"{base_url}/{parameters['route']}"
            return await self._transport.post(
                url, self.credentials.key, body, self.credentials.headers, required="answers"
            )
        request = {
            **body,
            "model": self._config.litellm_model,
            "timeout": self._config.timeout,
            **({"api_base": base_url} if base_url else {}),
            **({"api_key": self.credentials.key} if self.credentials.key else {}),
        }
        return await litellm_adapter.decisions(self.litellm, request)

    def _parse(self, response: Any) -> ChatCompletion:
        usage = response.get("usage")
        counts = usage if isinstance(usage, Mapping) else {}
        details = counts.get("input_tokens_details")
        return _DecisionReply(
            body={name: value for name, value in response.items() if name != litellm_adapter.COST},
            prompt_tokens=token_count(counts.get("input_tokens")),
            completion_tokens=token_count(counts.get("output_tokens")),
            cached_tokens=token_count(details.get("cached_tokens")) if isinstance(details, Mapping) else 0,
            cost=response.get(litellm_adapter.COST),
            answer="",
            reasoning=None,
            separate=False,
            truncated=False,
            failure=None,
            failure_text="",
            logprobs=[],
        )

    def _most(self, messages: Sequence[Message], parameters: Mapping[str, Any]) -> Expense:
        text: Message = {"role": "user", "content": json.dumps(parameters["body"]["questions"])}
        tokens = approximate_tokens([*messages, text], cautious=True)
        prices = self.costs.prices
        return Expense(calls=1, tokens=tokens, cost=0.0 if prices is None else prices.cost(tokens, 0))
