"""Asking the chat route of an endpoint: parameters, reasoning and its budget, answers, and what counts as none."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from rewardanything_core.backends.base import (
    ChoiceProbabilities,
    ChoiceRequest,
    ChoiceResult,
    Completion,
    Request,
    TokenProbability,
)
from rewardanything_core.backends.endpoint import batch_session
from rewardanything_core.backends.endpoint.attempt_errors import redact
from rewardanything_core.backends.endpoint.capabilities import ServerCapabilities
from rewardanything_core.backends.endpoint.client import EndpointClient
from rewardanything_core.backends.endpoint.completions import (
    ChatCompletion,
    MalformedReplyError,
    align_tokens,
    option_probabilities,
)
from rewardanything_core.backends.endpoint.config import EndpointConfig
from rewardanything_core.backends.endpoint.providers import OWN_SERVER
from rewardanything_core.backends.placeholders import placeholder_reply
from rewardanything_core.concurrency import background_loop
from rewardanything_core.errors import BackendError, ContextLengthError, NoProbabilitiesError, RefusalError
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.types import Message, Usage

CHARACTERS_PER_TOKEN = 12
"""More than any tokenizer reaches on text, so that a case is rejected here only if it cannot possibly fit."""


class ChatModel:
    """A chat model behind an endpoint: one completion for a request, and probabilities of short answers.

    Args:
        config: The model and its options.
        client: Sends the requests.
        capabilities: What the server supports, as far as its replies have shown.
        fingerprint: What identifies the model; the same request to it has one reply in a batch.
    """

    def __init__(
        self,
        config: EndpointConfig,
        client: EndpointClient,
        capabilities: ServerCapabilities,
        fingerprint: Mapping[str, Any],
    ) -> None:
        self._config = config
        self._client = client
        self._capabilities = capabilities
        self._fingerprint = fingerprint

    async def complete(self, request: Request) -> Completion:
        """See `EndpointBackend.complete`."""
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
        """See `EndpointBackend.score_options`."""
        for question in questions:
            self.check_window(question.messages, 1)
        prefix_group = hash(questions[0].messages[-1]["content"][:200]) if questions else None
        answers = await background_loop.gather(self._probabilities(question, prefix_group) for question in questions)
        return ChoiceResult(
            answers=tuple(probabilities for probabilities, _ in answers),
            usage=sum((usage for _, usage in answers), Usage()),
        )

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
                f"{self._config.model} {problem}, so the probabilities of {' or '.join(question.options)} are not "
                "known.",
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
        if thinking and self._config.response_format == "auto":
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
        self.check_window(messages, max_tokens)
        parameters = self._parameters(request, max_tokens, without_thinking=without_thinking, constrained=constrained)
        if (session := batch_session.in_force()) is not None:
            identity = self._identity(request, messages, max_tokens, without_thinking)
            placeholder = placeholder_reply(request.schema)
            reply, usage = await session.reply(self._client, identity, messages, parameters, placeholder)
        else:
            reply, usage = await self._client.send(messages, parameters, prefix_group=request.prefix_group)
            usage += self._client.costs.spent(reply)
        if reply.failure is not None:
            raise self._failed(reply, usage)
        return reply, usage

    def _identity(
        self, request: Request, messages: Sequence[Message], max_tokens: int, without_thinking: bool
    ) -> list[Any]:
        """What makes a request another one, apart from what the server turns out to support."""
        sampling = dataclasses.asdict(request.sampling)
        return [self._fingerprint, messages, max_tokens, sampling, without_thinking, request.token_probabilities]

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
        always = self._config.response_format == "json_schema"
        if request.schema is not None and (always or (constrained and self._config.response_format == "auto")):
            schema = {"name": "verdict", "schema": dict(request.schema), "strict": True}
            parameters["response_format"] = {"type": "json_schema", "json_schema": schema}
        if request.token_probabilities:
            parameters |= {"logprobs": True, "top_logprobs": self._capabilities.top_logprobs}
        if without_thinking and self._config.provider == OWN_SERVER:
            given = self._config.extra_body.get("chat_template_kwargs", {})
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
                    f"{self._config.model} returned no token log-probabilities {which}; expected_scores=True needs "
                    "them.",
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
            error = BackendError(f"{self._config.model} stopped with an error{detail}", status_code=200)
        elif reply.failure == "filtered":
            error = RefusalError(f"A content filter stopped the reply of {self._config.model}{detail}", status_code=200)
        else:
            error = RefusalError(f"{self._config.model} refused to answer{detail}", status_code=200)
        error.raw = reply.answer or reply.failure_text or reply.reasoning
        return _with_usage(error, usage)

    def _malformed(self, problem: MalformedReplyError, usage: Usage) -> BackendError:
        message = f"{self._config.model} returned token log-probabilities of an unknown form: {problem}."
        return _with_usage(BackendError(message, status_code=200), usage)

    def check_window(self, messages: Sequence[Message], max_tokens: int) -> None:
        """Refuse a request that cannot fit into the context window, if that is known.

        Args:
            messages: The conversation.
            max_tokens: Maximum length of the reply, in tokens.

        Raises:
            ContextLengthError: it cannot fit.
        """
        if self._config.context_window is None:
            return
        least = sum(map(_text_length, messages)) // CHARACTERS_PER_TOKEN + max_tokens
        if least > self._config.context_window:
            detail = f"That includes {max_tokens:,} for the reply and is a lower bound for the texts."
            raise ContextLengthError(tokens=least, limit=self._config.context_window, detail=detail)


def _joined(*parts: str | None) -> str:
    return "\n\n".join(part for part in parts if part)


def _with_usage(error: BackendError, usage: Usage) -> BackendError:
    error.usage = usage
    return error


def _text_length(message: Message) -> int:
    content = message["content"]
    return len(content) if isinstance(content, str) else sum(len(part.get("text", "")) for part in content)
