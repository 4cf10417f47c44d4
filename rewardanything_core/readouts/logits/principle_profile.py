"""What a principle wants, by what a model says of the principle alone: asked once, for all cases under it.

With a response in view a small model goes by the words that occur, and reads "no Markdown" as "Markdown". Of the
principle alone it understands what is wanted and what is not.
"""

from __future__ import annotations

import asyncio
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Literal

from rewardanything_core.backends.base import Backend, ChoiceRequest, log_odds
from rewardanything_core.concurrency.memo import AsyncMemo, PersistentCache
from rewardanything_core.readouts.logits import text_features
from rewardanything_core.readouts.logits.questions import QuestionSet, Trait
from rewardanything_core.types import Usage

SILENT = 0.3
"""A demand (log-odds) that is not further from that of principles without any is none."""

FORMAL = 0.6
"""A demand on form as strong as this leaves nothing of common quality: the longer of two replies may be the better."""

CONTRARY = 0.3
"""Log-odds below usual of being sensible, and of liking what is good, at which as much speaks for as against it."""

CONTRAST = 6.0
"""How fast that decides: half the log-odds of an ordinary principle against a contrary one, by a log-odd."""

ABOUT = 0.5
"""How much more than usual (log-odds) a principle must be about keeping to a text before that counts."""

STRONG = 0.5
"""Log-odds beyond that which make a full demand."""

UNWANTED = 0.2
"""How far (log-odds) below usual keeping to a text must be valued to be a fault."""

_Found = Mapping[str, float]
_Asked = tuple[str, ChoiceRequest, float]


@dataclass(frozen=True)
class PrincipleProfile:
    """What a principle wants."""

    demands: Mapping[str, float]
    """Text feature (of `MEASURES`) -> how much of it the principle asks for: above 0 more, below 0 less, 0 where it is
    silent."""

    quality: float
    """-1..1: of what is commonly good. Below 0 the contrary; near 0 form decides, or it is not clear."""

    keeping: float
    """-1..1: that replies keep to the text they are given; 0 where the principle is silent, or there is no text."""

    @property
    def formality(self) -> float:
        """0..1: how far form decides."""
        return min(1.0, max(map(abs, self.demands.values()), default=0.0) / FORMAL)


class Understanding:
    """Asks a model about principles. Used on one event loop only.

    Args:
        backend: A model that gives odds.
        wording: What it is asked.
        cache: Where answers outlast the process. None: nowhere.
    """

    def __init__(self, backend: Backend, wording: QuestionSet, cache: PersistentCache | None = None) -> None:
        self._backend, self._wording = backend, wording
        self._known = AsyncMemo(cache)

    async def of(self, principle: str, *, source: bool, on_usage: Callable[[Usage], None]) -> PrincipleProfile:
        """What a principle wants.

        Args:
            principle: Its text.
            source: Whether there is a text to keep to.
            on_usage: Told what each call to the model took; whoever asks first pays.
        """
        itself = await self._above_usual("itself", principle, on_usage)
        keeping = self._keeping(await self._above_usual("source", principle, on_usage)) if source else 0.0
        wants = PrincipleProfile(self._demands(itself), self._quality(itself), keeping)
        left = 1 - wants.formality
        return replace(wants, quality=wants.quality * left, keeping=wants.keeping * left)

    def _demands(self, above: _Found) -> dict[str, float]:
        return {
            name: math.copysign(max(0.0, abs(above[name]) - SILENT), above[name]) for name in text_features.MEASURES
        }

    def _quality(self, above: _Found) -> float:
        """Half the log-odds of an ordinary principle against a contrary one, put on -1..1, with 1 for a usual one."""
        traits = (*self._wording.quality_traits, *self._wording.quality_views)
        for_it = math.tanh(CONTRAST * (CONTRARY + fmean(above[trait.name] for trait in traits)))
        return max(-1.0, min(1.0, for_it / math.tanh(CONTRAST * CONTRARY)))

    def _keeping(self, above: _Found) -> float:
        """What is true is liked under every principle, so it is told by what the principle is about.

        How keeping to the text is valued tells the sign alone.
        """
        about = fmean(above[question] for question in self._wording.source_questions)
        valued = fmean(above[trait.name] for trait in self._wording.source_traits)
        strength = min(1.0, max(0.0, about - ABOUT) / STRONG)
        return -strength if valued < -UNWANTED else strength

    # --- asking

    async def _above_usual(
        self, what: Literal["itself", "source"], principle: str, on_usage: Callable[[Usage], None]
    ) -> _Found:
        """What is found of a principle, less what is found of the examples' principles on average."""
        ask = {"itself": self.about_itself, "source": self._about_source}[what]

        async def find(principle: str) -> _Found:
            found, usage = await ask(principle)
            on_usage(usage)
            return found

        async def average() -> _Found:
            each = await asyncio.gather(*(find(example.principle) for example in self._wording.examples))
            return {name: fmean(one[name] for one in each) for name in each[0]}

        usual = await self._known.get(f"{what} usual", average)
        found = await self._known.get(f"{what} principle {principle}", partial(find, principle))
        return {name: value - usual[name] for name, value in found.items()}

    async def about_itself(self, principle: str) -> tuple[_Found, Usage]:
        """Name of a fact, trait or view -> half the log-odds of much against little of it, and what asking took.

        Not kept.
        """
        wording = self._wording
        return await self._asked(
            self._pairs(principle, (*wording.facts, *wording.quality_traits), self._under)
            + self._pairs(principle, (*wording.views, *wording.quality_views), self._about)
        )

    async def _about_source(self, principle: str) -> tuple[_Found, Usage]:
        wording = self._wording
        questions = [(question, self._about(principle, question), 1.0) for question in wording.source_questions]
        return await self._asked(questions + self._pairs(principle, wording.source_traits, self._under))

    def _pairs(self, principle: str, traits: Sequence[Trait], ask: Callable[[str, str], ChoiceRequest]) -> list[_Asked]:
        sides = [(trait, side) for trait in traits for side in (0.5, -0.5)]
        return [(trait.name, ask(principle, trait.more if side > 0 else trait.less), side) for trait, side in sides]

    async def _asked(self, asked: Sequence[_Asked]) -> tuple[_Found, Usage]:
        """Name -> the weighted log-odds of what is asked under it; of several pairs, their mean."""
        reading = await self._backend.score_options([question for _, question, _ in asked])
        sums: dict[str, float] = defaultdict(float)
        counts: dict[str, float] = defaultdict(float)
        for (name, _, weight), odds in zip(asked, reading.odds, strict=True):
            sums[name] += weight * log_odds(odds)
            counts[name] += abs(weight)
        return {name: total / counts[name] for name, total in sums.items()}, reading.usage

    def _under(self, principle: str, trait: str) -> ChoiceRequest:
        messages = self._wording.under_principle(
            principle, trait, escape_markup=not self._backend.escapes_special_tokens
        )
        return ChoiceRequest(messages=messages, options=self._wording.demand_options)

    def _about(self, principle: str, question: str) -> ChoiceRequest:
        messages = self._wording.about_principle(
            principle, question, escape_markup=not self._backend.escapes_special_tokens
        )
        return ChoiceRequest(messages=messages, options=self._wording.options)
