"""The guarantee of a cascade's thresholds, by simulation with judges whose confidence means little."""

from __future__ import annotations

import numpy as np
import pytest
from simulated_judges import ALPHA, MISCALIBRATED, Decided, SimulatedJudge, best_looking, calibrated

from rewardanything_core.agreement.selective import (
    NEVER,
    deciding_stage,
    fit_thresholds,
    mean_cost,
    smallest_sample,
)

DELTA, LABELS, DRAWS = 0.1, 160, 2_000


@pytest.mark.parametrize("judge", MISCALIBRATED)
def test_the_risk_exceeds_alpha_in_at_most_delta_of_all_draws(judge: SimulatedJudge) -> None:
    risk = Decided(judge).risk
    rng = np.random.default_rng(20)
    violations = naive = 0
    for draw in range(DRAWS):
        confidence, probability = judge(rng, LABELS)
        right = rng.random(LABELS) < probability
        fit = fit_thresholds(confidence[:, None], right[:, None], alpha=ALPHA, delta=DELTA, seed=draw)
        violations += risk(fit.thresholds[0]) > ALPHA
        naive += risk(best_looking(confidence, right)) > ALPHA
    error = (DELTA * (1 - DELTA) / DRAWS) ** 0.5
    assert violations / DRAWS <= DELTA + 2.5 * error
    assert naive / DRAWS > 2 * DELTA  # the same labels without the test


def test_two_stages_keep_the_guarantee_together() -> None:
    """The first stage is useless and sure of itself, the second is calibrated; the risk is that of both together."""

    def draw(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        confidence = rng.random((size, 2))
        return confidence, np.stack([np.full(size, 0.75), 0.7 + 0.3 * confidence[:, 1]], axis=1)

    population, truth = draw(np.random.default_rng(1), 20_000)
    rng, violations, passed = np.random.default_rng(2), 0, 0
    for seed in range(250):
        confidence, probability = draw(rng, 300)
        fit = fit_thresholds(
            confidence,
            rng.random((300, 2)) < probability,
            alpha=ALPHA,
            delta=DELTA,
            costs=np.array([1.0, 5.0, 50.0]),
            seed=seed,
        )
        stage = deciding_stage(population, np.array([fit.thresholds]))[0]
        decided = stage < 2
        passed += fit.passed
        if decided.any():
            violations += 1 - truth[decided, stage[decided]].mean() > ALPHA
    assert violations / 250 <= DELTA + 0.04
    assert passed > 150  # the useless stage is left out instead of spoiling the other


def test_a_calibrated_judge_decides_most_of_what_it_may() -> None:
    rng = np.random.default_rng(3)
    confidence, probability = calibrated(rng, 1_000)
    right = rng.random(1_000) < probability
    fit = fit_thresholds(confidence[:, None], right[:, None], alpha=0.1, delta=0.1)
    assert fit.passed
    # The agreement above a threshold t is .8 + .2 t, so .5 would be exact.
    assert 0.45 < fit.thresholds[0] < 0.75
    assert all(test.passed for test in fit.tests[:-1])
    assert [test.decided for test in fit.tests] == sorted(test.decided for test in fit.tests)


def test_what_cannot_pass_decides_nothing() -> None:
    confidence = np.linspace(0, 1, 60)[:, None]
    never = fit_thresholds(confidence, np.zeros((60, 1), bool), alpha=0.1, delta=0.1)
    assert (never.thresholds, never.passed) == ((NEVER,), False)
    failing = fit_thresholds(np.full((60, 1), -np.inf), np.ones((60, 1), bool), alpha=0.1, delta=0.1)
    assert failing.thresholds == (NEVER,)
    few = smallest_sample(0.1, 0.1)
    assert few == 22
    assert 0.9**few <= 0.1 < 0.9 ** (few - 1)


def test_costs_count_the_stages_asked() -> None:
    confidence = np.array([[0.9, 0.1], [0.2, 0.9], [0.2, 0.2]])
    costs = np.array([1.0, 10.0, 100.0])
    assert mean_cost(np.array([0.5, 0.5]), confidence, costs) == pytest.approx((1 + 11 + 111) / 3)
    assert mean_cost(np.array([NEVER, 0.5]), confidence, costs) == pytest.approx((110 + 10 + 110) / 3)
