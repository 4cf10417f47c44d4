"""What all written verdicts have in common: a request is repeated, in a new order, until its reply is a verdict."""

from __future__ import annotations

import dataclasses
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from rewardanything_core.backends.base import Backend, Completion, Request
from rewardanything_core.backends.grammar import GrammarFactory
from rewardanything_core.cases import Case
from rewardanything_core.errors import VerdictParseError
from rewardanything_core.prompting.templates import Rendered, Template, final_answer_prompt
from rewardanything_core.readouts.attempts import OnUsage, until_verdict
from rewardanything_core.readouts.results import PassResult
from rewardanything_core.sampling import SamplingParams

ParseCompletion: TypeAlias = Callable[[Completion], PassResult]
"""The result in a completion; raises `VerdictParseError` if there is none."""


@dataclass(frozen=True, kw_only=True)
class WrittenReadout(ABC):
    """Obtains verdicts that the model writes; holds everything except the case."""

    backend: Backend
    """The model."""

    template: Template
    """The prompt's wording."""

    sampling: SamplingParams
    """Sampling of the reply; ``thinking_budget`` is a number here, never None."""

    seed: int
    """Seed of the orders and of the sampler."""

    retries: int
    """How often to request another reply when one is not a verdict, 0 or more."""

    expected: bool
    """Whether scores are expectations over the scores' token probabilities."""

    @abstractmethod
    async def run(self, case: Case, index: int, *, on_usage: OnUsage) -> PassResult:
        """Judge a case in the ``index``-th order drawn for it.

        Args:
            case: The case.
            index: Number of the pass, from 0.
            on_usage: Called with the usage of each request, whether or not it gave a verdict.

        Raises:
            RewardAnythingError: no verdict; ``failure`` has the number of attempts and the last reply.
        """

    async def _until_verdict(
        self, case: Case, prepare: Callable[[int], tuple[Request, ParseCompletion]], on_usage: OnUsage
    ) -> PassResult:
        """Send requests until a reply is a verdict.

        Args:
            case: The case.
            prepare: Gives the request of an attempt, numbered from 0, and the parser of its completion.
            on_usage: See `run`.
        """

        async def attempt(number: int) -> PassResult:
            request, parse = prepare(number)
            completion = await self.backend.complete(request)
            on_usage(completion.usage)
            return _parsed(completion, parse)

        return await until_verdict(case, attempt, retries=self.retries, on_usage=on_usage)

    def _request(
        self,
        rendered: Rendered,
        *,
        index: int,
        attempt: int,
        grammar: GrammarFactory | None = None,
        schema: dict[str, Any] | None = None,
    ) -> Request:
        sampling = dataclasses.replace(self.sampling, seed=self._derived_seed(index, attempt))
        if attempt and len(rendered.labels) == 1:
            # A single response has one order only, and greedy decoding would repeat the same reply.
            sampling = dataclasses.replace(sampling, temperature=max(sampling.temperature, 0.5))
        return Request(
            messages=tuple(rendered.messages),
            sampling=sampling,
            grammar=grammar,
            schema=schema,
            is_reasoning_model=self.template.name == "trained",
            final_answer_prompt=None if grammar is None else final_answer_prompt(),
            prefix_group=hash(rendered.shared_prefix) if rendered.shared_prefix else None,
            token_probabilities=self.expected or self.template.needs_probabilities,
        )

    def _derived_seed(self, index: int, attempt: int) -> int:
        name = f"{self.seed}/{self.sampling.seed}/{index}/{attempt}"
        return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) >> 1


def joined_reasoning(completion: Completion, reasoning: str) -> str:
    """What the model wrote in its reasoning channel, followed by the reasoning in its answer.

    Args:
        completion: The reply, with what the backend separated from the answer.
        reasoning: The reasoning in the answer; may be empty.
    """
    return "\n\n".join(part for part in ((completion.reasoning or "").strip(), reasoning) if part)


def _parsed(completion: Completion, parse: ParseCompletion) -> PassResult:
    """Parse a completion; of one that was cut off, only a verdict at its very end counts: others may be quotations."""
    try:
        result = parse(completion)
        if completion.truncated and not completion.answer.rstrip().endswith("}"):
            raise VerdictParseError(
                "The judge's reply is not a verdict: it was cut off after a verdict that it quotes.", raw=completion.raw
            )
    except VerdictParseError as error:
        error.raw = completion.raw
        if completion.truncated:
            error.hint = "It was cut off by the token limit: raise max_tokens or thinking_budget."
        raise
    return result
