"""What a juror's verdict says about each pair of responses, over the orders in which it saw them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

from rewardanything_core.agreement.consensus import Votes
from rewardanything_core.types import Verdict

_EQUAL = 1e-9  # scores that differ by less are a tie


@dataclass(frozen=True, kw_only=True)
class JurorVotes:
    """A juror's votes on a list."""

    votes: Votes
    """Its votes; pairs in `inconsistent` are not among them."""

    inconsistent: tuple[tuple[str, str], ...]
    """Pairs of which it preferred one response where that came first, and the other where that did."""


def juror_votes(verdict: Verdict) -> JurorVotes:
    """The votes in a juror's verdict, under one principle.

    In each pass the response with the higher score is ahead. A juror votes for the one that is ahead in more passes,
    unless it prefers one in the passes that show it first and the other in those that show that first.

    Args:
        verdict: The verdict of a judge on two responses or more.
    """
    votes: dict[tuple[str, str], int] = {}
    inconsistent = []
    passes = list(_passes(verdict))
    for one, other in combinations(sorted(verdict.scores), 2):
        net = {True: 0, False: 0}  # by whether `one` was shown first
        for scores, places in passes:
            gap = scores[one] - scores[other]
            net[places[one] < places[other]] += 0 if abs(gap) < _EQUAL else int(math.copysign(1, gap))
        if net[True] * net[False] < 0:
            inconsistent.append((one, other))
        else:
            total = net[True] + net[False]
            votes[one, other] = (total > 0) - (total < 0)
    return JurorVotes(votes=votes, inconsistent=tuple(inconsistent))


def _passes(verdict: Verdict) -> Iterator[tuple[Mapping[str, float], Mapping[str, int]]]:
    """The scores of each pass, and the places of the labels in it."""
    orders = verdict.orders
    if len(orders) != len(verdict.pass_scores):  # a judge without orders
        orders = [list(verdict.scores)] * len(verdict.pass_scores)
    for scores, order in zip(verdict.pass_scores or [verdict.scores], orders or [list(verdict.scores)], strict=True):
        yield scores, {label: place for place, label in enumerate(order)}
