"""Judging for the gate: all sides' answers to an input in one blind list, each in every position equally often."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

from rewardanything_core.cases import Case
from rewardanything_core.conversations import Response
from rewardanything_core.errors import SETUP_ERRORS, RewardAnythingError, error_from_failure
from rewardanything_core.gate.pairing import PairedCase
from rewardanything_core.gate.results import Requirement
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.judging.streaming import stream_within_budget
from rewardanything_core.principles import Principle
from rewardanything_core.types import MIN_SCORE, Abstention, JudgeFailure, Usage, Verdict

if TYPE_CHECKING:
    from rewardanything_core.judging.cost_estimates import CostEstimate


@dataclass(frozen=True, eq=False)
class JudgingUnit:
    """One input under one principle: a single case for the judge."""

    item: PairedCase
    principle: Principle

    @property
    def answers(self) -> dict[Response, str]:
        """Answer -> the first side that gave it; identical answers are judged once."""
        first: dict[Response, str] = {}
        for side, answer in self.item.responses.items():
            first.setdefault(answer, side)
        return first


@dataclass(frozen=True, kw_only=True)
class UnitScores:
    """The judge's scores of a unit, under its principle as a whole or under one criterion."""

    passes: tuple[dict[str, float], ...]
    """For each pass, side -> score."""

    orders: tuple[dict[str, int], ...]
    """For each pass, side -> position of its answer, from 0."""

    reasoning: str
    """The judge's reasoning, with sides in place of model-n."""

    record_ids: tuple[str, ...]
    """Ids of the records in the store."""

    missed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Side -> required criteria of the rubric that its answer misses. Its score of the whole is then 1."""

    criteria: Mapping[str, UnitScores] = field(default_factory=dict)
    """Criterion of the rubric -> the scores under it."""

    def under(self, criterion: str | None) -> UnitScores:
        """The scores under a criterion. None: these."""
        return self if criterion is None else self.criteria[criterion]

    def score(self, side: str) -> float:
        """A side's mean score over the passes."""
        return fmean(scores[side] for scores in self.passes)


UnitResult = UnitScores | JudgeFailure

_MAX_SETUP_FAILURES = 3  # judgements that may fail in this way before the first verdict


class CaseJudge:
    """Judges units, counts failures, and stops once more have failed than may.

    If nothing but errors of the judge's setup, such as a wrong key, came from the judge, or too many of them since its
    last verdict, that error is raised: such a judge gives no result, not even an inconclusive one. Stored verdicts do
    not count, since they say nothing of the judge's setup now.

    Args:
        judge: The judge; its ``passes`` are raised until every answer is in every position equally often.
        max_failed: How many judgements may fail.
        on_judged: Called after each judgement.
    """

    def __init__(self, judge: BaseJudge, *, max_failed: float, on_judged: Callable[[], None]) -> None:
        self._judge = judge
        self._max_failed = max_failed
        self._on_judged = on_judged
        self.usage = Usage()  # of this run; stored verdicts cost nothing
        self.failures = 0
        self._has_judged = False
        self._setup_errors: list[RewardAnythingError] = []

    @property
    def exhausted(self) -> bool:
        """Whether more judgements failed than may."""
        return self.failures > self._max_failed

    def judge(self, units: Sequence[JudgingUnit], *, resample: bool = False) -> dict[JudgingUnit, UnitResult]:
        """Judge units; those not reached before too many failed are left out of the result.

        Args:
            units: The units to judge.
            resample: Judge in other orders, and sample the reply instead of decoding greedily.

        Raises:
            RewardAnythingError: one of `SETUP_ERRORS`, which the first few judgements, or more than may fail, had.
        """
        by_size: dict[int, list[JudgingUnit]] = defaultdict(list)
        for unit in units:
            by_size[len(unit.answers)].append(unit)
        results: dict[JudgingUnit, UnitResult] = {}
        for size, same_size in by_size.items():
            judge = (self._judge.resampled() if resample else self._judge).with_balanced_passes(size)
            for index, outcome in stream_within_budget(judge, [_case(unit) for unit in same_size]):
                unit = same_size[index]
                results[unit] = outcome if isinstance(outcome, JudgeFailure) else _scores(unit, outcome)
                self._count(outcome)
                self._on_judged()
                if self.exhausted or self._setup_is_broken(_MAX_SETUP_FAILURES):
                    break
            self.usage += judge.usage
            if self.exhausted or self._setup_is_broken(_MAX_SETUP_FAILURES):
                break
        if self._setup_is_broken(1):
            raise self._setup_errors[0]
        return results

    def _count(self, outcome: Verdict | JudgeFailure) -> None:
        if isinstance(outcome, Verdict):
            if not outcome.cached:
                self._has_judged = True
                self._setup_errors.clear()
            return
        if isinstance(outcome, Abstention):  # the judge works, and a person is to decide
            return
        self.failures += 1
        error = error_from_failure(outcome)
        if isinstance(error, SETUP_ERRORS):
            self._setup_errors.append(error)

    def _setup_is_broken(self, number: int) -> bool:
        """Whether ``number`` judgements or more failed because of the setup, and the judge gave no verdict since."""
        errors = len(self._setup_errors)
        return errors >= number and errors == self.failures and (not self._has_judged or self.exhausted)


def planned_cases(
    judge: BaseJudge, items: Sequence[PairedCase], requirements: Sequence[Requirement]
) -> list[tuple[BaseJudge, list[Case]]]:
    """The cases of a check, without confirmations and controls, by the judge with the passes that they take.

    Args:
        judge: The judge.
        items: The cases of the check.
        requirements: The principles, each of which is judged.
    """
    principles = dict.fromkeys(requirement.principle for requirement in requirements)
    units = [JudgingUnit(item, principle) for item in items for principle in principles]
    by_size: dict[int, list[Case]] = defaultdict(list)
    for unit in units:
        if len(unit.answers) > 1:
            by_size[len(unit.answers)].append(_case(unit))
    return [(judge.with_balanced_passes(size), cases) for size, cases in by_size.items()]


def estimate_check(
    judge: BaseJudge, items: Sequence[PairedCase], requirements: Sequence[Requirement]
) -> CostEstimate | None:
    """What judging all cases once will take, without confirmations and controls. None: the judge cannot tell.

    Args:
        judge: The judge.
        items: The cases of the check.
        requirements: The principles, each of which is judged.
    """
    estimates = [balanced.estimate(cases) for balanced, cases in planned_cases(judge, items, requirements)]
    known = [one for one in estimates if one is not None]
    if len(known) < len(estimates) or not known:
        return None
    total = sum(known[1:], known[0])
    return dataclasses.replace(total, cases=sum(one.cases for one in known), cached=sum(one.cached for one in known))


def _case(unit: JudgingUnit) -> Case:
    item = unit.item
    responses = {side: answer for answer, side in unit.answers.items()}
    return Case(unit.principle, item.prompt, responses, item.reference, item.context, item.id)


def _scores(unit: JudgingUnit, verdict: Verdict) -> UnitScores:
    labels = {side: unit.answers[answer] for side, answer in unit.item.responses.items()}

    def score(scores: Mapping[str, float], label: str) -> float:
        # Scores by pass are those before requirements, which depend on all passes.
        return MIN_SCORE if label in verdict.missed else scores[label]

    return UnitScores(
        passes=tuple({side: score(scores, label) for side, label in labels.items()} for scores in verdict.pass_scores),
        orders=tuple({side: order.index(label) for side, label in labels.items()} for order in _orders(verdict)),
        reasoning=verdict.explanation,
        record_ids=tuple(verdict.record_ids),
        missed={side: verdict.missed[label] for side, label in labels.items() if label in verdict.missed},
        criteria={name: _scores(unit, each) for name, each in verdict.criteria.items()},
    )


def _orders(verdict: Verdict) -> list[list[str]]:
    """The order of each pass.

    Criteria that were judged separately have orders of their own. The whole then gets the same order for every pass,
    from which no position bias is computed.
    """
    if verdict.orders or not verdict.criteria:
        return verdict.orders
    return [list(verdict.scores)] * len(verdict.pass_scores)
