"""Principle profiles: what a principle rewards, from a model's answers about the principle alone.

A small model that sees a response goes by the words that occur in it and takes "no Markdown" for "Markdown". Asked
about the principle alone, it understands what is wanted and what is not. A profile is computed once per principle and
serves all cases under it.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean

from rewardanything_core.backends.base import Backend, ChoiceRequest, log_odds
from rewardanything_core.concurrency.memo import AsyncMemo, PersistentCache
from rewardanything_core.readouts.pointwise.questions import ContrastPair, QuestionSet
from rewardanything_core.readouts.pointwise.text_features import FEATURES
from rewardanything_core.types import Usage

NEUTRAL_BAND = 0.3
"""A feature preference (log-odds) within this distance of the average principle's counts as no preference.

Cross-validated with benchmarks/constants.py."""

FULL_FORM_PREFERENCE = 0.6
"""A preference on form of this strength (log-odds beyond `NEUTRAL_BAND`) leaves no weight for groundedness.
Cross-validated with benchmarks/constants.py."""

GROUNDING_THRESHOLD = 0.5
"""Log-odds above the average principle's from which a principle is about being grounded in a source text.

Cross-validated with benchmarks/constants.py."""

GROUNDING_RANGE = 0.5
"""Log-odds beyond `GROUNDING_THRESHOLD` at which groundedness has its full weight. Not tuned."""

GROUNDING_AVERSION = 0.2
"""Log-odds below the average principle's at which a principle counts groundedness as a fault. Not tuned."""

TOPICS = ("itself", "source")
"""What a principle is asked about: itself, and the source text of a response."""

SHIPPED_AVERAGES = Path(__file__).parent / "average_answers.json"
"""Weights (`weights_of`) -> ``questions``, their hash, and ``answers``: topic -> average answers."""

_Answers = Mapping[str, float]  # name of a contrast pair, or a question -> log-odds
_Query = tuple[str, ChoiceRequest, float]  # the name that the answer counts under, the question, and its weight


@dataclass(frozen=True)
class PrincipleProfile:
    """What a principle rewards."""

    feature_preferences: Mapping[str, float]
    """Text feature -> preference in log-odds: above 0 more is better, below 0 less is better, 0 no preference."""

    groundedness_weight: float
    """-1..1: how much being grounded in the source text counts; 0 where the principle does not mention it or the case
    has no source text."""

    @property
    def form_share(self) -> float:
        """0..1: how far form decides."""
        strongest = max(map(abs, self.feature_preferences.values()), default=0.0)
        return min(1.0, strongest / FULL_FORM_PREFERENCE)


NO_PREFERENCES = PrincipleProfile({}, 0.0)
"""The profile under which neither form nor groundedness counts."""


class PrincipleProfiler:
    """Computes profiles by asking a model about principles. Used on one event loop only.

    Args:
        backend: A model that supports option scores.
        questions: The questions.
        cache: Stores the model's answers beyond the process. None: they are kept in memory only.
    """

    def __init__(self, backend: Backend, questions: QuestionSet, cache: PersistentCache | None = None) -> None:
        self._backend, self._questions = backend, questions
        self._answers = AsyncMemo(cache)
        self._averages = _shipped_averages(backend, questions)

    async def profile(self, principle: str, *, has_source: bool, on_usage: Callable[[Usage], None]) -> PrincipleProfile:
        """The profile of a principle.

        Args:
            principle: The principle's text.
            has_source: Whether the case has a source text that responses can be grounded in.
            on_usage: Called with the usage of each request; answers that are cached cost nothing.
        """
        answers = await self._relative_answers("itself", principle, on_usage)
        groundedness_weight = 0.0
        if has_source:
            about_source = await self._relative_answers("source", principle, on_usage)
            groundedness_weight = self._groundedness_weight(about_source)
        profile = PrincipleProfile(_preferences(answers), groundedness_weight)
        return replace(profile, groundedness_weight=groundedness_weight * (1 - profile.form_share))

    def _groundedness_weight(self, answers: _Answers) -> float:
        """Map the answers about source texts to -1..1.

        All principles value replies that are true to a source, so the traits decide only the sign; the strength is how
        clearly the principle is about a source.
        """
        relevance = fmean(answers[question] for question in self._questions.grounding_questions)
        value = fmean(answers[pair.name] for pair in self._questions.grounding_traits)
        strength = min(1.0, max(0.0, relevance - GROUNDING_THRESHOLD) / GROUNDING_RANGE)
        return -strength if value < -GROUNDING_AVERSION else strength

    # --- the model's answers

    async def _relative_answers(self, topic: str, principle: str, on_usage: Callable[[Usage], None]) -> _Answers:
        """The answers about a principle, less the average answers about the examples' principles."""
        # These keys are those of existing stores.
        baseline = await self._answers.get(f"{topic} usual", partial(self._average, topic, on_usage))
        absolute = await self._answers.get(
            f"{topic} principle {principle}", partial(self._answers_on, topic, principle, on_usage)
        )
        return {name: value - baseline[name] for name, value in absolute.items()}

    async def _average(self, topic: str, on_usage: Callable[[Usage], None]) -> _Answers:
        return self._averages.get(topic) or await self.average_answers(topic, on_usage)

    async def average_answers(self, topic: str, on_usage: Callable[[Usage], None]) -> _Answers:
        """Ask about the examples' principles, and average the answers.

        Args:
            topic: One of `TOPICS`.
            on_usage: Called with the usage of each request.
        """
        principles = [example.principle for example in self._questions.examples]
        each = await asyncio.gather(*(self._answers_on(topic, principle, on_usage) for principle in principles))
        return {name: fmean(one[name] for one in each) for name in each[0]}

    async def _answers_on(self, topic: str, principle: str, on_usage: Callable[[Usage], None]) -> _Answers:
        ask = self.answers if topic == "itself" else self._answers_about_source
        result, usage = await ask(principle)
        on_usage(usage)
        return result

    async def answers(self, principle: str) -> tuple[_Answers, Usage]:
        """Ask about a principle, without cache and baseline.

        Returns:
            Name of a text feature -> half the log-odds of much of it against little of it; and the usage.
        """
        questions = self._questions
        return await self._ask(
            self._pairs(principle, questions.feature_traits, self._rating_request)
            + self._pairs(principle, questions.feature_questions, self._question_request)
        )

    async def _answers_about_source(self, principle: str) -> tuple[_Answers, Usage]:
        questions = self._questions
        relevance = [
            (question, self._question_request(principle, question), 1.0) for question in questions.grounding_questions
        ]
        return await self._ask(relevance + self._pairs(principle, questions.grounding_traits, self._rating_request))

    def _pairs(
        self, principle: str, pairs: Sequence[ContrastPair], request: Callable[[str, str], ChoiceRequest]
    ) -> list[_Query]:
        return [
            (pair.name, request(principle, text), weight)
            for pair in pairs
            for text, weight in ((pair.more, 0.5), (pair.less, -0.5))
        ]

    async def _ask(self, queries: Sequence[_Query]) -> tuple[_Answers, Usage]:
        """Name -> the weighted mean of the log-odds of its queries."""
        result = await self._backend.score_options([request for _, request, _ in queries])
        sums: dict[str, float] = defaultdict(float)
        counts: dict[str, float] = defaultdict(float)
        for (name, _, weight), answer in zip(queries, result.answers, strict=True):
            sums[name] += weight * log_odds(answer)
            counts[name] += abs(weight)
        return {name: total / counts[name] for name, total in sums.items()}, result.usage

    def _rating_request(self, principle: str, trait: str) -> ChoiceRequest:
        messages = self._questions.trait_messages(
            principle, trait, escape_special_tokens=not self._backend.escapes_special_tokens
        )
        return ChoiceRequest(messages=messages, options=self._questions.rating_options)

    def _question_request(self, principle: str, question: str) -> ChoiceRequest:
        messages = self._questions.principle_messages(
            principle, question, escape_special_tokens=not self._backend.escapes_special_tokens
        )
        return ChoiceRequest(messages=messages, options=self._questions.options)


def _shipped_averages(backend: Backend, questions: QuestionSet) -> Mapping[str, _Answers]:
    """The average answers that ship for the weights of a model: most of what its first verdict would ask.

    Made by benchmarks/average_answers.py.

    Args:
        backend: The model.
        questions: The questions.

    Returns:
        Topic -> answers; empty for other weights, another dtype, quantized weights, and other questions.
    """
    entries = json.loads(SHIPPED_AVERAGES.read_text(encoding="utf-8"))
    entry = entries.get(weights_of(backend), {})
    answers: Mapping[str, _Answers] = entry["answers"] if entry.get("questions") == questions.hash else {}
    return answers


def weights_of(backend: Backend) -> str:
    """What identifies the weights of a local model and their dtype.

    Args:
        backend: The model.
    """
    fingerprint = backend.fingerprint()
    return "/".join(str(fingerprint.get(name)) for name in ("weights", "dtype", "quantization"))


def _preferences(answers: _Answers) -> dict[str, float]:
    """Answers about text features, with those in the neutral band set to 0 and the others moved towards 0 by it."""
    return {name: math.copysign(max(0.0, abs(answers[name]) - NEUTRAL_BAND), answers[name]) for name in FEATURES}
