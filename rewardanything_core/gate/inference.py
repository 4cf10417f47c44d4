"""Inference about the mean of paired differences, from typical values.

Hartigan (JASA 64, 1969): where differences are independent and symmetric about their mean, the means of all non-empty
subsets of them cut the line into intervals that hold the true mean with equal probability. So the share of subset
means beyond a value is an exact p-value for that value, and their quantiles are a confidence interval that always
agrees with it. It is the sign-flipping permutation test for every null value at once: flipping the signs of a subset
brings the mean below the null value exactly when the mean of that subset is above it. Without symmetry it holds for
many cases (Romano, JASA 85, 1990); ``benchmarks/gate_error_rates.py`` measures how well for few.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LARGEST_DIFFERENCE = 4.0
"""Scores lie within 1..5, so no difference is larger."""

_EXACT_UP_TO = 13  # 2**13 subsets
_SUBSETS = 9_999
_BLOCK = 2_000_000


@dataclass(frozen=True)
class TypicalValues:
    """What the differences say about their true mean."""

    values: NDArray[np.float64]
    """Sorted means of subsets of the differences: all non-empty subsets for up to 13 differences, 9,999 otherwise."""

    # Means of equal numbers differ in their last digits by the order they were added up in: hence the 1e-9.

    def p_below(self, null: float) -> float:
        """One-sided p-value, in (0, 1], of "the true mean is ``null`` or more" against its being below."""
        return (1 + int((self.values >= null - 1e-9).sum())) / (1 + len(self.values))

    def p_above(self, null: float) -> float:
        """One-sided p-value, in (0, 1], of "the true mean is ``null`` or less" against its being above."""
        return (1 + int((self.values <= null + 1e-9).sum())) / (1 + len(self.values))

    def interval(self, level: float) -> tuple[float, float]:
        """Values with one-sided p-values above ``level`` on both sides; the scale's ends where nothing is excluded."""
        excluded = math.floor(level * (1 + len(self.values)) + 1e-9) - 1
        if excluded < 0 or 2 * excluded >= len(self.values):
            return -LARGEST_DIFFERENCE, LARGEST_DIFFERENCE
        return float(self.values[excluded]), float(self.values[-1 - excluded])


def typical_values(differences: Sequence[float]) -> TypicalValues:
    """The typical values of one or more differences. The subsets drawn depend on their number alone."""
    import numpy as np

    given = np.asarray(differences, dtype=float)
    if not len(given) or not np.isfinite(given).all():
        raise ValueError("Typical values need one or more finite differences.")
    means = [(subsets @ given) / subsets.sum(axis=1) for subsets in _subsets(len(given))]
    return TypicalValues(np.sort(np.concatenate(means)))


def cases_needed(differences: Sequence[float], margin: float, *, level: float, power: float) -> int | None:
    """How many cases would give an outcome with probability ``power`` if mean and deviation stay as they are.

    Args:
        differences: Those seen so far, two or more.
        margin: The drop to be ruled out.
        level: One-sided significance level.
        power: Probability of an outcome, such as 0.8.

    Returns:
        The lesser of the cases that would rule out the margin and those that would show a drop, by the normal
        approximation; always more than were seen. None if no number would do.
    """
    import numpy as np
    from scipy.stats import norm

    mean, deviation = float(np.mean(differences)), float(np.std(differences, ddof=1))
    reach = float(norm.ppf(1 - level) + norm.ppf(power)) * deviation
    distances = [distance for distance in (mean + margin, -mean) if distance > 1e-6]
    if not distances:
        return None
    return max(len(differences) + 1, math.ceil((reach / max(distances)) ** 2), smallest_number(level))


def smallest_number(level: float) -> int:
    """The fewest cases with which anything can be significant at a one-sided level."""
    return math.ceil(-math.log2(level))


def _subsets(number: int) -> Iterator[NDArray[np.float64]]:
    """Subsets of ``number`` things as rows of 0 and 1, in blocks that fit into memory."""
    if number <= _EXACT_UP_TO:
        yield _all_subsets(number)
        return
    rows = max(1, min(_SUBSETS, _BLOCK // number))
    for start in range(0, _SUBSETS, rows):
        yield _drawn_subsets(number, start, min(rows, _SUBSETS - start))


@lru_cache(maxsize=4)
def _all_subsets(number: int) -> NDArray[np.float64]:
    import numpy as np

    return (np.arange(1, 2**number)[:, None] >> np.arange(number) & 1).astype(float)


@lru_cache(maxsize=8)
def _drawn_subsets(number: int, start: int, rows: int) -> NDArray[np.float64]:
    import numpy as np

    drawn = np.random.default_rng([number, start]).integers(0, 2, size=(rows, number)).astype(float)
    drawn[drawn.sum(axis=1) == 0] = 1.0  # one in thousands at worst; the empty subset has no mean
    return drawn
