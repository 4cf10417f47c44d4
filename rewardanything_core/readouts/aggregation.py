"""Aggregation: combines several judgements of a case, from the passes of a judge or the jurors of a jury."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Consensus:
    """Several judgements of the same responses, combined."""

    scores: dict[str, float]
    """label -> mean score, 1.0..5.0."""

    ranking: list[str]
    """Labels by mean score, then by Borda count, then in the order of the first judgement's ranking."""

    spread: dict[str, float]
    """label -> standard deviation of its scores (population form)."""

    agreement: float | None
    """Kendall's W of the rankings. None with one judgement or one response."""


def aggregate(
    scores: Sequence[Mapping[str, float]],
    rankings: Sequence[Sequence[str]],
    weights: Sequence[float] | None = None,
) -> Consensus:
    """Combine judgements over the same labels: mean scores, with ties in the ranking broken by Borda count.

    Args:
        scores: For each judgement, label -> score.
        rankings: For each judgement, the labels, best first.
        weights: The weight of each judgement in means, Borda counts and spreads, above 0. None: equal weights.
    """
    labels = rankings[0]
    weights = weights or [1.0] * len(rankings)
    total = math.fsum(weights)

    def mean(values: Iterable[float]) -> float:
        values = list(values)
        weighted = math.fsum(weight * value for weight, value in zip(weights, values, strict=True)) / total
        return min(max(weighted, min(values)), max(values))  # rounding may exceed them

    means = {label: mean(each[label] for each in scores) for label in labels}
    borda = {label: mean(len(labels) - ranking.index(label) for ranking in rankings) for label in labels}
    first = {label: position for position, label in enumerate(labels)}
    return Consensus(
        scores={label: means[label] for label in scores[0]},
        ranking=sorted(labels, key=lambda label: (-means[label], -borda[label], first[label])),
        spread={label: math.sqrt(mean((each[label] - means[label]) ** 2 for each in scores)) for label in scores[0]},
        agreement=kendalls_w(rankings),
    )


def kendalls_w(rankings: Sequence[Sequence[str]]) -> float | None:
    """Kendall's coefficient of concordance of complete rankings without ties (Kendall & Babington Smith 1939).

    Returns:
        0..1: 1 where all rankings are equal. None for fewer than two rankings or two items.
    """
    m, n = len(rankings), len(rankings[0])
    if m < 2 or n < 2:
        return None
    totals = [sum(ranking.index(label) for ranking in rankings) for label in rankings[0]]
    mean = m * (n - 1) / 2
    return 12 * sum((total - mean) ** 2 for total in totals) / (m**2 * (n**3 - n))


def kendalls_w_of_scores(scores: Sequence[Mapping[str, float]]) -> float | None:
    """Kendall's W of the rankings that scores imply, corrected for ties (Kendall 1945, "The treatment of ties").

    Args:
        scores: For each judgement, label -> score.

    Returns:
        0..1, like `kendalls_w`. None also where every judgement gives all labels the same score.
    """
    m, n = len(scores), len(scores[0]) if scores else 0
    if m < 2 or n < 2:
        return None
    totals, ties = dict.fromkeys(scores[0], 0.0), 0
    for by_label in scores:
        counts = Counter(by_label.values())
        ties += sum(count**3 - count for count in counts.values())
        better, ranks = 0, {}
        for score in sorted(counts, reverse=True):
            ranks[score] = better + (counts[score] - 1) / 2
            better += counts[score]
        for label, score in by_label.items():
            totals[label] += ranks[score]
    largest = m**2 * (n**3 - n) - m * ties
    if not largest:
        return None
    mean = m * (n - 1) / 2
    return 12 * math.fsum((total - mean) ** 2 for total in totals.values()) / largest
