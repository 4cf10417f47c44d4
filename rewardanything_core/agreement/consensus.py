"""The consensus of several raters' orders of the same responses, with ties where their votes are split.

A rater votes on pairs of responses: for one, for the other, or for a tie; it may leave pairs out. The consensus is the
ranking with ties that is nearest to all votes (Kemeny, "Mathematics without numbers", Daedalus 88, 1959). A pair that
one side ties and the other orders counts as half a disagreement, the least for which the distance is a metric (Fagin,
Kumar, Mahdian, Sivakumar & Vee, "Comparing partial rankings", SIAM J. Discrete Mathematics 20, 2006). So two responses
are tied where as many raters prefer one as the other, and in cycles of preferences the smallest majority yields.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypeAlias, get_args

Votes: TypeAlias = Mapping[tuple[str, str], int]
"""Pair of labels -> 1 if the first is better, -1 if the second is, 0 for a tie. A pair is there in one order only, or
not at all: the rater has no vote on it."""

Method: TypeAlias = Literal["kemeny", "borda"]

METHODS: tuple[Method, ...] = get_args(Method)

MAX_EXACT = 8
"""Up to so many responses the Kemeny consensus is computed exactly, in about 3^n steps; beyond that it is Borda's."""

_FEWER_ORDERED = 1e-6  # of two equally near rankings, the one that orders fewer pairs
_NEARER_TO_BORDA = 1e-10  # and then the one that agrees more with Borda's scores


@dataclass(frozen=True)
class ConsensusRanking:
    """The consensus of votes."""

    groups: tuple[tuple[str, ...], ...]
    """The labels, best first; those of one group are tied."""

    method: Method
    """How it was found."""

    @property
    def places(self) -> dict[str, float]:
        """Label -> the number of its group from the end, 1 for the worst: higher is better, and ties are equal."""
        return {label: float(place) for place, group in enumerate(reversed(self.groups), 1) for label in group}

    @property
    def votes(self) -> dict[tuple[str, str], int]:
        """The ranking as votes on all pairs."""
        return votes_of_scores(self.places)


def votes_of_scores(scores: Mapping[str, float]) -> dict[tuple[str, str], int]:
    """The votes on all pairs that scores stand for; equal scores are ties."""
    return {(one, other): _sign(scores[one] - scores[other]) for one, other in combinations(sorted(scores), 2)}


def consensus_ranking(
    labels: Sequence[str], votes: Sequence[Votes], weights: Sequence[float] | None = None, *, method: Method = "kemeny"
) -> ConsensusRanking:
    """The consensus of raters. The same votes give the same ranking, whatever the order of labels or raters.

    Args:
        labels: The labels, one or more.
        votes: The votes of each rater.
        weights: The weight of each rater, above 0. None: equal weights.
        method: ``kemeny``: see the module; of several nearest rankings, the one with the most ties, then the one that
            agrees most with Borda's scores, and for a cycle that is the same all round the alphabetical one.
            ``borda``: by the number of votes for a label less those against it.

    Returns:
        The ranking. Its ``method`` is ``borda`` for more than `MAX_EXACT` labels.
    """
    names = sorted(labels)
    mean = math.fsum(weights) / len(weights) if weights else 1.0
    ahead, tied = _counts(names, votes, [weight / mean for weight in weights] if weights else [1.0] * len(votes))
    borda = [
        math.fsum(ahead[one][other] - ahead[other][one] for other in range(len(names))) for one in range(len(names))
    ]
    if method == "borda" or len(names) > MAX_EXACT:
        return ConsensusRanking(_grouped(names, [round(score, 9) for score in borda]), "borda")
    buckets = _nearest(ahead, tied, borda)
    return ConsensusRanking(tuple(tuple(names[place] for place in bucket) for bucket in buckets), "kemeny")


def tau_b(one: Votes, other: Votes) -> float | None:
    """Kendall's tau-b of two raters from their votes (Kendall, Biometrika 33, 1945); missing votes are ties.

    Args:
        one: The votes of one rater.
        other: The votes of the other rater.

    Returns:
        -1..1. None where one of them orders no pair.
    """
    ordered = [sum(vote != 0 for vote in votes.values()) for votes in (one, other)]
    if not all(ordered):
        return None
    return sum(vote * _vote(other, pair) for pair, vote in one.items()) / math.sqrt(ordered[0] * ordered[1])


def mean_tau_b(votes: Sequence[Votes]) -> float | None:
    """The mean `tau_b` of all pairs of raters: 0 by chance, however many they are. None: there is one rater or none.

    A pair of raters of which one orders nothing counts as 0, since it shows no agreement.
    """
    found = [tau_b(one, other) or 0.0 for one, other in combinations(votes, 2)]
    return math.fsum(found) / len(found) if found else None


def _counts(
    names: Sequence[str], votes: Sequence[Votes], weights: Sequence[float]
) -> tuple[list[list[float]], list[list[float]]]:
    """The weight of the votes for each label over each other one, and of the ties."""
    places = {name: place for place, name in enumerate(names)}
    ahead, tied = ([[0.0] * len(names) for _ in names] for _ in range(2))
    for of_rater, weight in zip(votes, weights, strict=True):
        for (one, other), vote in of_rater.items():
            first, second = places[one], places[other]
            if vote == 0:
                tied[first][second] += weight
                tied[second][first] += weight
            else:
                better, worse = (first, second) if vote > 0 else (second, first)
                ahead[better][worse] += weight
    return ahead, tied


def _nearest(
    ahead: Sequence[Sequence[float]], tied: Sequence[Sequence[float]], borda: Sequence[float]
) -> list[tuple[int, ...]]:
    """The nearest ranking with ties, by dynamic programming over the sets of labels that its best groups hold."""
    size = len(ahead)
    sets = range(1 << size)
    members = [tuple(place for place in range(size) if held >> place & 1) for held in sets]
    above = [[_cost_of_order(ahead, tied, borda, one, other) for other in range(size)] for one in range(size)]
    below_all = [[math.fsum(above[one][other] for one in members[held]) for other in range(size)] for held in sets]
    within = [math.fsum((ahead[a][b] + ahead[b][a]) / 2 for a, b in combinations(members[held], 2)) for held in sets]
    cost, last = [0.0] * len(sets), [0] * len(sets)
    for held in sets[1:]:
        best, group = math.inf, held
        while group:
            rest = held ^ group
            found = cost[rest] + within[group] + sum(below_all[rest][place] for place in members[group])
            if found < best - 1e-12:
                best, last[held] = found, group
            group = (group - 1) & held
        cost[held] = best
    buckets, held = [], len(sets) - 1
    while held:
        buckets.append(members[last[held]])
        held ^= last[held]
    return buckets[::-1]


def _cost_of_order(
    ahead: Sequence[Sequence[float]], tied: Sequence[Sequence[float]], borda: Sequence[float], one: int, other: int
) -> float:
    """The votes against ``one`` above ``other``, and a little to decide between equally near rankings."""
    against = ahead[other][one] + tied[one][other] / 2
    return against + _FEWER_ORDERED + _NEARER_TO_BORDA * max(0.0, borda[other] - borda[one])


def _grouped(names: Sequence[str], scores: Sequence[float]) -> tuple[tuple[str, ...], ...]:
    by_score: dict[float, list[str]] = {}
    for name, score in zip(names, scores, strict=True):
        by_score.setdefault(score, []).append(name)
    return tuple(tuple(by_score[score]) for score in sorted(by_score, reverse=True))


def _vote(votes: Votes, pair: tuple[str, str]) -> int:
    return votes.get(pair) or -votes.get((pair[1], pair[0]), 0)


def _sign(difference: float) -> int:
    return 0 if abs(difference) < 1e-9 else 1 if difference > 0 else -1
