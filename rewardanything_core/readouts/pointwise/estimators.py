"""Two ways to estimate from one forward pass how well a response fits a principle, both on a scale of log-odds."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from rewardanything_core.backends.base import Backend, ChoiceProbabilities, ChoiceRequest, log_odds
from rewardanything_core.cases import Case
from rewardanything_core.concurrency.memo import AsyncMemo, PersistentCache
from rewardanything_core.errors import BackendError, ConfigError
from rewardanything_core.readouts.pointwise.questions import QuestionSet
from rewardanything_core.readouts.pointwise.reward_head import RewardHead
from rewardanything_core.types import Usage

EXAMPLE_SCORE = 0.75
"""Where the examples' fitting responses are on 0..1, on average, by definition of the scale; the others are at .25."""

MIN_STEP = 0.25
"""Least log-odds per unit of the scale, so that a model that cannot tell the examples apart gives scores near 3."""

MIN_OPTION_MASS = 0.001
"""With less probability than this on Yes and No together, the model was not answering the question."""

OnUsage = Callable[[Usage], None]


@dataclass(frozen=True, kw_only=True)
class FitEstimate:
    """How well one response fits the principle, by one wording of the question."""

    units: float
    """Position on the scale, which the logistic function maps to 1..5; 0 is a score of 3."""

    step: float = 1.0
    """Log-odds per unit, by which other evidence in log-odds is divided."""

    deviation: float = 0.0
    """Its standard error, in the same units, where the estimator measures it."""

    answer: ChoiceProbabilities | None = None
    """The probabilities of the answers, where they are the source."""


class FitEstimator(Protocol):
    """Estimates how well responses fit a principle."""

    readout: str
    """The name of the readout: ``logits`` or ``head``."""

    num_wordings: int
    """The number of wordings of the question that it can use, 1 or more."""

    hash: str
    """Identifies everything besides the backend that affects its estimates."""

    feature_weight: float
    """Weight of text features and groundedness, relative to the log-odds of the estimate; 0: they do not count."""

    content_noise: float
    """Standard deviation of the error of an estimate that ``deviation`` does not show, in units."""

    async def estimate(
        self, cases: Sequence[Case], labels: Sequence[str], wordings: Sequence[int], on_usage: OnUsage
    ) -> list[list[dict[str, FitEstimate]]]:
        """Estimate all responses of cases that differ only in their principles, for all wordings, in one call.

        Args:
            cases: One or more cases.
            labels: The labels of their responses.
            wordings: Indices of the wordings of the question.
            on_usage: Called with the usage of each request.

        Returns:
            For each case, for each wording, label -> estimate.
        """


class AnswerEstimator:
    """The log-odds of Yes against No, on the scale of a model's answers about examples.

    Args:
        backend: A model that supports option scores.
        questions: The questions.
        cache: Stores answers that serve many cases beyond the process. None: they are kept in memory only.
    """

    readout = "logits"
    feature_weight = 1.5  # benchmarks/constants.py; 1 to 3 is a plateau
    content_noise = 1.2  # between the best values for the data sets of benchmarks/constants.py, which differ

    def __init__(self, backend: Backend, questions: QuestionSet, cache: PersistentCache | None = None) -> None:
        self._backend, self._questions = backend, questions
        self._calibrations = AsyncMemo(cache)
        self.num_wordings = len(questions.fit_questions)
        self.hash = questions.hash

    async def estimate(
        self, cases: Sequence[Case], labels: Sequence[str], wordings: Sequence[int], on_usage: OnUsage
    ) -> list[list[dict[str, FitEstimate]]]:
        """See `FitEstimator.estimate`."""
        answers = await self._ask(cases, labels, wordings, on_usage)
        scales = [await self._calibration(wording, on_usage) for wording in wordings]
        return [
            [
                {
                    label: FitEstimate(units=(log_odds(answer) - midpoint) / step, step=step, answer=answer)
                    for label, answer in by_label.items()
                }
                for (midpoint, step), by_label in zip(scales, by_wording, strict=True)
            ]
            for by_wording in answers
        ]

    async def _ask(
        self, cases: Sequence[Case], labels: Sequence[str], wordings: Sequence[int], on_usage: OnUsage
    ) -> list[list[dict[str, ChoiceProbabilities]]]:
        """The answers: for each case, for each wording, label -> probabilities."""
        escape = not self._backend.escapes_special_tokens
        requests = [
            ChoiceRequest(
                messages=self._questions.fit_messages(case, label, wording, escape_special_tokens=escape),
                options=self._questions.options,
            )
            for case in cases
            for wording in wordings
            for label in labels
        ]
        result = await self._backend.score_options(requests)
        on_usage(result.usage)
        if max(answer.mass for answer in result.answers) < MIN_OPTION_MASS:
            raise BackendError(
                f"{self._backend.model} does not answer with {' or '.join(self._questions.options)}, so there are no "
                "scores.",
                hint="Use readout='generate' for a model that reasons before it answers.",
            )
        answers = iter(result.answers)
        return [[{label: next(answers) for label in labels} for _ in wordings] for _ in cases]

    async def _calibration(self, wording: int, on_usage: OnUsage) -> tuple[float, float]:
        """The midpoint of the scale and the log-odds per unit, from the answers about the examples."""

        async def compute() -> Mapping[str, float]:
            values, usage = await self._ask_about_examples(wording)
            on_usage(usage)  # charged to the case that comes first
            return values

        values = await self._calibrations.get(f"scale {wording}", compute)
        return values["middle"], values["step"]

    async def _ask_about_examples(self, wording: int) -> tuple[Mapping[str, float], Usage]:
        usages: list[Usage] = []
        sides = ("fits", "breaks")
        cases = [
            Case(example.principle, example.prompt, {"fits": example.fits, "breaks": example.breaks})
            for example in self._questions.examples
        ]
        answers = await asyncio.gather(*(self._ask([case], sides, [wording], usages.append) for case in cases))
        means = {side: fmean(log_odds(by_label[side]) for ((by_label,),) in answers) for side in sides}
        step = (means["fits"] - means["breaks"]) / 2 / math.log(EXAMPLE_SCORE / (1 - EXAMPLE_SCORE))
        return {"middle": fmean(means.values()), "step": max(MIN_STEP, step)}, sum(usages, Usage())


class HeadEstimator:
    """A reward head's score of the hidden state where the answer would begin; the layers above are not run.

    Args:
        backend: A model that provides hidden states.
        questions: The questions.
        head: The head.

    Raises:
        ConfigError: the head does not belong to this model or these questions.
    """

    readout = "head"
    num_wordings = 1  # the one that heads are fitted to: the level of a head's scores differs between wordings

    def __init__(self, backend: Backend, questions: QuestionSet, head: RewardHead) -> None:
        head.check(backend.model, backend.num_layers)
        if head.questions_hash != questions.fit_hash:
            raise ConfigError(
                "The reward head was fitted to another wording of the question, by another version of this package; "
                "fit it again with ra-judge fit."
            )
        self._backend, self._questions, self._head = backend, questions, head
        self.feature_weight = head.feature_weight
        # The logistic function of d is about Phi(d / 1.7): a normal error of 1.7 / sqrt(2) for each of two responses.
        self.content_noise = 1.2 / head.step
        self.hash = f"{questions.hash}-{head.hash}"

    async def estimate(
        self, cases: Sequence[Case], labels: Sequence[str], wordings: Sequence[int], on_usage: OnUsage
    ) -> list[list[dict[str, FitEstimate]]]:
        """See `FitEstimator.estimate`."""
        import numpy as np

        escape = not self._backend.escapes_special_tokens
        prompts = [
            self._questions.fit_messages(case, label, wording, escape_special_tokens=escape)
            for case in cases
            for wording in wordings
            for label in labels
        ]
        result = await self._backend.hidden_states(prompts, self._head.layer)
        on_usage(result.usage)
        states = iter(result.states)

        def of_one_wording() -> dict[str, FitEstimate]:
            step = self._head.step
            scores, deviations = self._head.scores(np.stack([next(states) for _ in labels]))
            return {
                label: FitEstimate(units=float(score) / step, deviation=float(deviation) / step, step=step)
                for label, score, deviation in zip(labels, scores, deviations, strict=True)
            }

        return [[of_one_wording() for _ in wordings] for _ in cases]
