"""Requests to a backend that does not know budgets, each reserved as a whole from the budget in force."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from rewardanything_core.backends import budget
from rewardanything_core.backends.base import (
    ChoiceRequest,
    ChoiceResult,
    Completion,
    DecisionResult,
    HiddenStates,
    Request,
)
from rewardanything_core.backends.budget import Expense
from rewardanything_core.backends.pricing import approximate_tokens
from rewardanything_core.backends.wrapped import WrappedBackend
from rewardanything_core.decisions import Question
from rewardanything_core.errors import RewardAnythingError
from rewardanything_core.types import Message, Usage

Result = TypeVar("Result", Completion, ChoiceResult, DecisionResult, HiddenStates)


class MeteredBackend(WrappedBackend):
    """A backend whose requests are paid from the budget in force.

    Args:
        backend: The backend.
    """

    async def complete(self, request: Request) -> Completion:
        """See `Backend.complete`."""
        sampling = request.sampling
        most = self._most([request.messages], (sampling.thinking_budget or 0) + sampling.max_tokens)
        return await self._paid(most, lambda: self._backend.complete(request))

    async def score_options(self, questions: Sequence[ChoiceRequest]) -> ChoiceResult:
        """See `Backend.score_options`."""
        most = self._most([question.messages for question in questions], 1)
        return await self._paid(most, lambda: self._backend.score_options(questions))

    async def decide(self, content: Message, questions: Sequence[Question]) -> DecisionResult:
        """See `Backend.decide`."""
        texts: Message = {"role": "user", "content": str(questions)}
        return await self._paid(self._most([[content, texts]], 0), lambda: self._backend.decide(content, questions))

    async def hidden_states(self, prompts: Sequence[tuple[Message, ...]], layer: int) -> HiddenStates:
        """See `Backend.hidden_states`."""
        return await self._paid(self._most(prompts, 0), lambda: self._backend.hidden_states(prompts, layer))

    def _most(self, conversations: Sequence[Sequence[Message]], max_tokens: int) -> Expense:
        """The most that one request for each conversation can take; not computed where no budget asks for it."""
        if budget.in_force() is None:
            return Expense(calls=len(conversations))
        prompt = sum(approximate_tokens(each, cautious=True) for each in conversations)
        completion = max_tokens * len(conversations)
        prices = self._backend.prices
        cost = 0.0 if prices is None else prices.cost(prompt, completion)
        return Expense(calls=len(conversations), tokens=prompt + completion, cost=cost)

    async def _paid(self, most: Expense, call: Callable[[], Awaitable[Result]]) -> Result:
        reservation = await budget.reserve(most)
        try:
            result = await call()
            reservation.settle(self._expense(result.usage, most))
            return result
        except RewardAnythingError as error:
            # Without usage nothing is known to have been computed.
            reservation.settle(Expense(calls=most.calls) if error.usage is None else self._expense(error.usage, most))
            raise
        finally:
            reservation.settle(most)  # cancelled, or failed in an unknown way

    def _expense(self, usage: Usage, most: Expense) -> Expense:
        prices, cost = self._backend.prices, usage.cost
        if cost is None:
            cost = 0.0 if prices is None else prices.cost(usage.prompt_tokens, usage.completion_tokens)
        calls = max(usage.calls, most.calls)
        return Expense(calls=calls, tokens=usage.prompt_tokens + usage.completion_tokens, cost=cost)
