"""Aggregation: several passes over the same case, each in another order, into one verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Consensus:
    """What several passes say together."""

    scores: dict[str, float]
    """label -> mean score, 1.0..5.0."""

    ranking: list[str]
    """Labels by mean score, then by Borda count, then as the first pass had them."""

    spread: dict[str, float]
    """label -> population standard deviation of its scores."""

    agreement: float | None
    """Kendall's W of the rankings. None with one pass or one response."""


def aggregate(scores: Sequence[Mapping[str, float]], rankings: Sequence[Sequence[str]]) -> Consensus:
    """Combine passes: ``scores[p][label]`` and ``rankings[p]`` (best first), over the same labels in every pass."""
    labels, passes = rankings[0], len(rankings)
    means = {label: math.fsum(s[label] for s in scores) / passes for label in labels}
    borda = {label: sum(len(labels) - ranking.index(label) for ranking in rankings) for label in labels}
    first = {label: place for place, label in enumerate(labels)}
    return Consensus(
        scores={label: means[label] for label in scores[0]},
        ranking=sorted(labels, key=lambda label: (-means[label], -borda[label], first[label])),
        spread={
            label: math.sqrt(math.fsum((s[label] - means[label]) ** 2 for s in scores) / passes) for label in scores[0]
        },
        agreement=kendalls_w(rankings),
    )


def kendalls_w(rankings: Sequence[Sequence[str]]) -> float | None:
    """Kendall's coefficient of concordance of complete rankings without ties (Kendall & Babington Smith 1939).

    Returns:
        0..1: 1 where all rankings are the same. None for fewer than two rankings or two items.
    """
    m, n = len(rankings), len(rankings[0])
    if m < 2 or n < 2:
        return None
    totals = [sum(ranking.index(label) for ranking in rankings) for label in rankings[0]]
    mean = m * (n - 1) / 2
    return 12 * sum((total - mean) ** 2 for total in totals) / (m**2 * (n**3 - n))
