import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardanything_core.readouts.aggregation import aggregate, kendalls_w


def test_ties_are_broken_by_borda_count_then_the_first_pass():
    consensus = aggregate(
        [{"a": 3, "b": 3, "c": 5, "d": 3}, {"a": 3, "b": 3, "c": 1, "d": 3}],
        [["c", "a", "b", "d"], ["b", "a", "d", "c"]],
    )
    assert consensus.scores == {"a": 3, "b": 3, "c": 3, "d": 3}
    assert consensus.ranking == ["a", "b", "c", "d"]  # Borda: a 3+3, b 2+4, c 4+1, d 1+2
    assert consensus.spread == {"a": 0, "b": 0, "c": 2, "d": 0}


def test_one_pass_is_unchanged_and_has_no_agreement():
    consensus = aggregate([{"a": 2.0, "b": 2.0}], [["b", "a"]])
    assert (consensus.ranking, consensus.agreement, consensus.spread) == (["b", "a"], None, {"a": 0, "b": 0})


@pytest.mark.parametrize(
    ("rankings", "w"),
    [
        ([["a", "b", "c"]] * 4, 1.0),
        ([["a", "b"], ["b", "a"]], 0.0),
        ([["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"]], 0.0),
        ([["a", "b", "c"], ["a", "c", "b"]], 0.75),
        ([["a"], ["a"]], None),
        ([["a", "b"]], None),
    ],
)
def test_kendalls_w(rankings, w):
    assert kendalls_w(rankings) == w


@given(st.lists(st.permutations("abcdef"), min_size=2, max_size=6))
def test_kendalls_w_equals_its_form_by_mean_spearman_correlation(rankings):
    """W = (1 + (m - 1) r) / m, with r the mean of Spearman's rho over pairs of rankings."""
    ranks = [[ranking.index(label) for label in "abcdef"] for ranking in rankings]
    m = len(ranks)
    rhos = [statistics.correlation(x, y) for i, x in enumerate(ranks) for y in ranks[:i]]
    w = kendalls_w(rankings)
    assert w == pytest.approx((1 + (m - 1) * statistics.mean(rhos)) / m)
    assert 0 <= w <= 1


@given(st.lists(st.tuples(*[st.integers(1, 5)] * 4), min_size=1, max_size=5))
def test_the_ranking_never_contradicts_the_scores(passes):
    scores = [dict(zip("abcd", row, strict=True)) for row in passes]
    consensus = aggregate(scores, [sorted(row, key=lambda label: -row[label]) for row in scores])
    ranked = [consensus.scores[label] for label in consensus.ranking]
    assert ranked == sorted(ranked, reverse=True)
    assert all(1 <= score <= 5 for score in ranked)
