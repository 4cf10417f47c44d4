"""Score measures: agreement of a judge's scores with people's scores of the same responses on the same scale."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Literal

from rewardanything_core.agreement.intervals import CORRELATION, NO_DATA, Estimate, estimate, group_indices

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EVEN_VARIANCE = 2.0  # of the scores 1, 2, 3, 4 and 5, each equally frequent

Weights = Literal["none", "linear", "quadratic"]


def nearest_levels(scores: Sequence[float], levels: Sequence[float]) -> list[int]:
    """The index of the level nearest to each score; of two equally near levels, the higher one.

    Args:
        scores: The scores.
        levels: The levels of the scale, in any order.
    """
    return [max(range(len(levels)), key=lambda i: (-abs(levels[i] - score), levels[i])) for score in scores]


def confusion_matrix(human: Sequence[int], judged: Sequence[int], size: int) -> list[list[int]]:
    """The number of responses by people's level and the judge's level.

    Args:
        human: Level 0..size-1 that people gave each response.
        judged: Level 0..size-1 that the judge gave each response.
        size: Number of levels.

    Returns:
        Shape (people's level, judge's level).
    """
    table = [[0] * size for _ in range(size)]
    for row, column in zip(human, judged, strict=True):
        table[row][column] += 1
    return table


def cohen_kappa(
    human: Sequence[int], judged: Sequence[int], groups: Sequence[Hashable], size: int, *, weights: Weights = "none"
) -> Estimate:
    """Cohen's kappa (Educ. Psychol. Meas. 20, 1960), weighted as in Psychol. Bull. 70, 1968.

    Agreement beyond that of two independent raters with the same frequencies of levels: 1 is perfect, 0 is chance, -1
    the minimum. With weights, a disagreement counts by its distance in levels, or by the square of the distance.

    Args:
        human: Level 0..size-1 that people gave each response.
        judged: Level 0..size-1 that the judge gave each response.
        groups: The group of each response.
        size: Number of levels.
        weights: How disagreements count.

    Returns:
        No value where both gave all responses the same level: kappa is then undefined.
    """
    import numpy as np

    if not len(human):
        return NO_DATA
    index, number = group_indices(groups)
    tables = np.zeros((number, size, size))
    np.add.at(tables, (index, np.asarray(human), np.asarray(judged)), 1.0)
    cost = _cost(size, weights)

    def by_chance(table: NDArray[np.float64]) -> NDArray[np.float64]:
        total: NDArray[np.float64] = table.sum(axis=(1, 2))
        products: NDArray[np.float64] = np.einsum("ri,rj,ij->r", table.sum(axis=2), table.sum(axis=1), cost)
        return products / total**2

    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        table = np.tensordot(counts, tables, axes=1)
        expected = by_chance(table) * table.sum(axis=(1, 2))
        observed = np.einsum("rij,ij->r", table, cost)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(expected > 0, 1.0 - observed / expected, np.nan)

    def influence(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        expected = np.clip(by_chance(np.tensordot(counts, tables, axes=1)), 1e-9, cost.mean())
        return np.asarray(cost.mean() / expected)

    return estimate(statistic, number, n=len(human), bounds=CORRELATION, influence=influence)


def interval_alpha(human: Sequence[float], judged: Sequence[float], groups: Sequence[Hashable]) -> Estimate:
    """Krippendorff's alpha for interval data of two raters without gaps: `krippendorff_alpha` with an interval.

    1 where the judge's scores equal people's, 0 where they agree as by chance, below 0 where less. Unlike a correlation
    it decreases when the judge orders responses correctly but is too strict or too lenient.

    Args:
        human: People's score of each response, 1.0..5.0.
        judged: The judge's score of each response, 1.0..5.0.
        groups: The group of each response.
    """
    import numpy as np

    if not len(human):
        return NO_DATA
    index, number = group_indices(groups)
    x, y = np.asarray(human, dtype=float), np.asarray(judged, dtype=float)
    parts = np.stack([np.ones(len(x)), x + y, x**2 + y**2, (x - y) ** 2], axis=1)
    sums = np.zeros((number, 4))
    np.add.at(sums, index, parts)

    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        units, total, squares, differences = (counts @ sums).T
        values = 2 * units
        variation = squares - total**2 / values
        with np.errstate(invalid="ignore", divide="ignore"):
            alpha = 1.0 - differences * (values - 1) / (values * variation)
        return np.where(variation > 1e-9, alpha, np.nan)

    def influence(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        units, total, squares, _ = (counts @ sums).T
        variance = (squares - total**2 / (2 * units)) / (2 * units)
        return np.asarray(_EVEN_VARIANCE / np.clip(variance, 1e-9, _EVEN_VARIANCE))

    return estimate(statistic, number, n=len(human), bounds=CORRELATION, influence=influence)


def pooled_spearman(human: Sequence[float], judged: Sequence[float], groups: Sequence[Hashable]) -> Estimate:
    """Spearman's rank correlation over all responses together, -1..1; no value where either side is constant.

    Args:
        human: People's score of each response.
        judged: The judge's score of each response.
        groups: The group of each response.
    """
    import numpy as np

    if not len(human):
        return NO_DATA
    index, number = group_indices(groups)
    levels = [np.unique(np.asarray(side, dtype=float), return_inverse=True)[1] for side in (human, judged)]

    def correlations(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        weights = counts[:, index].astype(float)
        total = weights.sum(axis=1, keepdims=True)
        centred = []
        for level in levels:
            order = np.argsort(level, kind="stable")
            starts = np.searchsorted(level[order], np.arange(level.max() + 1))
            sizes = np.add.reduceat(weights[:, order], starts, axis=1)
            ranks = (np.cumsum(sizes, axis=1) - sizes / 2)[:, level]
            centred.append(ranks - (weights * ranks).sum(axis=1, keepdims=True) / total)
        x, y = centred
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation: NDArray[np.float64] = (weights * x * y).sum(axis=1) / np.sqrt(
                (weights * x**2).sum(axis=1) * (weights * y**2).sum(axis=1)
            )
        return correlation

    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        rows = max(1, 2_000_000 // len(index))
        return np.concatenate([correlations(counts[start : start + rows]) for start in range(0, len(counts), rows)])

    return estimate(statistic, number, n=len(human), bounds=CORRELATION)


def _cost(size: int, weights: Weights) -> NDArray[np.float64]:
    import numpy as np

    distance = np.abs(np.subtract.outer(np.arange(size), np.arange(size))).astype(float)
    return {"none": (distance > 0).astype(float), "linear": distance, "quadratic": distance**2}[weights]
