"""The pointwise readouts ``logits`` and ``head``: each response is scored separately, and nothing is generated.

An estimator takes from one forward pass how well a response fits the principle (`FitEstimator`), so the order of
responses cannot matter. A program measures what a small model judges poorly: length, form and literal groundedness. How
those count follows from the principle's profile. A response's score increases with the sum of all evidence.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean

from rewardanything_core.backends.base import Backend
from rewardanything_core.cases import Case
from rewardanything_core.concurrency import background_loop
from rewardanything_core.concurrency.memo import PersistentCache
from rewardanything_core.conversations import message_text
from rewardanything_core.conversations.trajectory import Trajectory
from rewardanything_core.errors import RewardAnythingError
from rewardanything_core.principles import Rubric
from rewardanything_core.readouts.aggregation import Consensus, kendalls_w
from rewardanything_core.readouts.pointwise import text_features
from rewardanything_core.readouts.pointwise.estimators import FitEstimate, FitEstimator
from rewardanything_core.readouts.pointwise.evidence import Evidence
from rewardanything_core.readouts.pointwise.principle_profile import NO_PREFERENCES, PrincipleProfile, PrincipleProfiler
from rewardanything_core.readouts.pointwise.questions import QuestionSet
from rewardanything_core.readouts.results import CaseResult, PassResult, join_criteria
from rewardanything_core.types import JudgeFailure, Usage

FORM_NOISE = 0.6
"""Standard deviation of the error of a response's evidence where form decides, in units of the scale. Between the best
values for the data sets of benchmarks/constants.py, which differ."""


class PointwiseReadout:
    """Judges cases by an estimator and by measured text features. One per judge; used on one event loop only.

    Args:
        backend: A model that supports option scores, for questions about principles.
        questions: The questions.
        estimator: Estimates how well responses fit principles.
        cache: Stores answers that serve many cases beyond the process. None: they are kept in memory only.
    """

    def __init__(
        self,
        backend: Backend,
        questions: QuestionSet,
        estimator: FitEstimator,
        cache: PersistentCache | None = None,
    ) -> None:
        self._estimator = estimator
        self._profiler = PrincipleProfiler(backend, questions, cache)

    async def run(self, case: Case, *, passes: int, on_usage: Callable[[Usage], None]) -> CaseResult:
        """Judge a case with one wording of the question per pass; under a rubric, for each criterion.

        Args:
            case: The case.
            passes: Number of wordings, 1 or more. An estimator with one wording makes one pass.
            on_usage: Called with the usage of each request, whether or not the case gets a verdict.

        Raises:
            RewardAnythingError: no verdict; ``failure`` is set.
        """
        rubric = case.principle
        try:
            if not isinstance(rubric, Rubric):
                return (await self._run([case], passes, on_usage))[0]
            # In one call, whose prompts have everything in common up to the criterion.
            cases = [dataclasses.replace(case, principle=principle) for principle in rubric.principles]
            results = await self._run(cases, passes, on_usage)
            return join_criteria(dict(zip(rubric.criteria, results, strict=True)), rubric)
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

    async def _run(self, cases: Sequence[Case], passes: int, on_usage: Callable[[Usage], None]) -> list[CaseResult]:
        """Judge cases that differ only in their principles."""
        labels = list(cases[0].canonical_labels)
        available = self._estimator.num_wordings
        wordings = [index % available for index in range(passes if available > 1 else 1)]
        # The questions about the responses go first and in one call: a case that is too long then costs nothing.
        estimates = await self._estimator.estimate(cases, labels, wordings, on_usage)
        # At once, so that the questions about all principles share forward passes.
        return await background_loop.gather(
            self._result(case, labels, by_wording, on_usage) for case, by_wording in zip(cases, estimates, strict=True)
        )

    async def _result(
        self,
        case: Case,
        labels: list[str],
        estimates: Sequence[Mapping[str, FitEstimate]],
        on_usage: Callable[[Usage], None],
    ) -> CaseResult:
        """The result from the estimates for each wording."""
        source = _source_of(case)
        profile = NO_PREFERENCES
        if self._estimator.feature_weight:
            profile = await self._profiler.profile(
                case.principle.text, has_source=text_features.is_source(source), on_usage=on_usage
            )
        groundedness: dict[str, float] = {}
        if profile.groundedness_weight:
            groundedness = {
                label: text_features.groundedness(case.final_texts[label], f"{source}\n{_results_in(case, label)}")
                for label in labels
            }
        measured = {
            label: self._estimator.feature_weight * _measured(case.final_texts[label], profile, groundedness.get(label))
            for label in labels
        }
        units = [
            {label: estimate.units + measured[label] / estimate.step for label, estimate in by_label.items()}
            for by_label in estimates
        ]
        results = [
            _pass_result(
                Evidence(
                    readout=self._estimator.readout,
                    case=case,
                    labels=labels,
                    profile=profile,
                    estimates=by_label,
                    groundedness=groundedness,
                    units=each,
                )
            )
            for by_label, each in zip(estimates, units, strict=True)
        ]
        noise = self._estimator.content_noise + profile.form_share * (FORM_NOISE - self._estimator.content_noise)
        deviations = {label: math.sqrt(fmean(each[label].deviation ** 2 for each in estimates)) for label in labels}
        consensus = _consensus(labels, units, [result.ranking for result in results], noise, deviations)
        return CaseResult(passes=results, consensus=consensus)


def _measured(text: str, profile: PrincipleProfile, groundedness: float | None) -> float:
    """The evidence from text features and groundedness, in log-odds of the principle's preferences."""
    evidence = sum(
        preference * text_features.relative_amount(feature, text)
        for feature, preference in profile.feature_preferences.items()
        if preference
    )
    if groundedness is not None:
        evidence += profile.groundedness_weight * text_features.groundedness_amount(groundedness)
    return evidence


def _source_of(case: Case) -> str:
    """The texts that all responses could be grounded in."""
    prompt = case.prompt if isinstance(case.prompt, str) else "\n".join(map(message_text, case.prompt))
    return "\n".join(text for text in (case.context, prompt) if text)


def _results_in(case: Case, label: str) -> str:
    """The results of tools in a response, which its final text could be grounded in."""
    response = case.responses[label]
    messages = response.messages if isinstance(response, Trajectory) else ()
    return "\n".join(message_text(message) for message in messages if message["role"] == "tool")


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
    labels: Sequence[str],
    units: Sequence[Mapping[str, float]],
    rankings: Sequence[Sequence[str]],
    noise: float,
    deviations: Mapping[str, float],
) -> Consensus:
    """Average the wordings, and propagate the errors to each score by the delta method.

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
        spread[label] = 4 * share * (1 - share) * math.sqrt(noise**2 + deviations[label] ** 2 + variance)
    ranking = sorted(labels, key=lambda label: -scores[label])
    return Consensus(scores=scores, ranking=ranking, spread=spread, agreement=kendalls_w(rankings))
