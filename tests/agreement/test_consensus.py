"""The consensus of rankings: nearest to all votes, with ties where they are split."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations

import pytest

from rewardanything_core.agreement.consensus import (
    MAX_EXACT,
    Votes,
    consensus_ranking,
    mean_tau_b,
    tau_b,
    votes_of_scores,
)
from rewardanything_core.agreement.lists import kendall_tau_b


def ranked(*groups: str) -> Votes:
    """The votes of a rater with this ranking; labels in one text are tied."""
    return votes_of_scores({label: -place for place, group in enumerate(groups) for label in group})


def weak_orders(labels: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], ...]]:
    """All rankings with ties."""
    if not labels:
        yield ()
    for size in range(1, len(labels) + 1):
        for best in combinations(labels, size):
            for rest in weak_orders(tuple(label for label in labels if label not in best)):
                yield (best, *rest)


def distance(groups: tuple[tuple[str, ...], ...], votes: list[Votes]) -> float:
    """Disagreements on pairs; one that only one side ties counts half."""
    own = ranked(*map("".join, groups))
    return sum(abs(own[pair] - vote) / 2 for each in votes for pair, vote in each.items())


@pytest.mark.parametrize("seed", range(6))
def test_no_ranking_with_ties_is_nearer_to_the_votes(seed):
    rng = random.Random(seed)
    labels = tuple("abcd")
    votes = [votes_of_scores({label: rng.randint(1, 4) for label in labels}) for _ in range(3 + seed % 3)]
    votes[0] = {pair: vote for pair, vote in votes[0].items() if rng.random() < 0.7}  # a rater without some votes
    found = consensus_ranking(labels, votes)
    assert found.method == "kemeny"
    assert distance(found.groups, votes) == min(distance(groups, votes) for groups in weak_orders(labels))
    turned = [{(other, one): -vote for (one, other), vote in each.items()} for each in reversed(votes)]
    assert consensus_ranking(labels[::-1], turned) == found


@pytest.mark.parametrize(
    ("votes", "weights", "groups"),
    [
        ([ranked("a", "b", "c")], None, ("a", "b", "c")),
        ([ranked("a", "b", "c"), ranked("c", "b", "a")], None, ("abc",)),
        ([ranked("a", "b"), ranked("b", "a")], [2.0, 1.0], ("a", "b")),
        ([ranked("a", "b"), ranked("ab"), ranked("ab")], None, ("ab",)),
        ([ranked("a", "b"), {}, {}], None, ("a", "b")),
        ([ranked("a", "b", "c"), ranked("a", "c", "b")], None, ("a", "bc")),
        ([{}], None, ("abc",)),
    ],
)
def test_a_split_vote_is_a_tie_and_a_majority_an_order(votes, weights, groups):
    labels = "".join(groups)
    assert consensus_ranking(labels, votes, weights).groups == tuple(map(tuple, groups))


def test_long_lists_are_ranked_by_borda():
    labels = "abcdefghi"
    assert len(labels) > MAX_EXACT
    found = consensus_ranking(labels, [ranked(*labels), ranked(*labels), ranked(*labels[::-1])])
    assert (found.method, found.places["a"], found.places["i"]) == ("borda", 9.0, 1.0)
    assert consensus_ranking("ab", [ranked("a", "b"), ranked("ab")], method="borda").groups == (("a",), ("b",))


def test_agreement_of_votes_is_that_of_the_scores_they_come_from():
    one, other = {"a": 1.0, "b": 2.0, "c": 2.0, "d": 4.0}, {"a": 2.0, "b": 1.0, "c": 3.0, "d": 3.0}
    assert tau_b(votes_of_scores(one), votes_of_scores(other)) == pytest.approx(kendall_tau_b(one, other))
    assert tau_b(ranked("ab"), ranked("a", "b")) is None
    assert mean_tau_b([ranked("a", "b"), ranked("a", "b"), ranked("b", "a")]) == pytest.approx(-1 / 3)
    assert mean_tau_b([ranked("a", "b")]) is None
