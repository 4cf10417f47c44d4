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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from rewardanything_core.backends.base import Backend, ChoiceProbabilities, ChoiceRequest, log_odds
from rewardanything_core.cases import Case
from rewardanything_core.concurrency.memo import AsyncMemo, PersistentCache
from rewardanything_core.errors import BackendError, RewardAnythingError
from rewardanything_core.prompting.masking import mask
from rewardanything_core.readouts.aggregation import Consensus, kendalls_w
from rewardanything_core.readouts.logits import text_features
from rewardanything_core.readouts.logits.principle_profile import PrincipleProfile, Understanding
from rewardanything_core.readouts.logits.questions import QuestionSet, question_set
from rewardanything_core.readouts.results import CaseResult, PassResult
from rewardanything_core.types import JudgeFailure, Reply, Usage

SURE = 0.75
"""Where on 0..1 the examples of responses that fit come to stand, on average; 1 - SURE those that do not."""

LEAST_SCALE = 0.25
"""Log-odds that count as one step at least, so that a model which tells nothing apart says nothing."""

WEIGHT = 1.5
"""What the measured facts count for beside the log-odds of Yes against No."""

NOISE, FORMAL_NOISE = 1.2, 0.6
"""Standard deviation of what a reading is off by, in steps: about content, and where form decides."""

GOOD = 1.0
"""What the answers about common quality count for beside that about the principle."""

WORTH_SAYING = 0.1
"""Demands nearer to 0 count, but are not spelt out in the reasoning."""

LEAST_MASS = 0.001
"""With less probability on all options together the model was not answering the question."""


@dataclass(frozen=True)
class _Scale:
    """What one wording's log-odds mean, by the examples."""

    middle: float
    common: float
    step: float

    def of(self, log_odds: float, common: float, liking: float) -> float:
        return (log_odds - self.middle + liking * (common - self.common)) / self.step


class LogitsReadout:
    """Casts ballots by reading. One for each judge; used on one event loop only.

    Args:
        backend: A model that gives odds.
        wording: What it is asked. None: what ships with the package.
        cache: Where what is asked once outlasts the process. None: nowhere.
    """

    def __init__(self, backend: Backend, wording: QuestionSet | None = None, cache: PersistentCache | None = None) -> None:
        self.wording = wording or question_set()
        self._backend = backend
        self._understanding = Understanding(backend, self.wording, cache)
        self._scales = AsyncMemo(cache)

    async def poll(self, case: Case, *, passes: int, on_usage: Callable[[Usage], None]) -> CaseResult:
        """Judge a case in as many wordings of the question as there are passes.

        Args:
            case: The case.
            passes: How many wordings, 1 or more.
            on_usage: Told what each call to the model took.

        Raises:
            RewardAnythingError: no verdict; ``failure`` is set.
        """
        try:
            return await self._poll(case, passes, on_usage)
        except RewardAnythingError as error:
            if error.usage is not None:
                on_usage(error.usage)
            error.failure = JudgeFailure(
                case_id=case.id, error_type=type(error).__name__, message=str(error), attempts=1
            )
            raise

    async def _poll(self, case: Case, passes: int, on_usage: Callable[[Usage], None]) -> CaseResult:
        labels = list(case.canonical_labels)
        wordings = [index % len(self.wording.questions) for index in range(passes)]
        # What could fail for length comes first, and all of it in one call: too long a case then costs nothing.
        fits, common = await self._read(case, labels, wordings, on_usage)
        source = _source(case)
        wants = await self._understanding.of(
            case.principle.text, source=text_features.is_source(source), on_usage=on_usage
        )
        backed = (
            {label: text_features.backed(case.responses[label], source) for label in labels} if wants.keeping else {}
        )
        formal = {label: self._formal(case.responses[label], wants, backed.get(label)) for label in labels}
        asked = len(self.wording.quality_questions)
        good = {label: 1 / (1 + math.exp(-value / asked)) for label, value in common.items()}
        steps: list[dict[str, float]] = []
        ballots: list[PassResult] = []
        for index, wording in enumerate(wordings):
            scale = await self._scale(wording, on_usage)
            odds = fits[index]
            steps.append(
                {
                    label: scale.of(log_odds(odds[label]) + formal[label], common[label], GOOD * wants.quality)
                    for label in labels
                }
            )
            ballots.append(_ballot(case, labels, odds, good, wants, steps[-1], backed))
        noise = NOISE + wants.formality * (FORMAL_NOISE - NOISE)
        return CaseResult(
            passes=ballots, consensus=_consensus(labels, steps, [ballot.ranking for ballot in ballots], noise)
        )

    async def _read(
        self, case: Case, labels: Sequence[str], wordings: Sequence[int], on_usage: Callable[[Usage], None]
    ) -> tuple[list[dict[str, ChoiceProbabilities]], dict[str, float]]:
        """For each wording, how each response was found to fit; and how good each is as people commonly say."""
        wording, escape = self.wording, not self._backend.escapes_special_tokens
        asked = [
            wording.about_response(case, label, each, escape_markup=escape) for each in wordings for label in labels
        ]
        asked += [
            wording.about_quality(case, label, question, escape_markup=escape)
            for label in labels
            for question in wording.quality_questions
        ]
        reading = await self._backend.score_options(
            [ChoiceRequest(messages=one, options=wording.options) for one in asked]
        )
        on_usage(reading.usage)
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
        common = {label: sum(map(log_odds, rest[at * each : (at + 1) * each])) for at, label in enumerate(labels)}
        return fits, common

    async def _scale(self, wording: int, on_usage: Callable[[Usage], None]) -> _Scale:
        async def find() -> Mapping[str, float]:
            found, usage = await self._examples(wording)
            on_usage(usage)  # whoever asks first pays
            return found

        return _Scale(**await self._scales.get(f"scale {wording}", find))

    async def _examples(self, wording: int) -> tuple[Mapping[str, float], Usage]:
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
                found[side].append((log_odds(fits[side]), common[side]))
        middle, common_middle = (fmean(pair[at] for side in both for pair in found[side]) for at in (0, 1))
        good, bad = (fmean(fit + GOOD * common for fit, common in found[side]) for side in both)
        step = max(LEAST_SCALE, (good - bad) / 2 / math.log(SURE / (1 - SURE)))
        return {"middle": middle, "common": common_middle, "step": step}, sum(spent, Usage())

    def _formal(self, text: str, wants: PrincipleProfile, backed: float | None) -> float:
        measured = sum(demand * text_features.amount(name, text) for name, demand in wants.demands.items() if demand)
        return WEIGHT * (measured + (0.0 if backed is None else wants.keeping * text_features.backing(backed)))


def _ballot(
    case: Case,
    labels: Sequence[str],
    odds: Mapping[str, ChoiceProbabilities],
    good: Mapping[str, float],
    wants: PrincipleProfile,
    steps: Mapping[str, float],
    backed: Mapping[str, float],
) -> PassResult:
    names = mask(labels)
    wanted = {name: round(demand, 3) for name, demand in wants.demands.items() if demand}
    read = {
        name: {
            **{option: round(share, 6) for option, share in odds[label].probabilities.items()},
            "mass": round(odds[label].mass, 6),
            "good": round(good[label], 4),
            "counts": {fact: text_features.count(fact, case.responses[label]) for fact in wanted},
            **({"backed": round(backed[label], 4)} if backed else {}),
            "steps": round(steps[label], 4),
        }
        for name, label in names.items()
    }
    found = {
        "readout": "logits",
        "demands": wanted,
        "liking": round(GOOD * wants.quality, 3),
        "keeping": round(wants.keeping, 3),
    }
    return PassResult(
        order=list(labels),
        scores={label: _score(steps[label]) for label in labels},
        ranking=sorted(labels, key=lambda label: -steps[label]),
        replies=[
            Reply(
                reasoning=_said(names, odds, good, wants, case, backed),
                raw_output=json.dumps({**found, "responses": read}),
            )
        ],
    )


def _said(
    names: Mapping[str, str],
    odds: Mapping[str, ChoiceProbabilities],
    good: Mapping[str, float],
    wants: PrincipleProfile,
    case: Case,
    backed: Mapping[str, float],
) -> str:
    def each(value: Callable[[str], object]) -> str:
        return ", ".join(f"{name} {value(label)}" for name, label in names.items())

    shares = each(lambda label: f"{next(iter(odds[label].probabilities.values())):.2f}")
    lines = [f"Read off, not written: the probability that the response fits the principle is {shares}."]
    for fact, demand in wants.demands.items():
        if abs(demand) >= WORTH_SAYING:
            counts = each(partial(_count, fact, case))
            much = "many" if demand > 0 else "few"
            lines.append(f"The principle was understood to want {much} {text_features.MEASURES[fact][1]}: {counts}.")
    if abs(wants.quality) >= WORTH_SAYING:
        shares = each(lambda label: f"{good[label]:.2f}")
        if wants.quality > 0:
            lines.append(f"That it is true and well written, whatever the principle, counts as well: {shares}.")
        else:
            lines.append("The principle was understood to want less of what is commonly good, or the contrary.")
            lines.append(f"That a response is true and well written counts against it: {shares}.")
    if abs(wants.keeping) > WORTH_SAYING:
        much = "much" if wants.keeping > 0 else "little"
        of_each = each(lambda label: f"{backed[label]:.2f}")
        lines.append(f"The principle was understood to want {much} that stands in the prompt word for word: {of_each}.")
    return "\n".join(lines)


def _count(fact: str, case: Case, label: str) -> int:
    return text_features.count(fact, case.responses[label])


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
