"""What requests to an endpoint cost: the most that one can take, before it is sent, and what its attempts took."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from rewardanything_core.backends import budget
from rewardanything_core.backends.budget import Expense
from rewardanything_core.backends.endpoint import litellm_adapter
from rewardanything_core.backends.endpoint.attempt_errors import AttemptError
from rewardanything_core.backends.endpoint.completions import ChatCompletion
from rewardanything_core.backends.endpoint.config import EndpointConfig
from rewardanything_core.backends.pricing import Prices, approximate_tokens
from rewardanything_core.types import Message, Usage


class Costs:
    """Tokens and US dollars of the requests to one model.

    Args:
        config: The model and, if they were given, its prices.
    """

    def __init__(self, config: EndpointConfig) -> None:
        self._config = config

    @cached_property
    def prices(self) -> Prices | None:
        """What the model's tokens cost. None: not known."""
        config = self._config
        if config.input_cost_per_token is not None and config.output_cost_per_token is not None:
            return Prices(config.input_cost_per_token, config.input_cost_per_token, config.output_cost_per_token)
        return litellm_adapter.prices(config.served_model, config.provider) if self.may_be_listed else None

    @property
    def may_be_listed(self) -> bool:
        """Whether LiteLLM's list may have the model's prices; it does not have those of the user's own server."""
        return self._config.direct is None or self._config.provider in ("openai", "typesafe")

    @cached_property
    def batch_prices(self) -> Prices | None:
        """What the model's tokens cost in a batch: half, unless the provider lists other prices. None: not known."""
        listed = None
        if self.prices is not None and self._config.input_cost_per_token is None:
            listed = litellm_adapter.prices(self._config.served_model, self._config.provider, in_batch=True)
        return listed or (self.prices and Prices(*(price / 2 for price in self.prices)))

    def spent(self, reply: ChatCompletion, *, in_batch: bool = False) -> Usage:
        """The tokens of a reply and what they cost.

        Args:
            reply: The reply.
            in_batch: Whether a batch brought it.
        """
        prices = self.batch_prices if in_batch else self.prices
        cost = reply.cost if self._config.input_cost_per_token is None else None
        if cost is None and prices is not None:
            cost = prices.cost(reply.prompt_tokens, reply.completion_tokens, cached_tokens=reply.cached_tokens)
        return Usage(prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens, cost=cost)

    def most(self, messages: Sequence[Message], parameters: Mapping[str, Any]) -> Expense:
        """The most that an attempt can take; not computed where no budget asks for it.

        Args:
            messages: The conversation.
            parameters: The request's parameters, of which ``max_tokens`` counts.
        """
        if budget.in_force() is None:
            return Expense(calls=1)
        prompt = approximate_tokens(messages, cautious=True)
        completion = parameters.get("max_tokens", 0)
        cost = 0.0 if self.prices is None else self.prices.cost(prompt, completion)
        return Expense(calls=1, tokens=prompt + completion, cost=cost)

    def most_in_batch(self, messages: Sequence[Message], parameters: Mapping[str, Any]) -> Expense:
        """The most that a request in a batch can take.

        Args:
            messages: The conversation.
            parameters: The request's parameters.
        """
        most = self.most(messages, parameters)
        completion = parameters.get("max_tokens", 0)
        cost = 0.0 if self.batch_prices is None else self.batch_prices.cost(most.tokens - completion, completion)
        return dataclasses.replace(most, cost=cost)

    def of_attempts(self, outcome: ChatCompletion | AttemptError, calls: int, most: Expense) -> Expense:
        """What attempts took: what the server counted, or the most where that is not known.

        Args:
            outcome: The outcome of the last attempt.
            calls: Number of attempts, of which only the last has a known outcome; 1 or more.
            most: The most that one can take.
        """
        without_reply = Expense(calls=1)
        if isinstance(outcome, ChatCompletion):
            spent = self.spent(outcome)
            tokens = spent.prompt_tokens + spent.completion_tokens
            last = Expense(calls=1, tokens=tokens, cost=spent.cost or 0.0) if tokens else most
        elif outcome.responded or outcome.unreachable:
            last = without_reply
        else:  # a timeout or a connection that was lost: the provider may have answered, and bill it
            last = most
        return sum((most for _ in range(calls - 1)), last)
