"""Results of judging a case: of one pass, and of all passes together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rewardanything_core.readouts.aggregation import Consensus
from rewardanything_core.types import Reply


@dataclass(frozen=True, kw_only=True)
class PassResult:
    """One pass over all responses of a case."""

    order: list[str]
    """Labels in the order in which the model saw them."""

    scores: dict[str, float]
    """label -> 1.0..5.0."""

    ranking: list[str]
    """Labels, best first."""

    replies: list[Reply]
    """The model's reply; over a long list, its reply to each sub-list."""


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """All passes over a case, and their consensus."""

    passes: list[PassResult]
    """One per pass, or per round of sub-lists; each covers all responses."""

    consensus: Consensus
    """The passes combined."""

    sublists: list[list[list[str]]] | None = None
    """For each pass, the labels of each sub-list as the model saw them. None: each pass was one list."""

    removed: Mapping[str, list[str]] = field(default_factory=dict)
    """Label -> sentences that were removed from the response before it was judged."""
