"""A trial: the cases of a check, judged step by step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from rewardanything_core.gate.controls import degraded, evaluate_control, required_controls
from rewardanything_core.gate.judging import CaseJudge, JudgingUnit, UnitResult, UnitScores
from rewardanything_core.gate.pairing import PairedCase
from rewardanything_core.gate.results import BASELINE, Control, ControlKind, Pair, Requirement
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.principles import Principle
from rewardanything_core.types import JudgeFailure, Usage


class Trial:
    """All cases under all requirements, in a random order, with the results so far.

    Cases with the same input stay together in that order. The order depends on ids and inputs alone, so it is the same
    in every run and independent of the scores.

    Args:
        items: The cases with every side's answers.
        candidates: Names of the sides that are compared with the baseline.
        requirements: One for each comparison; those with one rubric share its judgements.
        judge: The judge.
        max_failures: Share of judgements, 0..1, that may fail.
        keep_scores: Whether scores are needed where all answers are the same; otherwise these cases are not judged.
        progress: Called with ``(judgements done, judgements planned)``.
    """

    def __init__(
        self,
        items: Sequence[PairedCase],
        candidates: Sequence[str],
        requirements: Sequence[Requirement],
        *,
        judge: BaseJudge,
        max_failures: float,
        keep_scores: bool,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._candidates = candidates
        self._places = {item.id: place for place, item in enumerate(items)}
        self._order = sorted(items, key=lambda item: (_random(item.group), item.group, _random(item.id)))
        self._ranks = {item.id: rank for rank, item in enumerate(self._order)}
        self.inputs = len({item.group for item in items})
        self._requirements = requirements
        self._principles = list(dict.fromkeys(requirement.principle for requirement in requirements))
        self._units = {item.id: {each: JudgingUnit(item, each) for each in self._principles} for item in items}
        self._keep_scores = keep_scores
        self._first: dict[JudgingUnit, UnitResult] = {}
        self._confirmation: dict[JudgingUnit, UnitResult] = {}
        self._controls: dict[tuple[Principle, ControlKind], dict[JudgingUnit, UnitResult]] = {}
        self._reached: list[PairedCase] = []
        self._done, self._planned = 0, len(self._to_judge(items))
        self._progress = progress
        self._judge = CaseJudge(judge, max_failed=max_failures * self._planned, on_judged=self._count)

    @property
    def reached(self) -> int:
        """How many cases were judged so far."""
        return len(self._reached)

    @property
    def tried(self) -> int:
        """Number of judgements tried, confirmations and controls included."""
        return len(self._first) + len(self._confirmation) + sum(map(len, self._controls.values()))

    @property
    def failures(self) -> int:
        """How many judgements failed."""
        return self._judge.failures

    @property
    def exhausted(self) -> bool:
        """Whether so many judgements failed that no more are made."""
        return self._judge.exhausted

    @property
    def usage(self) -> Usage:
        """What this run took."""
        return self._judge.usage

    def judge_up_to(self, number: int) -> None:
        """Judge the first ``number`` cases of the random order, and the others that share the last one's input."""
        while number < len(self._order) and self._order[number].group == self._order[number - 1].group:
            number += 1
        self._reached = self._order[:number]
        self._first |= self._judge.judge([unit for unit in self._to_judge(self._reached) if unit not in self._first])

    def confirm(self, names: Iterable[str]) -> None:
        """Judge all cases reached once more under the requirements of these names, in fresh orders."""
        wanted = set(names)
        principles = {requirement.principle for requirement in self._requirements if requirement.name in wanted}
        units = [
            unit
            for unit in self._to_judge(self._reached)
            if unit.principle in principles and unit not in self._confirmation
        ]
        self._planned += len(units)
        self._confirmation |= self._judge.judge(units, resample=True)

    def required_controls(self, pairs: Sequence[Pair]) -> dict[ControlKind, str]:
        """The controls that the pairs of a comparison require, each with its reason."""
        return required_controls(pairs, self._order)

    def control(self, requirement: Requirement, kind: ControlKind, *, alpha: float, why: str) -> Control:
        """Judge degraded answers with the baseline's, once for each principle, and evaluate the result.

        Args:
            requirement: The principle to judge by, or one of its criteria.
            kind: How answers are degraded.
            alpha: One-sided significance level.
            why: Why this control is required.
        """
        key = requirement.principle, kind
        if key not in self._controls:
            units = [JudgingUnit(item, requirement.principle) for item in degraded(self._order, kind)]
            self._planned += len(units)
            self._controls[key] = self._judge.judge(units)
        scored = [result for result in self._controls[key].values() if isinstance(result, UnitScores)]
        related = [each for each in self._requirements if each.principle == requirement.principle]
        under = {each.criterion: [scores.under(each.criterion) for scores in scored] for each in related}
        differences = {
            criterion: [scores.score(kind) - scores.score(BASELINE) for scores in each]
            for criterion, each in under.items()
        }
        margins = {each.criterion: each.margin for each in related}
        return evaluate_control(kind, differences, margins, alpha=alpha, why=why)

    def pairs(self) -> tuple[Pair, ...]:
        """Every candidate's answers with the baseline's for all cases reached, in input order."""
        ordered = sorted(self._reached, key=lambda item: self._places[item.id])
        return tuple(
            pair
            for item in ordered
            for requirement in self._requirements
            for candidate in self._candidates
            if (pair := self._pair(item, requirement, candidate)) is not None
        )

    def in_random_order(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Pairs in the order in which their cases are judged."""
        return sorted(pairs, key=lambda pair: self._ranks[pair.id])

    def _to_judge(self, items: Iterable[PairedCase]) -> list[JudgingUnit]:
        units = [unit for item in items for unit in self._units[item.id].values()]
        return units if self._keep_scores else [unit for unit in units if len(unit.answers) > 1]

    def _pair(self, item: PairedCase, requirement: Requirement, candidate: str) -> Pair | None:
        """The pair with the results so far. None: it was planned and not judged."""
        unit, criterion = self._units[item.id][requirement.principle], requirement.criterion
        first = self._first.get(unit)
        failure = first if isinstance(first, JudgeFailure) else None
        results = (first, self._confirmation.get(unit)) if failure is None else ()
        judged = [result for result in results if isinstance(result, UnitScores)]
        scored = [result.under(criterion) for result in judged]
        responses = item.responses
        unchanged = responses[candidate] == responses[BASELINE]
        if not scored and not failure and (self._keep_scores or not unchanged):
            return None
        by_judgement = [tuple(scores[candidate] - scores[BASELINE] for scores in each.passes) for each in scored]
        differences = [difference for passes in by_judgement for difference in passes]
        return Pair(
            id=item.id,
            group=item.group,
            principle=requirement.name,
            criterion=criterion,
            candidate=candidate,
            prompt=item.prompt_text,
            baseline_response=responses[BASELINE],
            candidate_response=responses[candidate],
            baseline_score=_mean_score(scored, BASELINE),
            candidate_score=_mean_score(scored, candidate),
            difference=0.0 if unchanged else fmean(differences) if differences else None,
            pass_differences=by_judgement[0] if by_judgement else (),
            fresh_differences=by_judgement[1] if len(by_judgement) > 1 else (),
            candidate_first=tuple(places[candidate] < places[BASELINE] for each in scored for places in each.orders),
            reasoning="\n\n".join(each.reasoning for each in scored if each.reasoning),
            record_ids=tuple(record_id for each in judged for record_id in each.record_ids),
            min_score=item.min_score if criterion is None else None,
            missed=tuple(dict.fromkeys(name for each in scored for name in each.missed.get(candidate, ()))),
            failure=None if unchanged and not self._keep_scores else failure,
        )

    def _count(self) -> None:
        self._done += 1
        if self._progress:
            self._progress(self._done, self._planned)


def _random(name: str) -> float:
    return random.Random(name).random()


def _mean_score(scored: Sequence[UnitScores], side: str) -> float | None:
    scores = [scores[side] for each in scored for scores in each.passes]
    return fmean(scores) if scores else None
