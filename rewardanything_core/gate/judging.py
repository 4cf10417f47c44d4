"""Judging for the gate: every side's answer to an input in one list, blind, each in every place equally often."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from rewardanything_core.cases import Case
from rewardanything_core.gate.pairing import Item
from rewardanything_core.gate.results import Requirement
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.types import JudgeFailure, Usage, Verdict


@dataclass(frozen=True, eq=False)
class Cell:
    """An input under a requirement: what is judged in one go."""

    item: Item
    requirement: Requirement

    @property
    def texts(self) -> dict[str, str]:
        """Answer -> the first side that gave it; sides with the same answer are judged once."""
        first: dict[str, str] = {}
        for side, text in self.item.responses.items():
            first.setdefault(text, side)
        return first


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a judge says about a cell."""

    passes: tuple[dict[str, float], ...]
    """For each pass, side -> score."""

    orders: tuple[dict[str, int], ...]
    """For each pass, side -> place of its answer."""

    reasoning: str
    """The judge's reasoning, with sides in place of model-n."""

    record_ids: tuple[str, ...]
    """Where the store keeps it."""

    def score(self, side: str) -> float:
        """A side's mean score over the passes."""
        return fmean(scores[side] for scores in self.passes)


class Panel:
    """Judges cells; counts what fails, and stops once too much has.

    Args:
        judge: The judge; its ``passes`` are raised until every answer stands in every place equally often.
        allowed: How many judgements may fail.
        told: Called after each judgement.
    """

    def __init__(self, judge: BaseJudge, *, allowed: float, told: Callable[[], None]) -> None:
        self._judge = judge
        self._allowed = allowed
        self._told = told
        self.usage = Usage()  # what was asked this time; stored verdicts cost nothing
        self.failures = 0

    @property
    def exhausted(self) -> bool:
        """Whether more judgements failed than may."""
        return self.failures > self._allowed

    def judge(self, cells: Sequence[Cell], *, fresh: bool = False) -> dict[Cell, Judged | JudgeFailure]:
        """Judge cells; those not reached before too many failed are left out.

        Args:
            cells: What to judge.
            fresh: Judge with other orders, and with a sampled instead of a greedy reply.
        """
        by_size: dict[int, list[Cell]] = defaultdict(list)
        for cell in cells:
            by_size[len(cell.texts)].append(cell)
        outcomes: dict[Cell, Judged | JudgeFailure] = {}
        for size, alike in by_size.items():
            judge = (self._judge.resampled() if fresh else self._judge).with_balanced_passes(size)
            for index, outcome in judge.judge_stream([_case(cell) for cell in alike]):
                outcomes[alike[index]] = (
                    outcome if isinstance(outcome, JudgeFailure) else _judged(alike[index], outcome)
                )
                self.failures += isinstance(outcome, JudgeFailure)
                self._told()
                if self.exhausted:
                    break
            self.usage += judge.usage
            if self.exhausted:
                break
        return outcomes


def _case(cell: Cell) -> Case:
    item = cell.item
    responses = {side: text for text, side in cell.texts.items()}
    return Case(cell.requirement.principle, item.prompt, responses, item.reference, item.context, item.id)


def _judged(cell: Cell, verdict: Verdict) -> Judged:
    texts = cell.texts
    passes = tuple(
        {side: scores[texts[text]] for side, text in cell.item.responses.items()} for scores in verdict.pass_scores
    )
    return Judged(
        passes=passes,
        orders=tuple(
            {side: order.index(texts[text]) for side, text in cell.item.responses.items()} for order in verdict.orders
        ),
        reasoning=verdict.explanation,
        record_ids=tuple(verdict.record_ids),
    )
