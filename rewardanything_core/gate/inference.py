"""Inference about the mean of bounded differences, without assumptions about their distribution.

Scores lie within 1..5, so differences lie within -4..4, and their distribution is often skewed: most answers stay the
same and a few get much worse. A test that relies on symmetry, or on the normal distribution, passes such changes too
often. The tests here are bets (Waudby-Smith & Ramdas, JRSS B 86, 2024). Against the hypothesis "the mean is at most m",
a capital of 1 is bet on the differences, one after the other, at odds that are fair if the mean is m. If the hypothesis
is true, the capital reaches 1/alpha with a probability of at most alpha (Ville 1939), whatever the distribution, the
number of differences, and the time at which one looks. One over the largest capital is therefore a p-value that holds
at every look of a sequential check.

The bets decide only the power. They aim at reaching 1/alpha by the end of the planned data, and are recomputed from
what is still missing (as in the STaR-Bets of Voracek & Orabona 2025), which makes them about as powerful as a test for
a fixed number of differences. Without any drop the capital grows by 4 / (4 - margin) with each difference, the largest
factor that the worst case allows: no valid method can pass such data sooner (see `fewest_cases`).
``benchmarks/gate_error_rates.py`` measures error rates and power.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from rewardanything_core.estimation import CorrectedMean, LabelledSample, corrected_mean, p_above, p_below

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

LARGEST_DIFFERENCE = 4.0
"""Scores lie within 1..5, so no difference is larger."""

# The constants below were tuned with benchmarks/gate_error_rates.py. They affect the power and never the error rate.
_PRIOR_VARIANCE = 0.5  # of the differences, counted as one observation
_LARGE_LOSSES = (1, 2, 4, 8)  # how many of the largest possible losses the bets try to survive
_AIM = 1.1  # times 1/alpha

_COARSE_STEP = 0.05  # of the values tested for the interval
_FINE_STEPS = 50  # between two coarse values
_MAX_EXACT = 13  # 2**13 subsets


def log_capital(differences: ArrayLike, null: ArrayLike, *, horizon: int, level: float) -> NDArray[np.float64]:
    """The log of the largest capital reached by betting against "the mean is ``null`` or less".

    Args:
        differences: Shape ``(..., n)``, each in -4..4, in an order that does not depend on their values.
        null: Shape that broadcasts with ``(...)``; above -4.
        horizon: Planned number of differences, at least n; known before the first of them.
        level: The significance level that the bets aim at.

    Returns:
        Shape ``(...)``, at least 0. Minus this is the log of a p-value.
    """
    import numpy as np

    values = np.asarray(differences, dtype=float)
    nulls = np.asarray(null, dtype=float)
    shape = np.broadcast_shapes(values.shape[:-1], nulls.shape)
    worst = nulls + LARGEST_DIFFERENCE  # the largest loss, per unit of the bet
    target = math.log(_AIM / level)
    capital, largest = np.zeros(shape), np.zeros(shape)
    total, squares = np.zeros(values.shape[:-1]), np.full(values.shape[:-1], _PRIOR_VARIANCE)
    for seen in range(values.shape[-1]):
        left = horizon - seen
        missing = np.where(capital < target, target - capital, target)  # once there, the bets start again
        bet = np.sqrt(2 * missing * (seen + 1) / (left * squares))
        gain = np.maximum(total / (seen + 1) - nulls, 1e-9) / worst  # expected gain of the largest bet
        bet = np.minimum(bet, _largest_share(gain, left, missing) / worst)
        value = values[..., seen]
        capital = capital + np.log1p(np.maximum(bet * (value - nulls), -1 + 1e-12))
        largest = np.maximum(largest, capital)
        total = total + value
        squares = squares + (value - total / (seen + 2)) ** 2
    return largest


def _largest_share(gain: NDArray[np.float64], left: int, missing: NDArray[np.float64]) -> NDArray[np.float64]:
    """The largest share of the capital to risk, 0..1.

    Everything, if only a series without any large loss reaches the target; less, if the target can be reached in spite
    of one or several of the largest losses.
    """
    import numpy as np

    share = np.ones(np.broadcast_shapes(gain.shape, missing.shape))
    for losses in _LARGE_LOSSES:
        kept = losses * (1 + gain) / (gain * (left + losses))  # share of the capital that survives each loss
        affordable = kept < 1
        kept = np.minimum(kept, 1 - 1e-9)
        reached = losses * np.log(kept) + left * np.log1p((1 - kept) * gain)
        share = np.where(affordable & (reached >= missing), 1 - kept, share)
    return share


@dataclass(frozen=True, kw_only=True)
class MeanAnalysis:
    """Tests of a mean difference, and the interval that belongs to them."""

    p_drop: float
    """One-sided p-value of "the mean is 0 or more"; 1.0 without data."""

    p_margin: float
    """One-sided p-value of "the mean is minus the margin or less"; 1.0 without data."""

    low: float
    """Lower end of the interval. It is ``-margin`` or more exactly when ``p_margin`` is at most the level."""

    high: float
    """Upper end of the interval."""


def analyse_mean(
    differences: Sequence[float], margin: float, *, level: float, drop_level: float, horizon: int
) -> MeanAnalysis:
    """Test whether the mean of differences dropped, and whether it dropped by the margin or more.

    Args:
        differences: Each in -4..4, in an order that does not depend on their values; may be empty.
        margin: The drop to rule out, above 0 and at most 4.
        level: One-sided significance level of the margin's test and of each end of the interval.
        drop_level: The level that the test for a drop aims at.
        horizon: Planned number of differences.
    """
    import numpy as np

    if not len(differences):
        return MeanAnalysis(p_drop=1.0, p_margin=1.0, low=-LARGEST_DIFFERENCE, high=LARGEST_DIFFERENCE)
    values = np.asarray(differences, dtype=float)
    if not np.isfinite(values).all() or np.abs(values).max() > LARGEST_DIFFERENCE + 1e-9:
        raise ValueError("Differences must be finite and within -4..4.")
    mean = float(values.mean())
    horizon = max(horizon, len(values))
    p_drop = math.exp(-float(log_capital(-values, 0.0, horizon=horizon, level=drop_level)))
    low, p_margin = _lower_end(values, -margin, level=level, horizon=horizon)
    high, _ = _lower_end(-values, None, level=level, horizon=horizon)
    return MeanAnalysis(
        p_drop=p_drop if mean < 0 else 1.0,
        p_margin=p_margin if mean >= -margin else 1.0,
        low=min(low, mean),
        high=max(-high, mean),
    )


def analyse_labelled(sample: LabelledSample, margin: float, *, level: float) -> MeanAnalysis:
    """Test whether the mean difference, corrected with labels, dropped, and whether it dropped by the margin or more.

    Args:
        sample: The differences and their labels.
        margin: The drop to rule out, above 0 and at most 4.
        level: One-sided significance level of each end of the interval.
    """
    found = corrected_mean(sample, confidence=1 - 2 * level)
    return MeanAnalysis(p_drop=p_below(sample, 0.0), p_margin=p_above(sample, -margin), low=found.low, high=found.high)


def labels_needed(found: CorrectedMean, margin: float, *, power: float, labels: int, inputs: int) -> int | None:
    """How many labels would give a result with a probability, if mean and variance stay as they are.

    Args:
        found: The corrected difference, with the check's interval.
        margin: The drop to rule out.
        power: Probability of a result, such as 0.8.
        labels: Number of labelled inputs with different answers.
        inputs: Number of inputs with different answers.

    Returns:
        A number above that of the labels there are. None: labelling every input would not be enough.
    """
    from scipy.stats import norm

    distance = max(found.value + margin, -found.value)
    beyond = 1 + float(norm.ppf(power) / norm.ppf((1 + found.confidence) / 2))
    return next(
        (
            number
            for number in range(labels + 1, inputs + 1)
            if found.predicted_half_width(found.n, residual_factor=labels / number) * beyond <= distance
        ),
        None,
    )


def mean_interval(values: Sequence[float], *, low: float, high: float, confidence: float = 0.95) -> tuple[float, float]:
    """An interval for the mean of independent bounded values, without assumptions about their distribution.

    Args:
        values: At least one, each within ``low`` and ``high``, in an order that does not depend on their values.
        low: The smallest possible value.
        high: The largest possible value.
        confidence: Coverage, in (0, 1); half of the error on each side.

    Returns:
        Lower and upper end. The mean of the values lies between them.
    """
    import numpy as np

    scale = 2 * LARGEST_DIFFERENCE / (high - low)
    centred = (np.asarray(values, dtype=float) - (low + high) / 2) * scale
    level, mean, horizon = (1 - confidence) / 2, float(centred.mean()), len(centred)
    lower = min(mean, _lower_end(centred, None, level=level, horizon=horizon)[0])
    upper = max(mean, -_lower_end(-centred, None, level=level, horizon=horizon)[0])
    return lower / scale + (low + high) / 2, upper / scale + (low + high) / 2


def _lower_end(values: NDArray[np.float64], null: float | None, *, level: float, horizon: int) -> tuple[float, float]:
    """The largest value that is rejected along with all smaller ones, and the p-value of "the mean is at most null"."""
    import numpy as np

    lowest = -LARGEST_DIFFERENCE + 1e-6  # a mean of -4 leaves nothing to bet on
    coarse = np.append(lowest, np.arange(-LARGEST_DIFFERENCE + _COARSE_STEP, LARGEST_DIFFERENCE, _COARSE_STEP))
    if null is not None:
        null = max(null, lowest)
        coarse = np.sort(np.append(coarse[np.abs(coarse - null) > 1e-9], null))
    p_values = _p_values(values, coarse, level=level, horizon=horizon)
    p_null = 1.0 if null is None else float(p_values[np.searchsorted(coarse, null)])
    rejected = int(np.searchsorted(p_values, level, side="right"))
    if rejected == 0:
        return -LARGEST_DIFFERENCE, p_null
    if rejected == len(coarse):
        return float(coarse[-1]), p_null
    fine = np.linspace(coarse[rejected - 1], coarse[rejected], _FINE_STEPS, endpoint=False)
    p_fine = _p_values(values, fine, level=level, horizon=horizon)
    return float(fine[max(0, int(np.searchsorted(p_fine, level, side="right")) - 1)]), p_null


def _p_values(
    values: NDArray[np.float64], nulls: NDArray[np.float64], *, level: float, horizon: int
) -> NDArray[np.float64]:
    """The p-value of "the mean is at most the null" for rising nulls; it covers the smaller ones, so it never falls."""
    import numpy as np

    found = np.exp(-log_capital(values, nulls, horizon=horizon, level=level))
    rising: NDArray[np.float64] = np.maximum.accumulate(found)
    return rising


def fewest_cases(margin: float, level: float) -> int:
    """The smallest number of independent inputs with which a drop of the margin can be ruled out.

    If a share p of all inputs drops by 4 points, the mean drops by 4p, and n inputs contain none of them with
    probability (1 - p)**n. Without any drop among them, n inputs rule the margin out once (1 - margin/4)**n <= level.

    Args:
        margin: The drop to rule out, above 0, at most 4.
        level: One-sided significance level.
    """
    if margin >= LARGEST_DIFFERENCE:
        return 1
    return math.ceil(math.log(level) / math.log1p(-margin / LARGEST_DIFFERENCE) - 1e-9)


def cases_needed(differences: Sequence[float], margin: float, *, level: float, power: float) -> int | None:
    """How many inputs would give a result with probability ``power`` if mean and deviation stay as they are.

    The normal approximation, plus what it takes to exclude unseen differences of 4 points. It agrees with the power
    measured by ``benchmarks/gate_error_rates.py`` within about a tenth.

    Args:
        differences: The differences so far, at least two.
        margin: The drop to rule out.
        level: One-sided significance level.
        power: Probability of a result, such as 0.8.

    Returns:
        The smaller of the number that would rule out the margin and the number that would show a drop; always more
        than there are. None: no number would be enough.
    """
    import numpy as np

    mean, deviation = float(np.mean(differences)), float(np.std(differences, ddof=1))
    distances = [distance for distance in (mean + margin, -mean) if distance > 1e-6]
    if not distances:
        return None
    needed = math.ceil(_number_for(max(distances), deviation, level=level, power=power))
    return max(len(differences) + 1, needed, fewest_cases(max(distances), level))


def _number_for(distance: float, deviation: float, *, level: float, power: float) -> float:
    """Solves ``n distance = 4 + sqrt(n (z deviation)**2 + (4 (log(1/level) - 1))**2)`` for n."""
    from scipy.stats import norm

    z = float(norm.ppf(1 - level) + norm.ppf(power)) * deviation
    unseen = LARGEST_DIFFERENCE * (math.log(1 / level) - 1)
    half = distance * LARGEST_DIFFERENCE + z**2 / 2
    root = math.sqrt(half**2 - distance**2 * (LARGEST_DIFFERENCE**2 - unseen**2))
    return (half + root) / distance**2


@dataclass(frozen=True)
class TypicalValues:
    """Exact inference about differences that are symmetric about their mean, for controls.

    Hartigan (JASA 64, 1969): the means of all non-empty subsets divide the line into intervals that contain the true
    mean with equal probability. This is the sign-flipping permutation test for all null values at once.
    """

    values: NDArray[np.float64]
    """Sorted means of all non-empty subsets."""

    # Means of the same numbers can differ in their last digits; hence the 1e-9.

    def p_below(self, null: float) -> float:
        """One-sided p-value, in (0, 1], of "the true mean is ``null`` or more"."""
        return (1 + int((self.values >= null - 1e-9).sum())) / (1 + len(self.values))

    def p_above(self, null: float) -> float:
        """One-sided p-value, in (0, 1], of "the true mean is ``null`` or less"."""
        return (1 + int((self.values <= null + 1e-9).sum())) / (1 + len(self.values))

    def interval(self, level: float) -> tuple[float, float]:
        """The values with one-sided p-values above ``level`` on both sides; -4 and 4 if nothing is excluded."""
        excluded = math.floor(level * (1 + len(self.values)) + 1e-9) - 1
        if excluded < 0 or 2 * excluded >= len(self.values):
            return -LARGEST_DIFFERENCE, LARGEST_DIFFERENCE
        return float(self.values[excluded]), float(self.values[-1 - excluded])


def typical_values(differences: Sequence[float]) -> TypicalValues:
    """The typical values of 1 to 13 differences.

    Raises:
        ValueError: there are none or too many, or some are not finite.
    """
    import numpy as np

    given = np.asarray(differences, dtype=float)
    if not 1 <= len(given) <= _MAX_EXACT or not np.isfinite(given).all():
        raise ValueError(f"Typical values need 1 to {_MAX_EXACT} finite differences.")
    subsets = _all_subsets(len(given))
    return TypicalValues(np.sort((subsets @ given) / subsets.sum(axis=1)))


@lru_cache(maxsize=4)
def _all_subsets(number: int) -> NDArray[np.float64]:
    import numpy as np

    return (np.arange(1, 2**number)[:, None] >> np.arange(number) & 1).astype(float)
