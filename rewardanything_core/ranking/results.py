"""The result of a ranking as plain values. Every report is rendered from these."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from rewardanything_core.types import JudgeFailure, Usage


@dataclass(frozen=True, kw_only=True)
class SystemRank:
    """One system's place under a principle or criterion."""

    name: str
    """The system."""

    rank: int
    """Its place by strength, from 1."""

    rank_low: int
    """The best place that the settled pairs leave: 1 + the number of systems that are better than it."""

    rank_high: int
    """The worst place that they leave: the number of systems less those that it is better than."""

    strength: float
    """Its Bradley-Terry strength, in log-odds relative to the mean of all systems."""

    low: float
    """Lower end of the 95% interval of the strength, from resampling prompts."""

    high: float
    """Upper end of that interval."""

    best: float
    """Share of resamples in which it is the strongest, 0..1; ties are shared."""

    win_rate: float | None
    """Mean share of its comparisons that it wins, ties as one half, 0..1; every opponent counts equally. None: it was
    not compared."""

    score: float | None
    """Mean score, 1..5, over the prompts in which it was judged. None: it was not judged."""

    prompts: int
    """Number of independent prompts in which it was compared."""


@dataclass(frozen=True, kw_only=True)
class PairResult:
    """Two systems compared with each other, prompt by prompt."""

    first: str
    """A system."""

    second: str
    """Another one."""

    wins: int
    """Number of prompts on which ``first`` won in most orders."""

    ties: int
    """Number of prompts on which each won in as many orders as the other."""

    losses: int
    """Number of prompts on which ``second`` won in most orders."""

    win_rate: float | None
    """Mean share of orders in which ``first`` won, ties as one half, 0..1. None: they were not compared."""

    p_value: float
    """Two-sided p-value of "each wins half of the time", corrected for all pairs (Holm); 1.0 without data."""

    better: str | None
    """The one that is better, at the ranking's error probability. None: the pair is not settled."""

    @property
    def prompts(self) -> int:
        """Number of independent prompts in which they were compared."""
        return self.wins + self.ties + self.losses


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The systems under one principle, or under one criterion of a rubric."""

    principle: str
    """The principle's name, or the beginning of its text; for a criterion ``rubric: criterion``."""

    criterion: str | None
    """The criterion. None: the principle as a whole."""

    systems: tuple[SystemRank, ...]
    """The strongest first."""

    pairs: tuple[PairResult, ...]
    """All pairs; ``first`` is the stronger one."""

    def pair(self, first: str, second: str) -> PairResult:
        """The result of two systems, as seen by the first.

        Args:
            first: A system.
            second: Another one.

        Raises:
            KeyError: there is no such pair.
        """
        for pair in self.pairs:
            if (pair.first, pair.second) == (first, second):
                return pair
            if (pair.first, pair.second) == (second, first):
                return dataclasses.replace(
                    pair,
                    first=first,
                    second=second,
                    wins=pair.losses,
                    losses=pair.wins,
                    win_rate=None if pair.win_rate is None else 1 - pair.win_rate,
                )
        raise KeyError((first, second))

    @property
    def settled(self) -> int:
        """Number of pairs that are settled."""
        return sum(pair.better is not None for pair in self.pairs)


@dataclass(frozen=True, kw_only=True)
class RankingReport:
    """The systems under all principles."""

    rankings: tuple[Ranking, ...]
    """One for each principle, followed by those of a rubric's criteria."""

    alpha: float
    """Probability that any pair of a ranking is settled wrongly."""

    prompts: int
    """Number of independent prompts that all systems answered."""

    cases: int
    """Number of cases; those with the same prompt, or of the same ``group``, count as one independent prompt."""

    judged: int
    """Number of lists judged."""

    shown: int
    """Number of answers shown to the judge, in all orders together; those of stored verdicts included."""

    shown_in_full: int
    """That number if all systems' answers were judged in every case."""

    missing: tuple[str, ...]
    """Ids of cases that were left out because some system lacks them."""

    failures: tuple[JudgeFailure, ...]
    """The judgements that failed or that a cascade left to a person. They are in no figure."""

    exhausted: bool
    """Whether the ranking stopped because more judgements failed than may."""

    model: str
    """The judge model's name."""

    usage: Usage
    """What this run took; stored verdicts cost nothing."""

    @property
    def exit_code(self) -> int:
        """0, or 3 if too many judgements failed."""
        return 3 if self.exhausted else 0

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        return dataclasses.asdict(self)
