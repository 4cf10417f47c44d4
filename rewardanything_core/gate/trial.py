"""A trial: the cases of a check, judged as far as was asked for."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean

from rewardanything_core.gate.controls import called_for, spoiled, weighed
from rewardanything_core.gate.judging import Cell, Judged, Panel
from rewardanything_core.gate.pairing import Item
from rewardanything_core.gate.results import BASELINE, Control, ControlKind, Pair, Requirement
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.types import JudgeFailure, Usage


class Trial:
    """Every side's answers under every requirement, in a random order, and what the judge has said about them so far.

    Args:
        items: The inputs with all sides' answers.
        candidates: Names of the sides that are compared with the baseline.
        requirements: The principles.
        judge: The judge.
        max_failures: Share of judgements that may fail.
        keep_scores: Whether scores are needed where all answers are the same; otherwise these are not judged.
        progress: Called with ``(judgements done, judgements planned)``.
    """

    def __init__(
        self,
        items: Sequence[Item],
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
        self._order = sorted(items, key=lambda item: random.Random(item.id).random())
        self._cells = {item.id: [Cell(item, requirement) for requirement in requirements] for item in items}
        self._keep_scores = keep_scores
        self._first: dict[Cell, Judged | JudgeFailure] = {}
        self._fresh: dict[Cell, Judged | JudgeFailure] = {}
        self._spoiled: dict[tuple[str, ControlKind], dict[Cell, Judged | JudgeFailure]] = {}
        self._reached: list[Item] = []
        self._done, self._planned = 0, len(self._worth_judging(items))
        self._progress = progress
        self._panel = Panel(judge, allowed=max_failures * self._planned, told=self._tell)

    @property
    def reached(self) -> int:
        """How many items were looked at."""
        return len(self._reached)

    @property
    def tried(self) -> int:
        """Judgements tried, confirmations and controls included."""
        return len(self._first) + len(self._fresh) + sum(map(len, self._spoiled.values()))

    @property
    def failures(self) -> int:
        """How many of them failed."""
        return self._panel.failures

    @property
    def exhausted(self) -> bool:
        """Whether so many failed that nothing more is judged."""
        return self._panel.exhausted

    @property
    def usage(self) -> Usage:
        """What was asked of the model."""
        return self._panel.usage

    def go_on(self, number: int) -> None:
        """Judge the first ``number`` items of the random order, as far as that is not done."""
        self._reached = self._order[:number]
        self._first |= self._panel.judge([c for c in self._worth_judging(self._reached) if c not in self._first])

    def look_again(self, names: Iterable[str]) -> None:
        """Judge all that was reached once more under the requirements of these names, in fresh orders."""
        wanted = set(names)
        again = [
            cell
            for cell in self._worth_judging(self._reached)
            if cell.requirement.name in wanted and cell not in self._fresh
        ]
        self._planned += len(again)
        self._fresh |= self._panel.judge(again, fresh=True)

    def called_for(self, pairs: Sequence[Pair]) -> dict[ControlKind, str]:
        """The controls that pairs of a comparison ask for, and why."""
        return called_for(pairs, self._order)

    def control(self, requirement: Requirement, kind: ControlKind, *, alpha: float, why: str) -> Control:
        """Judge spoiled answers beside the baseline's, once, and weigh what the judge made of them."""
        key = requirement.name, kind
        if key not in self._spoiled:
            cells = [Cell(item, requirement) for item in spoiled(self._order, kind)]
            self._planned += len(cells)
            self._spoiled[key] = self._panel.judge(cells)
        judged = [outcome for outcome in self._spoiled[key].values() if isinstance(outcome, Judged)]
        differences = [outcome.score(kind) - outcome.score(BASELINE) for outcome in judged]
        return weighed(kind, differences, requirement, alpha=alpha, why=why)

    def pairs(self) -> tuple[Pair, ...]:
        """Every candidate's answers beside the baseline's, as far as reached, in the order given."""
        ordered = sorted(self._reached, key=lambda item: self._places[item.id])
        return tuple(
            pair
            for item in ordered
            for cell in self._cells[item.id]
            for candidate in self._candidates
            if (pair := self._pair(cell, candidate)) is not None
        )

    def _worth_judging(self, items: Iterable[Item]) -> list[Cell]:
        cells = [cell for item in items for cell in self._cells[item.id]]
        return cells if self._keep_scores else [cell for cell in cells if len(cell.texts) > 1]

    def _pair(self, cell: Cell, candidate: str) -> Pair | None:
        """The pair as far as is known; None if it was planned and not reached."""
        first, fresh = self._first.get(cell), self._fresh.get(cell)
        failure = first if isinstance(first, JudgeFailure) else None
        judged = [outcome for outcome in (first, fresh) if isinstance(outcome, Judged)] if failure is None else []
        responses = cell.item.responses
        unchanged = responses[candidate] == responses[BASELINE]
        if not judged and not failure and (self._keep_scores or not unchanged):
            return None
        by_look = [tuple(scores[candidate] - scores[BASELINE] for scores in outcome.passes) for outcome in judged]
        differences = [difference for look in by_look for difference in look]
        return Pair(
            id=cell.item.id,
            group=cell.item.group,
            principle=cell.requirement.name,
            candidate=candidate,
            prompt=cell.item.prompt_text,
            baseline_response=responses[BASELINE],
            candidate_response=responses[candidate],
            baseline_score=_mean_score(judged, BASELINE),
            candidate_score=_mean_score(judged, candidate),
            difference=0.0 if unchanged else fmean(differences) if differences else None,
            pass_differences=by_look[0] if by_look else (),
            fresh_differences=by_look[1] if len(by_look) > 1 else (),
            candidate_first=tuple(
                places[candidate] < places[BASELINE] for outcome in judged for places in outcome.orders
            ),
            reasoning="\n\n".join(outcome.reasoning for outcome in judged if outcome.reasoning),
            record_ids=tuple(record_id for outcome in judged for record_id in outcome.record_ids),
            min_score=cell.item.min_score,
            failure=None if unchanged and not self._keep_scores else failure,
        )

    def _tell(self) -> None:
        self._done += 1
        if self._progress:
            self._progress(self._done, self._planned)


def _mean_score(judged: Sequence[Judged], side: str) -> float | None:
    scores = [scores[side] for outcome in judged for scores in outcome.passes]
    return fmean(scores) if scores else None
