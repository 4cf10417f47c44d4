"""The ``logits`` readout: scores from the probabilities of answers to short questions; nothing is generated.

The model is asked about each response separately whether it fits the principle, and the log-odds of Yes against No are
its evidence, so the order of responses cannot matter. A program measures what a small model judges poorly: length, form
and literal groundedness. How those count follows from the principle's profile. A response's score increases with the
sum of all evidence.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from rewardanything_core.backends.base import Backend, ChoiceProbabilities, ChoiceRequest, log_odds
from rewardanything_core.cases import Case
from rewardanything_core.concurrency.memo import AsyncMemo, PersistentCache
from rewardanything_core.errors import BackendError, RewardAnythingError
from rewardanything_core.readouts.aggregation import Consensus, kendalls_w
from rewardanything_core.readouts.logits import text_features
from rewardanything_core.readouts.logits.evidence import Evidence
from rewardanything_core.readouts.logits.principle_profile import PrincipleProfile, PrincipleProfiler
from rewardanything_core.readouts.logits.questions import QuestionSet, question_set
from rewardanything_core.readouts.results import CaseResult, PassResult
from rewardanything_core.types import JudgeFailure, Usage

EXAMPLE_SCORE = 0.75
"""Where the examples' fitting responses are on 0..1, on average, by definition of the scale; the others are at .25."""

MIN_STEP = 0.25
"""Least log-odds per unit of the scale, so that a model that cannot tell the examples apart gives scores near 3."""

FEATURE_WEIGHT = 1.5
"""Weight of text features and groundedness, relative to the log-odds of Yes against No.

Cross-validated with benchmarks/constants.py; 1 to 3 is a plateau."""

QUALITY_WEIGHT = 1.0
"""Weight of the answers about quality, relative to the log-odds of Yes against No.

Cross-validated with benchmarks/constants.py; 0.5 to 2 is a plateau."""

CONTENT_NOISE, FORM_NOISE = 1.2, 0.6
"""Standard deviation of the error of a response's evidence, in units of the scale: where content decides, and where
form does. Between the best values for the data sets of benchmarks/constants.py, which differ."""

MIN_OPTION_MASS = 0.001
"""With less probability than this on Yes and No together, the model was not answering the question."""


@dataclass(frozen=True)
class _Calibration:
    """Maps log-odds to the scale's units, learned from the model's answers about the examples."""

    fit_midpoint: float
    """Mean log-odds of the examples' answers about fit."""

    quality_midpoint: float
    """Mean of the sums of log-odds of the examples' answers about quality."""

    step: float
    """Log-odds per unit of the scale."""

    def units(self, fit: float, quality: float, quality_weight: float) -> float:
        return (fit - self.fit_midpoint + quality_weight * (quality - self.quality_midpoint)) / self.step


class LogitsReadout:
    """Judges cases by option scores. One per judge; used on one event loop only.

    Args:
        backend: A model that supports option scores.
        questions: The questions. None: those that ship with the package.
        cache: Stores answers that serve many cases beyond the process. None: they are kept in memory only.
    """

    def __init__(
        self, backend: Backend, questions: QuestionSet | None = None, cache: PersistentCache | None = None
    ) -> None:
        self.questions = questions or question_set()
        self._backend = backend
        self._profiler = PrincipleProfiler(backend, self.questions, cache)
        self._calibrations = AsyncMemo(cache)

    async def run(self, case: Case, *, passes: int, on_usage: Callable[[Usage], None]) -> CaseResult:
        """Judge a case with one wording of the question per pass.

        Args:
            case: The case.
            passes: Number of wordings, 1 or more.
            on_usage: Called with the usage of each request, whether or not the case gets a verdict.

        Raises:
            RewardAnythingError: no verdict; ``failure`` is set.
        """
        try:
            return await self._run(case, passes, on_usage)
        except RewardAnythingError as error:
            if error.usage is not None:
                on_usage(error.usage)
            error.failure = JudgeFailure(
                case_id=case.id,
                error_type=type(error).__name__,
                message=str(error),
                raw_output=error.raw,
                attempts=1,
            )
            raise

    async def _run(self, case: Case, passes: int, on_usage: Callable[[Usage], None]) -> CaseResult:
        labels = list(case.canonical_labels)
        wordings = [index % len(self.questions.fit_questions) for index in range(passes)]
        # All questions about the responses go first and in one call: a case that is too long then costs nothing.
        fit, quality = await self._ask_about_responses(case, labels, wordings, on_usage)
        source = _source_of(case)
        profile = await self._profiler.profile(
            case.principle.text, has_source=text_features.is_source(source), on_usage=on_usage
        )
        groundedness: dict[str, float] = {}
        if profile.groundedness_weight:
            groundedness = {label: text_features.groundedness(case.responses[label], source) for label in labels}
        quality_weight = QUALITY_WEIGHT * profile.quality_weight
        measured = {label: _measured(case.responses[label], profile, groundedness.get(label)) for label in labels}
        units: list[dict[str, float]] = []
        results: list[PassResult] = []
        for answers, wording in zip(fit, wordings, strict=True):
            calibration = await self._calibration(wording, on_usage)
            units.append(
                {
                    label: calibration.units(log_odds(answers[label]) + measured[label], quality[label], quality_weight)
                    for label in labels
                }
            )
            evidence = Evidence(
                case=case,
                labels=labels,
                profile=profile,
                fit=answers,
                quality={label: self._mean_quality(quality[label]) for label in labels},
                quality_weight=quality_weight,
                groundedness=groundedness,
                units=units[-1],
            )
            results.append(_pass_result(evidence))
        noise = CONTENT_NOISE + profile.form_share * (FORM_NOISE - CONTENT_NOISE)
        consensus = _consensus(labels, units, [result.ranking for result in results], noise)
        return CaseResult(passes=results, consensus=consensus)

    async def _ask_about_responses(
        self, case: Case, labels: Sequence[str], wordings: Sequence[int], on_usage: Callable[[Usage], None]
    ) -> tuple[list[dict[str, ChoiceProbabilities]], dict[str, float]]:
        """Ask about all responses in one call.

        Returns:
            For each wording, label -> the answer about fit; and label -> the sum of the log-odds of the answers about
            quality.
        """
        questions, escape = self.questions, not self._backend.escapes_special_tokens
        fit_messages = [
            questions.fit_messages(case, label, wording, escape_special_tokens=escape)
            for wording in wordings
            for label in labels
        ]
        quality_messages = [
            questions.quality_messages(case, label, question, escape_special_tokens=escape)
            for label in labels
            for question in questions.quality_questions
        ]
        result = await self._backend.score_options(
            [
                ChoiceRequest(messages=messages, options=questions.options)
                for messages in (*fit_messages, *quality_messages)
            ]
        )
        on_usage(result.usage)
        about_fit, about_quality = result.answers[: len(fit_messages)], result.answers[len(fit_messages) :]
        if max(answer.mass for answer in about_fit) < MIN_OPTION_MASS:
            raise BackendError(
                f"{self._backend.model} does not answer with {' or '.join(questions.options)}, so there are no scores.",
                hint="Use readout='generate' for a model that reasons before it answers.",
            )
        count, per_label = len(labels), len(questions.quality_questions)
        fit = [
            dict(zip(labels, about_fit[start : start + count], strict=True))
            for start in range(0, len(about_fit), count)
        ]
        quality = {
            label: sum(map(log_odds, about_quality[index * per_label : (index + 1) * per_label]))
            for index, label in enumerate(labels)
        }
        return fit, quality

    def _mean_quality(self, log_odds_sum: float) -> float:
        """The probability whose log-odds are the mean of those of the answers about quality."""
        return 1 / (1 + math.exp(-log_odds_sum / len(self.questions.quality_questions)))

    async def _calibration(self, wording: int, on_usage: Callable[[Usage], None]) -> _Calibration:
        async def compute() -> Mapping[str, float]:
            values, usage = await self._ask_about_examples(wording)
            on_usage(usage)  # charged to the case that comes first
            return values

        # The key and the names of the values are those of existing stores.
        values = await self._calibrations.get(f"scale {wording}", compute)
        return _Calibration(values["middle"], values["common"], values["step"])

    async def _ask_about_examples(self, wording: int) -> tuple[Mapping[str, float], Usage]:
        usages: list[Usage] = []
        sides = ("fits", "breaks")
        cases = [
            Case(example.principle, example.prompt, {"fits": example.fits, "breaks": example.breaks})
            for example in self.questions.examples
        ]
        answers = await asyncio.gather(
            *(self._ask_about_responses(case, sides, [wording], usages.append) for case in cases)
        )
        evidence = {side: [(log_odds(fit[side]), quality[side]) for (fit,), quality in answers] for side in sides}
        fit_midpoint, quality_midpoint = (fmean(pair[i] for side in sides for pair in evidence[side]) for i in (0, 1))
        fitting, breaking = (fmean(fit + QUALITY_WEIGHT * quality for fit, quality in evidence[side]) for side in sides)
        step = max(MIN_STEP, (fitting - breaking) / 2 / math.log(EXAMPLE_SCORE / (1 - EXAMPLE_SCORE)))
        return {"middle": fit_midpoint, "common": quality_midpoint, "step": step}, sum(usages, Usage())


def _measured(text: str, profile: PrincipleProfile, groundedness: float | None) -> float:
    """The evidence from text features and groundedness, in log-odds."""
    evidence = sum(
        preference * text_features.relative_amount(feature, text)
        for feature, preference in profile.feature_preferences.items()
        if preference
    )
    if groundedness is not None:
        evidence += profile.groundedness_weight * text_features.groundedness_amount(groundedness)
    return FEATURE_WEIGHT * evidence


def _source_of(case: Case) -> str:
    """The texts that responses could be grounded in."""
    prompt = case.prompt if isinstance(case.prompt, str) else "\n".join(turn["content"] for turn in case.prompt)
    return "\n".join(text for text in (case.context, prompt) if text)


def _pass_result(evidence: Evidence) -> PassResult:
    return PassResult(
        order=list(evidence.labels),
        scores={label: _score(evidence.units[label]) for label in evidence.labels},
        ranking=sorted(evidence.labels, key=lambda label: -evidence.units[label]),
        replies=[evidence.reply()],
    )


def _score(units: float) -> float:
    """Map units of the scale to 1..5 by the logistic function."""
    return 1 + 4 / (1 + math.exp(-max(-60.0, min(60.0, units))))


def _consensus(
    labels: Sequence[str], units: Sequence[Mapping[str, float]], rankings: Sequence[Sequence[str]], noise: float
) -> Consensus:
    """Average the wordings, and propagate the noise to each score by the delta method.

    A model misunderstands the same things in every wording, so the noise does not shrink with their number; the
    variance between wordings is added to it.
    """
    scores, spread = {}, {}
    for label in labels:
        values = [each[label] for each in units]
        mean = fmean(values)
        variance = fmean([(value - mean) ** 2 for value in values])
        scores[label] = _score(mean)
        share = (scores[label] - 1) / 4
        spread[label] = 4 * share * (1 - share) * math.sqrt(noise**2 + variance)
    ranking = sorted(labels, key=lambda label: -scores[label])
    return Consensus(scores=scores, ranking=ranking, spread=spread, agreement=kendalls_w(rankings))
