"""What one pass, and all passes over a case, gave."""

from __future__ import annotations

from dataclasses import dataclass

from rewardanything_core.readouts.aggregation import Consensus


@dataclass(frozen=True, kw_only=True)
class PassResult:
    """What one pass says."""

    order: list[str]
    """Labels in the order in which the model saw them."""

    scores: dict[str, float]
    """label -> 1.0..5.0."""

    ranking: list[str]
    """Labels, best first."""

    reasoning: str
    """The model's reasoning."""

    raw: str
    """The whole reply."""


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """All ballots on one case, and what they say together."""

    ballots: list[PassResult]
    """One for each pass; each is over all responses of the case. A round of sub-lists is a pass."""

    consensus: Consensus
    """What they say together."""

    sublists: list[list[list[str]]] | None = None
    """For each pass the labels of each of its sub-lists, as the model saw them. None: each pass was one list."""
