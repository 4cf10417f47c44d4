from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, spearmanr
from sklearn.metrics import cohen_kappa_score, ndcg_score

from rewardanything_core.agreement import intervals, lists, pair_probability, pairs, scores
from rewardanything_core.agreement.intervals import mean, stratified_mean
from rewardanything_core.agreement.krippendorff import krippendorff_alpha


class TestIntervals:
    def test_the_value_is_the_plain_mean(self):
        result = mean([1, 0, 1, 1], ["a", "a", "b", "c"])
        assert (result.value, result.n) == (0.75, 4)
        assert 0 <= result.low <= 0.75 <= result.high <= 1

    def test_no_data_give_no_value(self):
        assert mean([], []).to_dict() == {"value": None, "low": None, "high": None, "n": 0}

    def test_the_same_data_give_the_same_interval(self):
        values, groups = [0, 1, 1, 0, 1, 1], list("aabbcc")
        assert mean(values, groups) == mean(values, groups)

    def test_judgements_of_one_group_are_not_independent(self):
        # 200 copies of judgements of 10 prompts have no more information than 10.
        alone = mean([1, 0] * 5, list(range(10)))
        copied = mean([1, 0] * 5 * 20, list(range(10)) * 20)
        assert copied.n == 200
        assert (copied.low, copied.high) == pytest.approx((alone.low, alone.high))

    def test_a_perfect_score_on_few_groups_is_not_certain(self):
        result = mean([1.0] * 8, list(range(8)))
        assert result.value == result.high == 1.0
        assert result.low == pytest.approx(0.025 ** (1 / 8), abs=0.02)  # Clopper and Pearson for 8 of 8

    @pytest.mark.parametrize(("right", "groups"), [(3, 5), (19, 20), (60, 200)])
    def test_a_share_of_independent_groups_has_the_interval_of_clopper_and_pearson(self, right, groups):
        result = mean([1.0] * right + [0.0] * (groups - right), list(range(groups)))
        exact = binomtest(right, groups).proportion_ci(0.95, "exact")
        assert (result.low, result.high) == pytest.approx((exact.low, exact.high), abs=0.02)

    def test_one_group_gives_almost_the_widest_interval(self):
        result = mean([1.0, 0.0, 1.0], ["a", "a", "a"])
        assert result.low < 0.02
        assert result.high > 0.98

    def test_two_groups_give_a_wide_interval(self):
        result = mean([0.4, 0.6], ["a", "b"])
        assert result.low < 0.1
        assert result.high > 0.9

    @pytest.mark.parametrize("groups", [5, 12, 20])
    def test_rare_large_values_that_a_sample_misses_are_allowed_for(self, groups):
        # 15% fall by 4 points, 60% gain 0.5: the true mean is -0.3, and many samples have no drop at all.
        random = np.random.default_rng(groups)
        missed = 0
        for _ in range(200):
            values = random.choice([-4.0, 0.5, 0.0], size=groups, p=[0.15, 0.6, 0.25])
            result = mean(values.tolist(), list(range(groups)), bounds=(-4.0, 4.0))
            missed += not result.low <= -0.3 <= result.high
        assert missed <= 10

    def test_few_prompts_with_almost_equal_scores_say_little_about_kappa(self):
        result = scores.cohen_kappa([4] * 20, [4] * 19 + [3], [i // 4 for i in range(20)], 5, weights="quadratic")
        assert result.value == 0.0
        assert result.high > 0.8

    def test_strata_have_equal_weights(self):
        result = stratified_mean([([1.0] * 90, list(range(90))), ([0.0] * 10, list(range(100, 110))), ([], [])])
        assert result.value == 0.5
        assert result.n == 100

    @pytest.mark.parametrize("groups", [5, 10, 40])
    def test_intervals_have_about_their_nominal_coverage(self, groups):
        # Prompts differ (rates from a beta distribution), four judgements each; nominal 95%.
        random = np.random.default_rng(5)
        covered = 0
        for _ in range(400):
            rates = random.beta(2, 1, size=groups)
            values = (random.random((groups, 4)) < rates[:, None]).astype(float)
            result = mean(values.ravel().tolist(), np.repeat(np.arange(groups), 4).tolist())
            covered += result.low <= 2 / 3 <= result.high
        assert covered / 400 >= 0.93

    def test_an_interval_of_many_groups_is_about_that_of_the_normal_distribution(self):
        values = np.random.default_rng(0).random(500)
        result = mean(values.tolist(), list(range(500)))
        half = 1.96 * values.std() / 500**0.5
        assert (result.low, result.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)

    def test_weights_of_many_groups_are_limited_in_size(self):
        assert sum(weights.size for weights, _ in intervals._weights(30_000, 1)) <= 3e7 * 1.01


class TestPairs:
    def test_ties_count_half_or_zero(self):
        scores = {"a": 4.0, "b": 4.0, "c": 1.0}
        questions = [("a", "b"), ("a", "c"), ("c", "b")]
        assert pairs.pair_credits(scores, questions) == [0.5, 1.0, 0.0]
        assert pairs.pair_credits(scores, questions, ties="wrong") == [0.0, 1.0, 0.0]

    def test_rank_scores_have_no_ties(self):
        assert pairs.rank_scores(["b", "a", "c"]) == {"b": 3.0, "a": 2.0, "c": 1.0}

    def test_both_right_requires_both_without_ties(self):
        assert [pairs.both_right(q) for q in ((1.0, 1.0), (1.0, 0.5), (1.0, 0.0))] == [1.0, 0.0, 0.0]

    def test_best_found_divides_ties(self):
        assert pairs.best_found({"a": 3.0, "b": 3.0, "c": 1.0}, ["a"]) == 0.5
        assert pairs.best_found({"a": 3.0, "b": 3.0, "c": 1.0}, ["a", "b"]) == 1.0

    def test_rm_bench_matches_a_calculation_by_hand(self):
        # chosen concise 3, plain 5, markdown 2; rejected concise 1, plain 3, markdown 4
        matrix = pairs.rm_bench_matrix([3, 5, 2], [1, 3, 4])
        assert matrix == [[1, 0, 0], [1, 1, 1], [1, 0, 0]]  # 3 against 3 is a tie and so wrong
        levels = pairs.rm_bench_levels(matrix)
        assert levels["hard"] == pytest.approx(1 / 3)  # (concise, plain) 0, (concise, markdown) 0, (plain, markdown) 1
        assert levels["normal"] == pytest.approx(2 / 3)  # 1, 1, 0
        assert levels["easy"] == pytest.approx(2 / 3)  # (plain, concise) 1, (markdown, concise) 1, (markdown, plain) 0
        assert levels["average"] == pytest.approx(5 / 9)

    def test_rm_bench_matches_the_benchmarks_own_formula(self):
        random = np.random.default_rng(0)
        chosen, rejected = random.integers(1, 5, (50, 3)), random.integers(1, 5, (50, 3))
        expected = (chosen[:, :, None] > rejected[:, None, :]).mean(axis=0)
        result = np.mean([pairs.rm_bench_matrix(c, r) for c, r in zip(chosen, rejected, strict=True)], axis=0)
        assert result == pytest.approx(expected)
        levels = pairs.rm_bench_levels(result)
        assert levels["hard"] == pytest.approx(np.triu(expected, 1).sum() / 3)
        assert levels["easy"] == pytest.approx(np.tril(expected, -1).sum() / 3)
        with pytest.raises(ValueError, match="three"):
            pairs.rm_bench_matrix([1, 2], [1, 2, 3])


numbers = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12)


class TestLists:
    @given(numbers)
    @settings(max_examples=200, deadline=None)
    def test_ndcg_equals_scikit_learns(self, both):
        scores = {str(i): float(judged) for i, (judged, _) in enumerate(both)}
        human = {str(i): float(truth) for i, (_, truth) in enumerate(both)}
        result = lists.ndcg(scores, human)
        if len(set(human.values())) == 1:
            assert result is None
        else:
            assert result == pytest.approx(ndcg_score([list(human.values())], [list(scores.values())]))

    def test_chance_ndcg_is_the_mean_of_random_orders(self):
        human = {"a": 5.0, "b": 1.0, "c": 2.0, "d": 4.0}
        random = np.random.default_rng(1)
        drawn = [lists.ndcg(dict(zip(human, random.random(4), strict=True)), human) for _ in range(4000)]
        assert lists.chance_ndcg(human) == pytest.approx(np.mean(drawn), abs=0.005)

    def test_tau_b_matches_a_calculation_by_hand(self):
        human = {"a": 1.0, "b": 2.0, "c": 2.0, "d": 4.0}
        # Of 5 pairs that people order, the judge has 3 right, 1 wrong (c, a), 1 tied (a, b); it orders (b, c), which
        # people tie: (3 - 1) / sqrt(5 * 5).
        assert lists.kendall_tau_b({"a": 2.0, "b": 2.0, "c": 1.0, "d": 5.0}, human) == pytest.approx(2 / 5)
        assert lists.kendall_tau_b(human, human) == pytest.approx(1.0)
        assert lists.spearman({k: -v for k, v in human.items()}, human) == pytest.approx(-1.0)

    def test_a_judge_that_ties_everything_has_zero_correlation(self):
        flat = {"a": 3.0, "b": 3.0}
        assert lists.kendall_tau_b(flat, {"a": 1.0, "b": 2.0}) == lists.spearman(flat, {"a": 1.0, "b": 2.0}) == 0.0
        assert lists.kendall_tau_b({"a": 1.0, "b": 2.0}, flat) is None
        assert lists.kendall_tau_b({"a": 1.0}, {"a": 1.0}) is None
        assert lists.ndcg(flat, {"a": -1.0, "b": 2.0}) is None

    def test_variance_within_a_list(self):
        assert lists.score_variance({"a": 1.0, "b": 5.0}) == 4.0
        assert lists.score_variance({"a": 1.0}) is None


class TestScores:
    def both(self, size: int = 120):
        random = np.random.default_rng(4)
        human = random.integers(0, 5, size)
        judged = np.clip(human + random.integers(-2, 3, size), 0, 4)
        return human.tolist(), judged.tolist(), (np.arange(size) // 3).tolist()

    @pytest.mark.parametrize(("ours", "theirs"), [("none", None), ("linear", "linear"), ("quadratic", "quadratic")])
    def test_kappa_equals_scikit_learns(self, ours, theirs):
        human, judged, groups = self.both()
        result = scores.cohen_kappa(human, judged, groups, 5, weights=ours)
        assert result.value == pytest.approx(cohen_kappa_score(human, judged, weights=theirs))
        assert result.low < result.value < result.high
        assert result.n == 120

    def test_interval_alpha_equals_krippendorff_alpha(self):
        human, judged, groups = self.both()
        assert scores.interval_alpha(human, judged, groups).value == pytest.approx(krippendorff_alpha([human, judged]))

    def test_spearman_equals_scipys(self):
        human, judged, groups = self.both()
        result = scores.pooled_spearman(human, judged, groups)
        assert result.value == pytest.approx(spearmanr(human, judged).statistic)
        assert result.low < result.value < result.high

    def test_constant_scores_have_no_agreement_value(self):
        for result in (
            scores.cohen_kappa([2, 2], [2, 2], ["a", "b"], 5),
            scores.interval_alpha([2, 2], [2, 2], ["a", "b"]),
        ):
            assert (result.value, result.n) == (None, 2)
        assert scores.pooled_spearman([1, 1], [1, 2], ["a", "b"]).value is None
        for nothing in (
            scores.interval_alpha([], [], []),
            scores.pooled_spearman([], [], []),
            scores.cohen_kappa([], [], [], 5),
        ):
            assert nothing.n == 0

    def test_scores_map_to_the_nearest_level(self):
        assert scores.nearest_levels([1.0, 2.9, 3.0, 5.0], [1.0, 5.0]) == [0, 0, 1, 1]
        assert scores.confusion_matrix([0, 1, 1], [1, 1, 0], 2) == [[0, 1], [1, 1]]


class TestPairProbability:
    def drawn(self, slope: float, size: int = 3000):
        random = np.random.default_rng(3)
        gap, spread = random.integers(0, 9, size) / 2, random.integers(0, 3, size) / 2
        chance = 1 / (1 + np.exp(-slope * gap / np.sqrt(spread**2 + 0.25)))
        signed = np.where(random.random(size) < chance, gap, -gap)
        return signed, spread, (np.arange(size) // 5).tolist()

    def test_the_fit_recovers_the_curve_that_generated_the_data(self):
        gap, spread, _ = self.drawn(1.0)
        fitted = pair_probability.fit(gap, spread)
        for gap_size, spread_size in ((1.0, 0.0), (3.0, 1.0), (0.5, 1.0)):
            truth = 1 / (1 + math.exp(-gap_size / math.sqrt(spread_size**2 + 0.25)))
            assert fitted.predict(gap_size, spread_size) == pytest.approx(truth, abs=0.04)
        assert fitted.predict(0.0) == 0.5

    def test_predictions_for_held_out_groups_are_calibrated(self):
        result = pair_probability.reliability(*self.drawn(1.0))
        assert result.calibration_error < 0.04
        assert result.brier < 0.2
        assert [b.predicted for b in result.bins] == sorted(b.predicted for b in result.bins)
        assert sum(b.observed.n for b in result.bins) == result.pairs

    def test_predictions_for_a_guessing_judge_are_near_one_half(self):
        result = pair_probability.reliability(*self.drawn(0.0))
        assert abs(result.fitted.slope) < 0.1
        assert max(b.predicted for b in result.bins) < 0.6

    def test_too_few_groups_or_only_ties_give_no_reliability(self):
        assert pair_probability.reliability([], [], []) is None
        assert pair_probability.reliability([1.0, 2.0], [0.0, 0.0], ["a", "a"]) is None
        assert pair_probability.reliability([0.0, 0.0], [0.0, 0.0], ["a", "b"]) is None
        assert pair_probability.reliability([1.0, 2.0], [0.0, 0.0], ["a", "b"]).pairs == 2
