"""Scores on one scale: a judge's and people's, response by response."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Literal

from rewardanything_core.agreement.intervals import CORRELATION, NOTHING, Estimate, estimate, group_indices

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Weights = Literal["none", "linear", "quadratic"]


def nearest(scores: Sequence[float], levels: Sequence[float]) -> list[int]:
    """The place, from 0, of the level nearest to each score; the higher of two that are equally near."""
    return [max(range(len(levels)), key=lambda i: (-abs(levels[i] - score), levels[i])) for score in scores]


def confusion(human: Sequence[int], judged: Sequence[int], size: int) -> list[list[int]]:
    """How often people gave a level (row) and the judge gave one (column)."""
    table = [[0] * size for _ in range(size)]
    for row, column in zip(human, judged, strict=True):
        table[row][column] += 1
    return table


def cohen_kappa(
    human: Sequence[int], judged: Sequence[int], groups: Sequence[Hashable], size: int, *, weights: Weights = "none"
) -> Estimate:
    """Cohen's kappa (Educ. Psychol. Meas. 20, 1960), weighted as in Psychol. Bull. 70, 1968.

    Agreement beyond what two raters with these frequencies of levels would have by chance: 1 is perfect, 0 chance, down
    to -1. With weights a disagreement counts by its distance in levels, or by the square of it.

    Args:
        human: Level 0..size-1 that people gave each response.
        judged: The judge's.
        groups: The group of each.
        size: Number of levels.
        weights: How disagreements count.

    Returns:
        No value where all gave the same level: then chance explains everything.
    """
    import numpy as np

    if not len(human):
        return NOTHING
    index, number = group_indices(groups)
    tables = np.zeros((number, size, size))
    np.add.at(tables, (index, np.asarray(human), np.asarray(judged)), 1.0)
    cost = _cost(size, weights)

    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        table = np.tensordot(counts, tables, axes=1)
        total = table.sum(axis=(1, 2))
        expected = np.einsum("ri,rj,ij->r", table.sum(axis=2), table.sum(axis=1), cost) / total
        observed = np.einsum("rij,ij->r", table, cost)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(expected > 0, 1.0 - observed / expected, np.nan)

    return estimate(statistic, number, n=len(human), bounds=CORRELATION)


def alpha(human: Sequence[float], judged: Sequence[float], groups: Sequence[Hashable]) -> Estimate:
    """Krippendorff's alpha for numbers, of two raters without gaps; `krippendorff_alpha` with an interval.

    1 where the judge gives what people give, 0 where it does no better than scores drawn from the pot, below 0 where
    worse. Unlike a correlation it falls when the judge is right about the order and wrong about the height.
    """
    import numpy as np

    if not len(human):
        return NOTHING
    index, number = group_indices(groups)
    one, other = np.asarray(human, dtype=float), np.asarray(judged, dtype=float)
    parts = np.stack([np.ones(len(one)), one + other, one**2 + other**2, (one - other) ** 2], axis=1)
    sums = np.zeros((number, 4))
    np.add.at(sums, index, parts)

    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        units, total, squares, apart = (counts @ sums).T
        values = 2 * units
        spread = squares - total**2 / values
        with np.errstate(invalid="ignore", divide="ignore"):
            found = 1.0 - apart * (values - 1) / (values * spread)
        return np.where(spread > 1e-9, found, np.nan)

    return estimate(statistic, number, n=len(human), bounds=CORRELATION)


def pooled_spearman(human: Sequence[float], judged: Sequence[float], groups: Sequence[Hashable]) -> Estimate:
    """Spearman's rank correlation over all responses together, -1..1; no value where either side is constant."""
    import numpy as np

    if not len(human):
        return NOTHING
    index, number = group_indices(groups)
    levels = [np.unique(np.asarray(side, dtype=float), return_inverse=True)[1] for side in (human, judged)]

    def of_rows(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        weights = counts[:, index].astype(float)
        total = weights.sum(axis=1, keepdims=True)
        centred = []
        for level in levels:
            order = np.argsort(level, kind="stable")
            starts = np.searchsorted(level[order], np.arange(level.max() + 1))
            held = np.add.reduceat(weights[:, order], starts, axis=1)
            places = (np.cumsum(held, axis=1) - held / 2)[:, level]
            centred.append(places - (weights * places).sum(axis=1, keepdims=True) / total)
        x, y = centred
        with np.errstate(invalid="ignore", divide="ignore"):
            found: NDArray[np.float64] = (weights * x * y).sum(axis=1) / np.sqrt(
                (weights * x**2).sum(axis=1) * (weights * y**2).sum(axis=1)
            )
        return found

    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = max(1, 2_000_000 // len(index))
        return np.concatenate([of_rows(counts[start : start + rows]) for start in range(0, len(counts), rows)])

    return estimate(statistic, number, n=len(human), bounds=CORRELATION)


def _cost(size: int, weights: Weights) -> NDArray[np.float64]:
    import numpy as np

    apart = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(float)
    return {"none": (apart > 0).astype(float), "linear": apart, "quadratic": apart**2}[weights]
