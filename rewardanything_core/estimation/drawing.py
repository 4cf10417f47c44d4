"""Which rows to label next: drawn with probabilities that make the interval narrow, and that are known afterwards.

The best probability is proportional to the expected size of what is left of a label after the judge's score is taken
off (active inference: Zrnic & Candès, ICML 2024). That is predicted from the judge's spread and from how close a score
is to an end of the scale, and mixed with uniform probabilities, so that no label counts for too much.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from rewardanything_core.estimation.results import CorrectedMean
    from rewardanything_core.estimation.sample import LabelledSample

UNIFORM_SHARE = 0.5
"""The share of the draw that is uniform. Measured in ``benchmarks/estimation.py``."""

_LABELS_TO_LEARN_FROM = 30
"""With fewer labels, the spread alone says where labels are uncertain."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Rows to label next."""

    rows: tuple[int, ...]
    """Indices of the drawn rows, increasing; none has a label yet."""

    probabilities: NDArray[np.float64]
    """For each row, with which probability it is among the labels after this draw, ``(row,)``."""

    residual_factor: float
    """Variance that is left, as a factor of that after a uniform draw of as many rows; predicted."""


def draw_first(rows: int, number: int, *, seed: int = 0, spread: Sequence[float] | None = None) -> Draw:
    """Draw the first rows to label.

    Args:
        rows: Number of judged rows.
        number: Number of rows to draw.
        seed: Seed of the draw.
        spread: The judge's spread for each row, 0 or more; rows with a larger one are drawn more often. None: all rows
            are drawn equally often.

    Raises:
        ConfigError: there are not so many rows.
    """
    import numpy as np

    none = np.zeros(rows)
    sizes = np.ones(rows) if spread is None else _deviations_from_spread(np.asarray(spread, dtype=float))
    return _drawn(sizes, none, none.astype(bool), number, seed)


def draw_next(
    sample: LabelledSample,
    found: CorrectedMean,
    number: int,
    *,
    spread: Sequence[float] | None = None,
    seed: int = 0,
) -> Draw:
    """Draw further rows to label.

    Args:
        sample: The judged rows and the labels so far.
        found: What `corrected_mean` makes of them.
        number: Number of rows to draw.
        spread: The judge's spread for each row, 0 or more. None: unknown.
        seed: Seed of the draw.

    Raises:
        ConfigError: there are not so many rows without a label.
    """
    import numpy as np

    labelled = sample.is_labelled
    spreads = None if spread is None else np.asarray(spread, dtype=float)
    if labelled.sum() < _LABELS_TO_LEARN_FROM:
        deviations = np.ones(len(labelled)) if spreads is None else _deviations_from_spread(spreads)
    else:
        deviations = _fitted_deviations(sample, found.weight, spreads)
    if sample.probabilities is None:
        strata, strata_number = sample.stratum_indices
        before = (np.bincount(strata, labelled, strata_number) / np.bincount(strata, minlength=strata_number))[strata]
    else:
        before = np.nan_to_num(np.asarray(sample.probabilities, dtype=float))
        if not (before > 0).all():
            raise ConfigError(
                "To draw further labels, the sampling probability of every row must be known, labelled or not.",
                hint="Give the file that --next wrote as --labels, with all of its rows.",
            )
    return _drawn(deviations, before, labelled, number, seed)


def _deviations_from_spread(spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected size of the residuals where no labels show it, up to a factor."""
    import numpy as np

    squares = spread**2
    found: NDArray[np.float64] = np.sqrt(squares + squares.mean()) if squares.any() else np.ones(len(spread))
    return found


def _fitted_deviations(
    sample: LabelledSample, weight: float, spread: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """The root of the squared residuals, fitted by least squares with coefficients of 0 or more."""
    import numpy as np
    from scipy.optimize import nnls

    labelled, scores = sample.is_labelled, sample.scores
    low, high = sample.bounds
    counts = np.sqrt(sample.weights[labelled])
    residuals = sample.values[labelled] - weight * scores[labelled]
    residuals = residuals - (sample.weights[labelled] @ residuals)
    columns = [np.ones(len(scores)), np.clip((scores - low) * (high - scores), 0.0, None)]
    if spread is not None:
        columns.append(spread**2)
    features = np.stack(columns, axis=1)
    coefficients, _ = nnls(features[labelled] * counts[:, None], residuals**2 * counts)
    found: NDArray[np.float64] = np.sqrt(features @ coefficients)
    return found if found.any() else np.ones(len(scores))


def _drawn(
    deviations: NDArray[np.float64],
    before: NDArray[np.float64],
    labelled: NDArray[np.bool_],
    number: int,
    seed: int,
) -> Draw:
    import numpy as np

    free = np.flatnonzero(~labelled)
    if not 1 <= number <= len(free):
        raise ConfigError(f"Cannot draw {number} rows to label: {len(free):,} rows have no label.")
    sizes = UNIFORM_SHARE * deviations.mean() + (1 - UNIFORM_SHARE) * deviations
    chances = _scaled(sizes, free, number)
    random = np.random.default_rng(seed)
    order = random.permutation(free)
    points = np.cumsum(chances[order])
    # Systematic sampling in a random order: exactly `number` rows, each with its own probability.
    places = np.searchsorted(points, random.random() + np.arange(number), side="right")
    chosen = order[np.minimum(places, len(order) - 1)]
    after = 1 - (1 - before) * (1 - chances)
    uniform = (labelled.sum() + number) / len(labelled)
    return Draw(
        rows=tuple(sorted(int(row) for row in chosen)),
        probabilities=after,
        residual_factor=float((deviations**2 / after).mean() / (deviations**2 / uniform).mean()),
    )


def _scaled(sizes: NDArray[np.float64], free: NDArray[np.int64], number: int) -> NDArray[np.float64]:
    """Probabilities, at most 1, proportional to sizes; those of the free rows have the sum ``number``."""
    import numpy as np

    factor = number / sizes[free].sum()
    for _ in range(len(free)):
        chances: NDArray[np.float64] = np.minimum(1.0, factor * sizes)
        total = chances[free].sum()
        if total > number - 1e-9:
            break
        below = free[chances[free] < 1]
        factor *= 1 + (number - total) / max(1e-12, chances[below].sum())
    return chances
