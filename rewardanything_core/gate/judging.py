"""Judging for the gate: all sides' answers to an input in one blind list, each in every position equally often."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from rewardanything_core.cases import Case
from rewardanything_core.gate.pairing import PairedCase
from rewardanything_core.gate.results import Requirement
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.types import JudgeFailure, Usage, Verdict


@dataclass(frozen=True, eq=False)
class JudgingUnit:
    """One input under one requirement: a single case for the judge."""

    item: PairedCase
    requirement: Requirement

    @property
    def texts(self) -> dict[str, str]:
        """Answer -> the first side that gave it; identical answers are judged once."""
        first: dict[str, str] = {}
        for side, text in self.item.responses.items():
            first.setdefault(text, side)
        return first


@dataclass(frozen=True, kw_only=True)
class UnitScores:
    """The judge's scores of a unit."""

    passes: tuple[dict[str, float], ...]
    """For each pass, side -> score."""

    orders: tuple[dict[str, int], ...]
    """For each pass, side -> position of its answer, from 0."""

    reasoning: str
    """The judge's reasoning, with sides in place of model-n."""

    record_ids: tuple[str, ...]
    """Ids of the records in the store."""

    def score(self, side: str) -> float:
        """A side's mean score over the passes."""
        return fmean(scores[side] for scores in self.passes)


UnitResult = UnitScores | JudgeFailure


class CaseJudge:
    """Judges units, counts failures, and stops once more have failed than may.

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

    @property
    def exhausted(self) -> bool:
        """Whether more judgements failed than may."""
        return self.failures > self._max_failed

    def judge(self, units: Sequence[JudgingUnit], *, resample: bool = False) -> dict[JudgingUnit, UnitResult]:
        """Judge units; those not reached before too many failed are left out of the result.

        Args:
            units: The units to judge.
            resample: Judge in other orders, and sample the reply instead of decoding greedily.
        """
        by_size: dict[int, list[JudgingUnit]] = defaultdict(list)
        for unit in units:
            by_size[len(unit.texts)].append(unit)
        results: dict[JudgingUnit, UnitResult] = {}
        for size, same_size in by_size.items():
            judge = (self._judge.resampled() if resample else self._judge).with_balanced_passes(size)
            for index, outcome in judge.judge_stream([_case(unit) for unit in same_size]):
                unit = same_size[index]
                results[unit] = outcome if isinstance(outcome, JudgeFailure) else _scores(unit, outcome)
                self.failures += isinstance(outcome, JudgeFailure)
                self._on_judged()
                if self.exhausted:
                    break
            self.usage += judge.usage
            if self.exhausted:
                break
        return results


def _case(unit: JudgingUnit) -> Case:
    item = unit.item
    responses = {side: text for text, side in unit.texts.items()}
    return Case(unit.requirement.principle, item.prompt, responses, item.reference, item.context, item.id)


def _scores(unit: JudgingUnit, verdict: Verdict) -> UnitScores:
    texts = unit.texts
    sides = unit.item.responses.items()
    return UnitScores(
        passes=tuple({side: scores[texts[text]] for side, text in sides} for scores in verdict.pass_scores),
        orders=tuple({side: order.index(texts[text]) for side, text in sides} for order in verdict.orders),
        reasoning=verdict.explanation,
        record_ids=tuple(verdict.record_ids),
    )
