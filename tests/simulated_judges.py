"""Simulated judges that are more or less right about how sure they are, to fit the thresholds of cascades to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rewardanything_core.agreement.selective import NEVER

ALPHA = 0.15
"""The share of disagreement that a threshold may let through."""

SimulatedJudge = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]
"""Draws cases: the confidence of the verdict on each, and the probability that it is right, both of shape (cases,)."""


def overconfident(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Confidences above .9, and right between 70 and 97% of the time."""
    confidence = 0.9 + 0.1 * rng.random(size)
    return confidence, 0.7 + 2.7 * (confidence - 0.9)


def anti_calibrated(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The surer, the more often wrong; over all cases just too often."""
    confidence = rng.random(size)
    return confidence, 0.99 - 0.29 * confidence


def constant(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Always equally sure, and a little too often wrong."""
    return np.full(size, 0.8), np.full(size, 1 - ALPHA - 1e-6)


def tied(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Four confidences, of which the second is the worst."""
    level = rng.integers(0, 4, size)
    return level / 4, np.array([0.8, 0.9, 0.7, 0.95])[level]


def calibrated(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Right the more often, the surer it is: between 60 and 100% of the time."""
    confidence = rng.random(size)
    return confidence, 0.6 + 0.4 * confidence


MISCALIBRATED: tuple[SimulatedJudge, ...] = (overconfident, anti_calibrated, constant, tied)


class Decided:
    """What a threshold lets through, in a large sample of a judge's cases.

    Args:
        judge: The judge.
        size: Number of cases.
    """

    def __init__(self, judge: SimulatedJudge, size: int = 400_000) -> None:
        confidence, right = judge(np.random.default_rng(1), size)
        order = np.argsort(-confidence, kind="stable")
        self._falling = -confidence[order]
        self._wrong = np.cumsum(1 - right[order]) / np.arange(1, size + 1)

    def coverage(self, threshold: float) -> float:
        """The share of the cases whose confidence reaches the threshold."""
        return self._count(threshold) / len(self._falling)

    def risk(self, threshold: float) -> float:
        """The share of disagreement among these cases; 0 if there are none."""
        count = self._count(threshold)
        return float(self._wrong[count - 1]) if count else 0.0

    def _count(self, threshold: float) -> int:
        return int(np.searchsorted(self._falling, -threshold, side="right"))


def best_looking(confidence: np.ndarray, right: np.ndarray, alpha: float = ALPHA) -> float:
    """What one would do without a test: the lowest threshold whose agreement on the labels is high enough.

    Args:
        confidence: The confidence of each labelled case.
        right: Whether its verdict agrees with the label.
        alpha: The share of disagreement that is allowed.
    """
    order = np.argsort(-confidence, kind="stable")
    agreement = np.cumsum(right[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(agreement >= 1 - alpha)
    return float(confidence[order[good[-1]]]) if len(good) else NEVER
