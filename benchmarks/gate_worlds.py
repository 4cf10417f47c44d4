"""The simulated worlds of ``gate_error_rates.py``: differences between two sets of answers, and judges with noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MARGIN = 0.3
"""The margin of the simulated checks, in points of the score."""

Draw = Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
"""Differences of inputs, of shape (runs, inputs)."""


def values(**shares: float) -> Draw:
    """A world of a few values, such as ``values(m4=0.075, p0=0.925)``: m4 is -4 and p0 is 0; p0_5 is +0.5."""
    points = [(-1 if name[0] == "m" else 1) * float(name[1:].replace("_", ".")) for name in shares]
    edges = np.cumsum(list(shares.values()))
    assert math.isclose(edges[-1], 1.0), shares
    return lambda rng, shape: np.asarray(points)[np.searchsorted(edges[:-1], rng.random(shape), side="right")]


def balanced(value: float, share: float, mean: float) -> Draw:
    """``value`` for a share of the inputs, and for the others the value that gives this mean."""
    other = (mean - share * value) / (1 - share)
    return lambda rng, shape: np.where(rng.random(shape) < share, value, other)


def exponential(direction: int, scale: float, mean: float) -> Draw:
    """A skewed world with a long tail down (-1) or up (+1), cut at 3 points."""
    centre = scale * -math.expm1(-3.0 / scale)
    return lambda rng, shape: mean + direction * (np.minimum(rng.exponential(scale, shape), 3.0) - centre)


def symmetric(deviation: float, mean: float) -> Draw:
    return lambda rng, shape: mean + np.clip(rng.normal(0, deviation, shape), -3.5, 3.5)


def clusters(drop: float, share: float, mean: float, size: int = 4) -> Draw:
    """Means of clusters whose cases change together in a share of the clusters, with independent noise of each case."""

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        noise = rng.uniform(-0.4, 0.4, (*shape, size)).mean(axis=-1)
        return np.where(rng.random(shape) < share, drop, (mean - share * drop) / (1 - share)) + noise

    return draw


FALSE_PASSES: dict[str, Draw] = {
    "7.5% fall by 4": values(m4=0.075, p0=0.925),
    "10% fall by 3": values(m3=0.1, p0=0.9),
    "15% fall by 2": values(m2=0.15, p0=0.85),
    "30% fall by 1": values(m1=0.3, p0=0.7),
    "60% fall by 0.5": values(m0_5=0.6, p0=0.4),
    "10% fall by 4, others +0.11": balanced(-4, 0.1, -MARGIN),
    "15% fall by 4, 60% gain 0.5": values(m4=0.15, p0_5=0.6, p0=0.25),
    "15% fall by 4, others +0.35": balanced(-4, 0.15, -MARGIN),
    "25% fall by 2, 40% gain 0.5": values(m2=0.25, p0_5=0.4, p0=0.35),
    "skewed, long tail down": exponential(-1, 0.7, -MARGIN),
    "skewed, long tail up": exponential(1, 0.7, -MARGIN),
    "symmetric, deviation 0.7": symmetric(0.7, -MARGIN),
    "clusters of 4, 8.6% fall by 3.5": clusters(-3.5, 0.3 / 3.5, -MARGIN),
}
"""Worlds with a mean of exactly minus the margin."""

FALSE_ALARMS: dict[str, Draw] = {
    "7.5% gain 4, others -0.32": balanced(4, 0.075, 0.0),
    "10% gain 4, others -0.44": balanced(4, 0.1, 0.0),
    "20% gain 4, others -1": balanced(4, 0.2, 0.0),
    "5% gain 4, 40% fall by 0.5": values(p4=0.05, m0_5=0.4, p0=0.55),
    "10% gain 3, 30% fall by 1": values(p3=0.1, m1=0.3, p0=0.6),
    "7.5% fall by 4, others +0.32": balanced(-4, 0.075, 0.0),
    "5% fall by 4, 40% gain 0.5": values(m4=0.05, p0_5=0.4, p0=0.55),
    "skewed, long tail down": exponential(-1, 0.7, 0.0),
    "skewed, long tail up": exponential(1, 0.7, 0.0),
    "symmetric, deviation 0.7": symmetric(0.7, 0.0),
    "symmetric, deviation 1.5": symmetric(1.5, 0.0),
    "clusters of 4, 8.6% gain 3.5": clusters(3.5, 0.3 / 3.5, 0.0),
}
"""Worlds with a mean of exactly 0."""

NO_DROP: dict[str, Draw] = {
    "no difference at all": values(p0=1.0),
    "1% fall by 4": values(m4=0.01, p0=0.99),
    "5% fall by 1": values(m1=0.05, p0=0.95),
    "symmetric, deviation 0.25": symmetric(0.25, 0.0),
    "symmetric, deviation 0.5": symmetric(0.5, 0.0),
    "symmetric, deviation 0.75": symmetric(0.75, 0.0),
    "symmetric, deviation 1": symmetric(1.0, 0.0),
    "symmetric, deviation 1.5": symmetric(1.5, 0.0),
    "deviation 0.5, gain of 0.2": symmetric(0.5, 0.2),
}
DROPS: dict[str, Draw] = {
    "all fall by 1": values(m1=1.0),
    "all fall by 2": values(m2=1.0),
    "20% fall by 3": values(m3=0.2, p0=0.8),
    "mean -0.6, deviation 0.5": symmetric(0.5, -0.6),
    "mean -0.6, deviation 1": symmetric(1.0, -0.6),
    "mean -1, deviation 1": symmetric(1.0, -1.0),
}


@dataclass(frozen=True)
class JudgedAnswers:
    """Answers with a quality, and a judge that scores them in both orders with whole numbers from 1 to 5."""

    answer_noise: float = 0.7
    """Standard deviation of an answer's quality around that of its case: the effect of regenerating it."""

    judge_noise: float = 0.5
    """Standard deviation of a score between passes."""

    position_bias: float = 0.0
    """Points added to the answer in the first position."""

    drop: float = 0.0
    """How much worse the candidate is on average, before scores are rounded and cut."""

    rare: float = 0.0
    """If above 0, the drop is concentrated on this share of the cases."""

    cases: int = 100
    """Number of cases."""

    def passes(self, rng: np.random.Generator, shape: tuple[int, ...], quality: np.ndarray) -> np.ndarray:
        """Differences in both orders, (..., cases, 2), from qualities, (..., cases, side)."""
        noisy = np.repeat(quality[..., None, :], 2, axis=-2) + rng.normal(0, self.judge_noise, (*shape, 2, 2))
        first = np.array([[self.position_bias, 0.0], [0.0, self.position_bias]])  # order, side
        scores = np.clip(np.rint(noisy + first), 1, 5)
        return scores[..., 1] - scores[..., 0]

    def qualities(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        case = rng.uniform(2.0, 4.5, shape)
        sides = case[..., None] + rng.normal(0, self.answer_noise, (*shape, 2))
        if self.rare:
            sides[..., 1] -= (rng.random(shape) < self.rare) * self.drop / self.rare
        else:
            sides[..., 1] -= self.drop
        return sides


def shifted(world: JudgedAnswers, target: float) -> JudgedAnswers:
    """The world whose mean difference of scores is ``-target``."""
    if not target:
        return world
    low, high = 0.0, 4.0
    for _ in range(18):
        middle = (low + high) / 2
        rng = np.random.default_rng(1)
        moved = JudgedAnswers(**{**world.__dict__, "drop": middle})
        mean = moved.passes(rng, (200_000,), moved.qualities(rng, (200_000,))).mean()
        low, high = (middle, high) if mean > -target else (low, middle)
    return moved


JUDGES = {
    "quiet judge": JudgedAnswers(judge_noise=0.2),
    "moderate judge": JudgedAnswers(),
    "noisy judge": JudgedAnswers(judge_noise=1.0),
    "position-biased judge": JudgedAnswers(position_bias=0.8),
    "moderate judge, 20 cases": JudgedAnswers(cases=20),
    "moderate judge, a fifth drops": JudgedAnswers(rare=0.2, answer_noise=0.3),
}
