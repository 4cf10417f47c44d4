"""Estimates of what judging cases will take, before anything is sent.

The requests of a case are found by running it with placeholder replies, so that passes, sub-lists, criteria and
questions about appeals are counted as they will be. What cannot be known before is estimated, and the estimate says
from what: tokens of a model whose tokenizer is not at hand, and the length of replies. Requests that have to be sent
again are not foreseen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.base import (
    Backend,
    ChoiceProbabilities,
    ChoiceRequest,
    ChoiceResult,
    Completion,
    DecisionResult,
    HiddenStates,
    Request,
    TokenProbability,
)
from rewardanything_core.backends.budget import Expense
from rewardanything_core.backends.placeholders import placeholder_reply
from rewardanything_core.backends.pricing import approximate_tokens
from rewardanything_core.backends.wrapped import WrappedBackend
from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.decisions import Answer, PredicateAnswer, Question, ScoreAnswer, ScoreQuestion
from rewardanything_core.errors import RewardAnythingError
from rewardanything_core.judging.case_runner import CaseRunner
from rewardanything_core.readouts.pointwise.reward_head import RewardHead
from rewardanything_core.types import Message, Usage

if TYPE_CHECKING:
    from rewardanything_core.judging.judge import Judge

TYPICAL_REPLY_TOKENS = 300
"""Tokens of a written verdict where the store has none of the model to measure."""

_MEASURED_VERDICTS = 200
_SAMPLED_CASES = 300
_LOOKUP = 1_000


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """What judging some cases will take. Add two with ``+``."""

    cases: int
    """Number of cases."""

    cached: int
    """How many of them are in the store, which costs nothing."""

    calls: int
    """Requests, except those that are repeated because a reply is not a verdict."""

    prompt_tokens: int
    """Tokens to read."""

    completion_tokens: int
    """Tokens to generate, if replies have their typical length."""

    max_completion_tokens: int
    """Tokens to generate, if all replies are as long as they may be."""

    cost: float | None
    """US dollars, if replies have their typical length. None: the model's prices are not known."""

    max_cost: float | None
    """US dollars, if all replies are as long as they may be. None: the model's prices are not known."""

    tokens_counted: bool
    """Whether the model's tokenizer counted the tokens to read. If not, they are estimated from the characters."""

    replies_measured: int
    """Stored verdicts of the model whose mean length is taken as typical. 0: it is `TYPICAL_REPLY_TOKENS`."""

    def __add__(self, other: CostEstimate) -> CostEstimate:
        return CostEstimate(
            cases=max(self.cases, other.cases),
            cached=min(self.cached, other.cached),
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            max_completion_tokens=self.max_completion_tokens + other.max_completion_tokens,
            cost=_sum(self.cost, other.cost),
            max_cost=_sum(self.max_cost, other.max_cost),
            tokens_counted=self.tokens_counted and other.tokens_counted,
            replies_measured=min(self.replies_measured, other.replies_measured),
        )

    @property
    def expense(self) -> Expense:
        """What would be paid from a budget."""
        return Expense(self.calls, self.prompt_tokens + self.completion_tokens, self.cost or 0.0)

    def __str__(self) -> str:
        cases, calls = (
            f"{n:,} {noun}{'' if n == 1 else 's'}" for n, noun in ((self.cases, "case"), (self.calls, "call"))
        )
        parts = f"{cases}, {self.cached:,} of them from the store (free); {calls}"
        if not self.calls:
            return f"{parts}."
        about = "" if self.tokens_counted else "about "
        tokens = f"{about}{self.prompt_tokens:,} tokens read, about {self.completion_tokens:,} written"
        basis = [] if self.tokens_counted else ["the number of characters"]
        if self.completion_tokens < self.max_completion_tokens:
            basis.append(
                f"the mean length of {self.replies_measured} stored replies"
                if self.replies_measured
                else f"{TYPICAL_REPLY_TOKENS} tokens a reply"
            )
        price = "; no price is known"
        if self.cost is not None and self.max_cost is not None:
            price = f": about ${self.cost:,.3g}, and ${self.max_cost:,.3g} if every reply is as long as it may be"
        based = f" (an estimate, from {' and '.join(basis)})" if basis else ""
        return f"{parts}, {tokens}{price}{based}."


def estimate(judge: Judge, cases: Sequence[Case]) -> CostEstimate:
    """What a judge will take for cases. Nothing is sent.

    Of many cases an evenly spaced sample is run, and the rest taken to be alike.

    Args:
        judge: The judge.
        cases: The cases. Those that are alike count once, as they will be judged once.
    """
    cached = 0
    missing: dict[tuple[str, bool], Case] = {}
    for start in range(0, len(cases), _LOOKUP):
        chunk = cases[start : start + _LOOKUP]
        for case, verdict in zip(chunk, judge.cached_verdicts(chunk), strict=True):
            cached += verdict is not None
            if verdict is None:
                missing[case.digest, case.has_turns] = case
    unjudged = list(missing.values())
    step = max(1, -(-len(unjudged) // _SAMPLED_CASES))
    sample = unjudged[::step]
    backend = _DryRun(judge.backend, judge.options.head)
    if sample:
        background_loop.wait(background_loop.submit(_run(backend, judge, sample)))
    scale = len(unjudged) / len(sample) if sample else 0.0
    reply_tokens, measured = _typical_reply(judge) if backend.replies else (0.0, 0)
    written = min(backend.replies * reply_tokens, backend.reply_tokens) + backend.answers
    most, read = backend.reply_tokens + backend.answers, backend.prompt_tokens
    prices = judge.backend.prices
    return CostEstimate(
        cases=len(cases),
        cached=cached,
        calls=round(backend.calls * scale),
        prompt_tokens=round(read * scale),
        completion_tokens=round(written * scale),
        max_completion_tokens=round(most * scale),
        cost=None if prices is None else prices.cost(read, round(written)) * scale,
        max_cost=None if prices is None else prices.cost(read, most) * scale,
        tokens_counted=backend.tokens_counted,
        replies_measured=measured,
    )


async def _run(backend: _DryRun, judge: Judge, cases: Sequence[Case]) -> None:
    runner = CaseRunner(backend, judge.options, judge.template, None)
    for case in cases:
        try:
            await runner.judge(case, lambda _: None)
        except RewardAnythingError:  # it will fail in the same way, before or after its first requests
            continue


def _typical_reply(judge: Judge) -> tuple[float, int]:
    """The mean number of tokens of a reply, and the number of stored verdicts that it is the mean of."""
    if judge.cache == "off":
        return TYPICAL_REPLY_TOKENS, 0
    stored = (
        record.verdict.usage
        for record in judge.store.entries(model=judge.model, limit=_MEASURED_VERDICTS)
        if record.model == judge.model and record.verdict is not None
    )
    lengths = [usage.completion_tokens / usage.calls for usage in stored if usage.calls and usage.completion_tokens]
    return (fmean(lengths), len(lengths)) if lengths else (TYPICAL_REPLY_TOKENS, 0)


def _placeholder_answer(question: Question) -> Answer:
    if isinstance(question, ScoreQuestion):
        return ScoreAnswer(probabilities=(1 / len(question.levels),) * len(question.levels))
    return PredicateAnswer(probability=0.5)


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


class _DryRun(WrappedBackend):
    """Counts requests, and replies with placeholders.

    Args:
        backend: The model that would be called.
        head: The judge's reward head, which says how large a hidden state is.
    """

    def __init__(self, backend: Backend, head: Any) -> None:
        super().__init__(backend)
        self._head = head
        self.calls = self.replies = self.answers = self.prompt_tokens = self.reply_tokens = 0
        self.tokens_counted = True

    async def complete(self, request: Request) -> Completion:
        """Count a request."""
        self.replies += 1
        self.reply_tokens += (request.sampling.thinking_budget or 0) + request.sampling.max_tokens
        self._read(request.messages)
        reply = placeholder_reply(request.schema)
        tokens = tuple(TokenProbability(text=character) for character in reply) if request.token_probabilities else ()
        return Completion(answer=reply, tokens=tokens)

    async def score_options(self, questions: Sequence[ChoiceRequest]) -> ChoiceResult:
        """Count questions."""
        self.answers += len(questions)
        for question in questions:
            self._read(question.messages)
        equal = [{option: 1 / len(question.options) for option in question.options} for question in questions]
        answers = tuple(ChoiceProbabilities(probabilities=each, mass=1.0) for each in equal)
        return ChoiceResult(answers=answers, usage=Usage())

    async def decide(self, content: Message, questions: Sequence[Question]) -> DecisionResult:
        """Count a request."""
        self.answers += len(questions)
        self._read([content, {"role": "user", "content": "\n".join(map(str, questions))}])
        return DecisionResult(answers=tuple(map(_placeholder_answer, questions)), raw="", usage=Usage())

    async def hidden_states(self, prompts: Sequence[tuple[Message, ...]], layer: int) -> HiddenStates:  # noqa: ARG002
        """Count prompts."""
        import numpy as np

        for prompt in prompts:
            self._read(prompt)
        size = RewardHead.of(self._head, self.model).weights.shape[1]
        return HiddenStates(states=(np.zeros(size, np.float32),) * len(prompts), usage=Usage())

    def _read(self, messages: Sequence[Message]) -> None:
        tokens = self._backend.count_tokens(messages)
        self.tokens_counted = self.tokens_counted and tokens is not None
        self.prompt_tokens += approximate_tokens(messages) if tokens is None else tokens
        self.calls += 1
