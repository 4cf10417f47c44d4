"""Fitting a `Calibration` to people's scores by isotonic regression, and validating it on held-out groups."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rewardanything_core.agreement.calibration import Calibration
from rewardanything_core.agreement.intervals import group_indices
from rewardanything_core.types import MAX_SCORE, MIN_SCORE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDS = 5
"""Number of folds of groups in cross-validation."""

MIN_SLOPE = 0.02
"""Least slope of the map, so that different scores stay different."""

_END_SLOPE = 0.1  # of the extrapolation beyond the lowest and highest score in the data


def fit_calibration(
    judged: Sequence[float], human: Sequence[float], about: dict[str, Any] | None = None
) -> Calibration:
    """The monotone map with the least squared distance from people's scores.

    Isotonic regression by pooling adjacent violators gives a step function (Barlow et al. 1972). The map connects the
    means of its steps by straight lines, so that it increases strictly.

    Args:
        judged: The judge's scores, 1..5; one or more.
        human: People's scores of the same responses, 1..5.
        about: See `Calibration.about`.
    """
    import numpy as np

    knots, values = _steps(np.round(np.asarray(judged, dtype=float), 6), np.asarray(human, dtype=float))
    if knots[0] > MIN_SCORE:
        knots = np.concatenate([[MIN_SCORE], knots])
        values = np.concatenate([[values[0] - _END_SLOPE * (knots[1] - MIN_SCORE)], values])
    if knots[-1] < MAX_SCORE:
        values = np.concatenate([values, [values[-1] + _END_SLOPE * (MAX_SCORE - knots[-1])]])
        knots = np.concatenate([knots, [MAX_SCORE]])
    human_scores = _with_min_slope(knots, np.clip(values, MIN_SCORE, MAX_SCORE))
    return Calibration(judge=tuple(knots.tolist()), human=tuple(human_scores.tolist()), about=about or {})


def cross_calibrated(judged: Sequence[float], human: Sequence[float], groups: Sequence[Hashable]) -> list[float] | None:
    """Map each score by a calibration that was fitted without the score's group (cross-validation by groups).

    Args:
        judged: The judge's scores, 1..5.
        human: People's scores of the same responses, 1..5.
        groups: The group of each response.

    Returns:
        The mapped scores, 1..5. None with fewer than two groups.
    """
    import numpy as np

    index, number = group_indices(groups) if len(groups) else (np.zeros(0, dtype=np.int64), 0)
    if number < 2:
        return None
    folds = min(FOLDS, number)
    fold = np.random.default_rng([number, 7]).permutation(number)[index] % folds
    scores, truth = np.asarray(judged, dtype=float), np.asarray(human, dtype=float)
    mapped = np.zeros(len(scores))
    for held_out in range(folds):
        calibration = fit_calibration(scores[fold != held_out].tolist(), truth[fold != held_out].tolist())
        test = np.flatnonzero(fold == held_out)
        mapped[test] = [calibration.apply(score) for score in scores[test].tolist()]
    return list(map(float, mapped))


def _steps(scores: NDArray[np.float64], human: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean score and human score of each step of the isotonic regression, both increasing."""
    import numpy as np
    from scipy.optimize import isotonic_regression

    distinct, level, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    sums = np.zeros(len(distinct))
    np.add.at(sums, level, human)
    regression = isotonic_regression(sums / sizes, weights=sizes.astype(float))
    values, ends = regression.x, regression.blocks
    knots = [np.average(distinct[a:b], weights=sizes[a:b]) for a, b in pairwise(ends.tolist())]
    return np.array(knots), values[ends[:-1]]


def _with_min_slope(knots: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values, moved as little as a slope of `MIN_SLOPE` everywhere requires, within 1..5."""
    raised = values.copy()
    for i in range(1, len(raised)):
        raised[i] = max(raised[i], raised[i - 1] + MIN_SLOPE * (knots[i] - knots[i - 1]))
    raised[-1] = min(raised[-1], MAX_SCORE)
    for i in range(len(raised) - 2, -1, -1):
        raised[i] = min(raised[i], raised[i + 1] - MIN_SLOPE * (knots[i + 1] - knots[i]))
    raised[0] = max(raised[0], MIN_SCORE)  # rounding can move it slightly below
    return raised
