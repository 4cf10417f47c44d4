"""A list that the jury has ranked, or why it is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, permutations
from typing import Any, Literal, TypeAlias

from rewardanything_core.agreement.consensus import (
    ConsensusRanking,
    Method,
    Votes,
    consensus_ranking,
    mean_tau_b,
    tau_b,
)
from rewardanything_core.benchmark_building.jury_run import Outcomes
from rewardanything_core.benchmark_building.lists import RankingTask
from rewardanything_core.benchmark_building.votes import JurorVotes, juror_votes
from rewardanything_core.conversations.trajectory import response_json
from rewardanything_core.types import Verdict

Status: TypeAlias = Literal["kept", "no quorum", "disputed", "no order"]
"""``no quorum``: too few jurors reached a verdict. ``disputed``: they agree too little. ``no order``: the consensus
ties all responses."""


@dataclass(frozen=True, kw_only=True)
class RankingRules:
    """How a list is ranked, and what is kept."""

    quorum: int
    """How many jurors must reach a verdict."""

    min_agreement: float
    """Least agreement of the jurors: their mean Kendall's tau-b with each other, -1..1."""

    consensus: Method
    """The method of the consensus."""


@dataclass(frozen=True, kw_only=True)
class RankedList:
    """A list with the jurors' votes and their consensus."""

    task: RankingTask
    """The list."""

    jurors: tuple[JurorVotes | None, ...]
    """The votes of each juror. None: it reached no verdict."""

    passes: tuple[int, ...]
    """In how many orders each juror judged it; 0 without a verdict."""

    weights: tuple[float, ...]
    """The weight of each juror."""

    rules: RankingRules
    """How it was ranked."""

    @classmethod
    def of(cls, task: RankingTask, outcomes: Outcomes, weights: Sequence[float], rules: RankingRules) -> RankedList:
        """A list from the jurors' outcomes.

        Args:
            task: The list.
            outcomes: The outcome of each juror.
            weights: The weight of each juror, above 0.
            rules: How it is ranked.
        """
        verdicts = [outcome if isinstance(outcome, Verdict) else None for outcome in outcomes]
        return cls(
            task=task,
            jurors=tuple(None if verdict is None else juror_votes(verdict) for verdict in verdicts),
            passes=tuple(0 if verdict is None else len(verdict.pass_scores) for verdict in verdicts),
            weights=tuple(weights),
            rules=rules,
        )

    @cached_property
    def consensus(self) -> ConsensusRanking:
        """The consensus of the jurors that reached a verdict."""
        return self._consensus_of(range(len(self.jurors)))

    @cached_property
    def agreement(self) -> float | None:
        """The jurors' mean Kendall's tau-b with each other, -1..1; 0 by chance. None: fewer than two verdicts."""
        return mean_tau_b(self._votes)

    @cached_property
    def status(self) -> Status:
        """Whether it is kept, or why not."""
        if len(self._votes) < self.rules.quorum or self.agreement is None:
            return "no quorum"
        if self.agreement < self.rules.min_agreement:
            return "disputed"
        return "kept" if len(self.consensus.groups) > 1 else "no order"

    def agreement_with_consensus(self, juror: int) -> float | None:
        """A juror's Kendall's tau-b with the consensus, its own vote included. None: it ordered nothing."""
        return self._agreement(juror, self.consensus)

    def agreement_with_others(self, juror: int) -> float | None:
        """A juror's Kendall's tau-b with the consensus of the others. None: one side ordered nothing."""
        others = [place for place, votes in enumerate(self.jurors) if votes is not None and place != juror]
        return self._agreement(juror, self._consensus_of(others)) if others else None

    def decision(self, one: str, other: str) -> int:
        """The consensus on a pair: 1 if the first response is better, -1 if the second is, 0 if they are tied.

        Args:
            one: The label of the first response.
            other: The label of the second response.
        """
        places = self.consensus.places
        return (places[one] > places[other]) - (places[one] < places[other])

    def row(self, name: str) -> dict[str, Any]:
        """The row of a benchmark file; see ``docs/judge-the-judge.md``.

        Args:
            name: The benchmark's name.
        """
        row, principle = self.task.row, self.task.principle
        ranking = [group[0] if len(group) == 1 else list(group) for group in self.consensus.groups]
        optional = {
            "category": principle.family and principle.family.capitalize(),
            "reference": row.reference,
            "context": row.context,
        }
        return {
            "id": f"{name}/{self.task.id}",
            "source": name,
            "group": f"{name}/{row.id}",
            "principle": principle.text,
            "prompt": row.prompt if isinstance(row.prompt, str) else [dict(message) for message in row.prompt],
            "responses": {label: response_json(response) for label, response in row.responses.items()},
            "ranking": ranking,
            **{field: value for field, value in optional.items() if value is not None},
            "meta": {
                "criterion": self.task.key,
                "agreement": None if self.agreement is None else round(self.agreement, 4),
                "jurors": len(self._votes),
                "origins": {
                    label: {name: value for name, value in row.origins[label].items() if name != "usage"}
                    for label in row.responses
                    if label in row.origins
                },
            },
        }

    @property
    def _votes(self) -> list[Votes]:
        return [each.votes for each in self.jurors if each is not None]

    def _agreement(self, juror: int, consensus: ConsensusRanking) -> float | None:
        votes = self.jurors[juror]
        return None if votes is None else tau_b(votes.votes, consensus.votes)

    def _consensus_of(self, members: Sequence[int]) -> ConsensusRanking:
        present = [(votes.votes, self.weights[place]) for place in members if (votes := self.jurors[place]) is not None]
        return consensus_ranking(
            list(self.task.row.responses),
            [votes for votes, _ in present],
            [weight for _, weight in present],
            method=self.rules.consensus,
        )


def flips_between(lists: Sequence[RankedList], name: str) -> list[dict[str, str]]:
    """Flip pairs: two responses that the consensus orders one way under a principle and the other way under another.

    Of two principles and a prompt there is at most one: the pair that is farthest apart under both.

    Args:
        lists: Lists that are kept, of one half of the benchmark.
        name: The benchmark's name.
    """
    by_prompt: dict[str, list[RankedList]] = {}
    for each in lists:
        by_prompt.setdefault(each.task.row.id, []).append(each)
    flips = []
    for prompt, same_prompt in by_prompt.items():
        for a, b in combinations(same_prompt, 2):
            under_a, under_b = a.consensus.places, b.consensus.places
            gaps = {
                (one, other): min(under_a[one] - under_a[other], under_b[other] - under_b[one])
                for one, other in permutations(a.task.row.responses, 2)
            }
            (one, other), gap = max(gaps.items(), key=lambda item: item[1])
            if gap > 0:
                names = {"a": a.task.key, "b": b.task.key, "better_under_a": one, "better_under_b": other}
                flips.append({"group": f"{name}/{prompt}", **names})
    return flips
