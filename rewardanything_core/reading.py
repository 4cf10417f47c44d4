"""The ``logits`` readout: nothing is written, the score of each response is read off the model's answers.

About each response by itself the model is asked whether it fits the principle, and the log-odds of Yes against No are
read; so there is no order of responses that could matter. What a program measures better than a small model sees it,
length and form, is measured; about the principle alone the model is asked, once, whether it wants much or little of it.
The score grows with the sum of both.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rewardanything_core import facts
from rewardanything_core.aggregate import Consensus, kendalls_w
from rewardanything_core.backends.base import Backend, Odds, Question
from rewardanything_core.cases import Case
from rewardanything_core.errors import BackendError, RewardAnythingError
from rewardanything_core.fit import FitWording, Trait, fit_wording
from rewardanything_core.flights import Flights
from rewardanything_core.masking import mask
from rewardanything_core.passes import Ballot
from rewardanything_core.sublists import Poll
from rewardanything_core.types import JudgeFailure, Usage

SURE = 0.75
"""Where on 0..1 the examples of responses that fit come to stand, on average; 1 - SURE those that do not."""

LEAST_SCALE = 0.25
"""Log-odds that count as one step at least, so that a model which tells nothing apart says nothing."""

SILENT = 0.3
"""A demand (log-odds) that is not further from that of principles without any is none."""

WEIGHT = 1.5
"""What the measured facts count for beside the log-odds of Yes against No."""

NOISE, FORMAL_NOISE = 1.2, 0.6
"""Standard deviation of what a reading is off by, in steps: about content, and where form decides."""

GOOD = 1.0
"""What the answers about common quality count for beside that about the principle."""

COMMON = 0.2
"""How far (log-odds) a principle may want less than usual of what is commonly good before that counts."""

TURN = 2.0
"""How fast it then counts for less: with 2, not at all at a quarter of a log-odd beyond, fully against at a half."""

FORMAL = 0.6
"""A demand on form as strong as this leaves nothing of common quality: the longer of two replies may be the better."""

ABOUT = 0.5
"""How much more than usual (log-odds) a principle must be about keeping to a text before that counts."""

STRONG = 0.5
"""Log-odds beyond that which make a full demand."""

UNWANTED = 0.2
"""How far (log-odds) below usual keeping to a text must be valued to be a fault."""

WORTH_SAYING = 0.1
"""Demands nearer to 0 count, but are not spelt out in the reasoning."""

USUAL = 3
"""How many of the examples' principles, none of which is about form, say what is usual for a demand."""

LEAST_MASS = 0.001
"""With less probability on all options together the model was not answering the question."""

_KEPT = 1024

_Found = tuple[dict[str, float], Usage]


@dataclass(frozen=True)
class _Scale:
    """What one wording's log-odds mean, by the examples."""

    middle: float
    common: float
    step: float

    def of(self, log_odds: float, common: float, liking: float) -> float:
        return (log_odds - self.middle + liking * (common - self.common)) / self.step


class Reader:
    """Casts ballots by reading. One for each judge; used on one event loop only.

    Args:
        backend: A model that gives odds.
        wording: What it is asked. None: what ships with the package.
    """

    def __init__(self, backend: Backend, wording: FitWording | None = None) -> None:
        self.wording = wording or fit_wording()
        self._backend = backend
        self._flights: Flights[_Found] = Flights()
        self._found: OrderedDict[str, dict[str, float]] = OrderedDict()

    async def poll(self, case: Case, *, passes: int, spend: Callable[[Usage], None]) -> Poll:
        """Judge a case in as many wordings of the question as there are passes.

        Args:
            case: The case.
            passes: How many wordings, 1 or more.
            spend: Told what each call to the model took.

        Raises:
            RewardAnythingError: no verdict; ``failure`` is set.
        """
        try:
            return await self._poll(case, passes, spend)
        except RewardAnythingError as error:
            if error.usage is not None:
                spend(error.usage)
            error.failure = JudgeFailure(
                case_id=case.id, error_type=type(error).__name__, message=str(error), attempts=1
            )
            raise

    async def _poll(self, case: Case, passes: int, spend: Callable[[Usage], None]) -> Poll:
        labels = list(case.canonical_labels)
        wordings = [index % len(self.wording.questions) for index in range(passes)]
        # What could fail for length comes first, and all of it in one call: too long a case then costs nothing.
        fits, common = await self._read(case, labels, wordings, spend)
        demands = await self._demands(case.principle.text, spend)
        liking = await self._liking(case.principle.text, spend)
        formality = min(1.0, max(map(abs, demands.values()), default=0.0) / FORMAL)
        liking *= 1 - formality
        source = _source(case)
        keeping = await self._keeping(case.principle.text, spend) if facts.is_source(source) else 0.0
        backed = {label: facts.backed(case.responses[label], source) for label in labels} if keeping else {}
        formal = {
            label: self._formal(case.responses[label], demands)
            + WEIGHT * keeping * (facts.backing(backed[label]) if backed else 0.0)
            for label in labels
        }
        steps: list[dict[str, float]] = []
        ballots: list[Ballot] = []
        for index, wording in enumerate(wordings):
            scale = await self._scale(wording, spend)
            odds = fits[index]
            steps.append(
                {
                    label: scale.of(self._log_odds(odds[label]) + formal[label], common[label], liking)
                    for label in labels
                }
            )
            ballots.append(self._ballot(case, labels, odds, demands, steps[-1], liking, keeping, backed))
        noise = NOISE + formality * (FORMAL_NOISE - NOISE)
        return Poll(ballots=ballots, consensus=_consensus(labels, steps, [ballot.ranking for ballot in ballots], noise))

    async def _read(
        self, case: Case, labels: Sequence[str], wordings: Sequence[int], spend: Callable[[Usage], None]
    ) -> tuple[list[dict[str, Odds]], dict[str, float]]:
        """For each wording, how each response was found to fit; and how good each is as people commonly say."""
        wording, escape = self.wording, self._escape
        asked = [
            wording.about_response(case, label, each, escape_markup=escape) for each in wordings for label in labels
        ]
        asked += [
            wording.about_quality(case, label, question, escape_markup=escape)
            for label in labels
            for question in wording.quality_questions
        ]
        reading = await self._backend.choose([Question(messages=one, options=wording.options) for one in asked])
        spend(reading.usage)
        number = len(labels)
        if max(odds.mass for odds in reading.odds[: len(wordings) * number]) < LEAST_MASS:
            raise BackendError(
                f"{self._backend.model} does not answer with {' or '.join(wording.options)}, so nothing can be read "
                "off.",
                hint="Use readout='generate' for a model that reasons before it answers.",
            )
        fits = [
            dict(zip(labels, reading.odds[start : start + number], strict=True))
            for start in range(0, len(wordings) * number, number)
        ]
        rest, each = reading.odds[len(wordings) * number :], len(wording.quality_questions)
        common = {label: sum(map(self._log_odds, rest[at * each : (at + 1) * each])) for at, label in enumerate(labels)}
        return fits, common

    # --- what is asked once

    async def _demands(self, principle: str, spend: Callable[[Usage], None]) -> dict[str, float]:
        """Fact -> how much of it the principle wants: above 0 much, below 0 little, 0 where it is silent."""
        usual = await self._once("usual", self._usual, spend)
        raw = await self._once(f"principle {principle}", lambda: self._asked([principle], self.wording.traits), spend)
        demands = {}
        for name, value in raw.items():
            above = value - usual[name]
            demands[name] = math.copysign(max(0.0, abs(above) - SILENT), above)
        return demands

    async def _keeping(self, principle: str, spend: Callable[[Usage], None]) -> float:
        """-1..1: how much the principle wants replies to keep to the text they are given; 0 where it is silent.

        What is true is liked under every principle, so it is told by what the principle is about; how keeping to the
        text is valued tells the sign alone.
        """
        everything = [example.principle for example in self.wording.examples]
        usual = await self._once("usual source", lambda: self._about_source(everything), spend)
        found = await self._once(f"source {principle}", lambda: self._about_source([principle]), spend)
        strength = min(1.0, max(0.0, found["about"] - usual["about"] - ABOUT) / STRONG)
        return -strength if found["valued"] < usual["valued"] - UNWANTED else strength

    async def _about_source(self, principles: Sequence[str]) -> _Found:
        wording = self.wording
        questions = [
            Question(
                messages=wording.about_source(principle, question, escape_markup=self._escape), options=wording.options
            )
            for principle in principles
            for question in wording.source_questions
        ]
        reading = await self._backend.choose(questions)
        valued, usage = await self._asked(principles, wording.source_traits)
        about = fmean(self._log_odds(odds) for odds in reading.odds)
        return {"about": about, "valued": fmean(valued.values())}, reading.usage + usage

    async def _liking(self, principle: str, spend: Callable[[Usage], None]) -> float:
        """What common quality counts for, -GOOD..GOOD: below 0 where the principle wants the contrary of it."""
        traits = self.wording.quality_traits
        usual = await self._once(
            "common", lambda: self._asked([example.principle for example in self.wording.examples], traits), spend
        )
        found = await self._once(f"common {principle}", lambda: self._asked([principle], traits), spend)
        lacking = fmean(usual.values()) - fmean(found.values())
        return GOOD * (1 - 2 * min(1.0, TURN * max(0.0, lacking - COMMON)))

    async def _usual(self) -> _Found:
        return await self._asked([example.principle for example in self.wording.examples[:USUAL]], self.wording.traits)

    async def _asked(self, principles: Sequence[str], traits: Sequence[Trait]) -> _Found:
        """Trait -> half the log-odds of much against little being good, averaged over principles."""
        wording = self.wording
        sides = [(principle, trait, side) for principle in principles for trait in traits for side in (1, -1)]
        questions = [
            Question(
                messages=wording.about_principle(
                    principle, trait.more if side > 0 else trait.less, escape_markup=self._escape
                ),
                options=wording.demand_options,
            )
            for principle, trait, side in sides
        ]
        reading = await self._backend.choose(questions)
        total = dict.fromkeys((trait.name for trait in traits), 0.0)
        for (_, trait, side), odds in zip(sides, reading.odds, strict=True):
            total[trait.name] += side * self._log_odds(odds) / 2
        return {name: value / len(principles) for name, value in total.items()}, reading.usage

    async def _scale(self, wording: int, spend: Callable[[Usage], None]) -> _Scale:
        found = await self._once(f"scale {wording}", lambda: self._examples(wording), spend)
        return _Scale(found["middle"], found["common"], found["step"])

    async def _examples(self, wording: int) -> _Found:
        spent: list[Usage] = []
        both = ("fits", "breaks")
        found: dict[str, list[tuple[float, float]]] = {side: [] for side in both}
        cases = [
            Case(example.principle, example.prompt, {"fits": example.fits, "breaks": example.breaks})
            for example in self.wording.examples
        ]
        read = await asyncio.gather(*(self._read(case, both, [wording], spent.append) for case in cases))
        for (fits,), common in read:
            for side in both:
                found[side].append((self._log_odds(fits[side]), common[side]))
        middle, common_middle = (fmean(pair[at] for side in both for pair in found[side]) for at in (0, 1))
        good, bad = (fmean(fit + GOOD * common for fit, common in found[side]) for side in both)
        step = max(LEAST_SCALE, (good - bad) / 2 / math.log(SURE / (1 - SURE)))
        return {"middle": middle, "common": common_middle, "step": step}, sum(spent, Usage())

    async def _once(
        self, key: str, ask: Callable[[], Coroutine[Any, Any, _Found]], spend: Callable[[Usage], None]
    ) -> dict[str, float]:
        """What was found under ``key`` before, or is being found now, or is found now; kept for later cases."""
        if key in self._found:
            self._found.move_to_end(key)
            return self._found[key]

        async def find() -> _Found:
            found, usage = await ask()
            spend(usage)  # whoever asks first pays
            return found, usage

        found, _ = await self._flights.join(key, find)
        self._found[key] = found
        while len(self._found) > _KEPT:
            self._found.popitem(last=False)
        return found

    # --- arithmetic

    @property
    def _escape(self) -> bool:
        return not self._backend.guards_markup

    def _log_odds(self, odds: Odds) -> float:
        first, second = odds.probabilities.values()
        return math.log(first) - math.log(second)

    def _formal(self, text: str, demands: Mapping[str, float]) -> float:
        return WEIGHT * sum(demand * facts.amount(name, text) for name, demand in demands.items() if demand)

    def _ballot(
        self,
        case: Case,
        labels: Sequence[str],
        odds: Mapping[str, Odds],
        demands: Mapping[str, float],
        steps: Mapping[str, float],
        liking: float,
        keeping: float,
        backed: Mapping[str, float],
    ) -> Ballot:
        names = mask(labels)
        wanted = {name: round(demand, 3) for name, demand in demands.items() if demand}
        read = {
            name: {
                **{option: round(share, 6) for option, share in odds[label].probabilities.items()},
                "mass": round(odds[label].mass, 6),
                "counts": {fact: facts.count(fact, case.responses[label]) for fact in wanted},
                **({"backed": round(backed[label], 4)} if backed else {}),
                "steps": round(steps[label], 4),
            }
            for name, label in names.items()
        }
        said = self._said(names, odds, wanted, case, liking)
        if abs(keeping) > WORTH_SAYING:
            shares = ", ".join(f"{name} {backed[label]:.2f}" for name, label in names.items())
            much = "much" if keeping > 0 else "little"
            said += f"\nThe principle was understood to want {much} that stands in the prompt word for word: {shares}."
        found = {"readout": "logits", "demands": wanted, "liking": round(liking, 3), "keeping": round(keeping, 3)}
        return Ballot(
            order=list(labels),
            scores={label: _score(steps[label]) for label in labels},
            ranking=sorted(labels, key=lambda label: -steps[label]),
            reasoning=said,
            raw=json.dumps({**found, "responses": read}),
        )

    def _said(
        self, names: Mapping[str, str], odds: Mapping[str, Odds], wanted: Mapping[str, float], case: Case, liking: float
    ) -> str:
        yes = self.wording.options[0]
        shares = ", ".join(f"{name} {odds[label].probabilities[yes]:.2f}" for name, label in names.items())
        lines = [f"Read off, not written: the probability that the response fits the principle is {shares}."]
        for fact, demand in wanted.items():
            if abs(demand) < WORTH_SAYING:
                continue
            counts = ", ".join(f"{name} {facts.count(fact, case.responses[label])}" for name, label in names.items())
            much = "many" if demand > 0 else "few"
            lines.append(f"The principle was understood to want {much} {facts.MEASURES[fact][1]}: {counts}.")
        if liking < 0:
            lines.append("The principle was understood to want less of what is commonly good, or the contrary.")
        return "\n".join(lines)


def _source(case: Case) -> str:
    """The texts that responses could keep to."""
    prompt = case.prompt if isinstance(case.prompt, str) else "\n".join(str(turn["content"]) for turn in case.prompt)
    return "\n".join(text for text in (case.context, prompt) if text)


def _score(step: float) -> float:
    return 1 + 4 / (1 + math.exp(-max(-60.0, min(60.0, step))))


def _consensus(
    labels: Sequence[str], steps: Sequence[Mapping[str, float]], rankings: Sequence[Sequence[str]], noise: float
) -> Consensus:
    """Mean over the wordings, and how far the scores may be off.

    What a model misunderstands it misunderstands in every wording, so the noise does not shrink with their number; what
    they differ by comes on top.
    """
    scores, spread = {}, {}
    for label in labels:
        values = [step[label] for step in steps]
        mean = fmean(values)
        varied = fmean([(value - mean) ** 2 for value in values])
        scores[label] = _score(mean)
        share = (scores[label] - 1) / 4
        spread[label] = 4 * share * (1 - share) * math.sqrt(noise**2 + varied)
    ranking = sorted(labels, key=lambda label: -scores[label])
    return Consensus(scores=scores, ranking=ranking, spread=spread, agreement=kendalls_w(rankings))
