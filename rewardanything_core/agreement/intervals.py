"""Estimates with 95% intervals that respect groups.

Judgements of one prompt are correlated (a summary that is misread is misread under all four criteria), so prompts are
resampled, not judgements: the cluster bootstrap (Davison & Hinkley 1997, section 3.8). The interval is the percentile
interval, with percentiles expanded for few groups so that it is as wide as a t interval (Hesterberg, The American
Statistician 69, 2015). Resamples of very few groups cannot be that wide; below `_MIN_BOOTSTRAP_GROUPS` groups it is
a t interval with the jackknife's standard error. Where all groups have the same value there is no variance to estimate;
then the interval contains every mean under which such a sample is still likely (see `_zero_variance_interval`). The
resamples depend only on the number of groups, so equal data give equal intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE = 0.95
"""Confidence level of every interval."""

SHARE = (0.0, 1.0)
"""Bounds of a proportion."""

CORRELATION = (-1.0, 1.0)
"""Bounds of a correlation."""

_MIN_BOOTSTRAP_GROUPS = 8
_RESAMPLES = 4_000
_MAX_CELLS = 20_000_000  # of all resamples together, 4 bytes each


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A statistic with its interval."""

    value: float | None
    """The statistic. None: there were no data, or it is undefined for them."""

    low: float | None
    """Lower end of the 95% interval. None where there is no value."""

    high: float | None
    """Upper end of the 95% interval."""

    n: int
    """Number of observations: pairs, flips, lists or responses, depending on the statistic."""

    def to_dict(self) -> dict[str, float | int | None]:
        """As plain JSON types."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


NO_DATA = Estimate(value=None, low=None, high=None, n=0)
"""The estimate from no observations."""


def mean(
    values: Sequence[float], groups: Sequence[Hashable], *, bounds: tuple[float, float] | None = SHARE
) -> Estimate:
    """The mean of all values, with an interval from resampling groups.

    Args:
        values: One per observation.
        groups: The group of each observation; as long as ``values``.
        bounds: Least and greatest possible value. None: unbounded; the interval then has no width where all groups
            have the same value.
    """
    return stratified_mean([(values, groups)], bounds=bounds)


def stratified_mean(
    strata: Sequence[tuple[Sequence[float], Sequence[Hashable]]], *, bounds: tuple[float, float] | None = SHARE
) -> Estimate:
    """The mean of the means of several strata, such as domains, with equal weight whatever their size.

    Args:
        strata: For each stratum, values and groups as in `mean`. A group may be in several strata; empty strata are
            ignored.
        bounds: As in `mean`.
    """
    import numpy as np

    filled = [(values, groups) for values, groups in strata if len(values)]
    if not filled:
        return NO_DATA
    index = {group: i for i, group in enumerate(dict.fromkeys(g for _, groups in filled for g in groups))}
    sums, sizes = np.zeros((len(index), len(filled))), np.zeros((len(index), len(filled)))
    for stratum, (values, groups) in enumerate(filled):
        rows = [index[group] for group in groups]
        np.add.at(sums[:, stratum], rows, np.asarray(values, dtype=float))
        np.add.at(sizes[:, stratum], rows, 1.0)

    def statistic(counts: NDArray[np.float64]) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (counts @ sums) / (counts @ sizes)
        absent = np.isnan(means)
        present = (~absent).sum(axis=1)
        total = np.where(absent, 0.0, means).sum(axis=1)
        return np.where(present > 0, total / np.maximum(present, 1), np.nan)

    return estimate(statistic, len(index), n=sum(len(values) for values, _ in filled), bounds=bounds)


def estimate(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    groups: int,
    *,
    n: int,
    bounds: tuple[float, float] | None,
) -> Estimate:
    """Any statistic of groups, with its interval.

    Args:
        statistic: From counts of shape ``(resample, group)``, how often each group was drawn in each resample, to
            values of shape ``(resample,)``; NaN where the statistic of a resample is undefined.
        groups: Number of groups.
        n: Number of observations.
        bounds: Least and greatest possible value. None: unbounded.
    """
    import numpy as np

    if not groups:
        return NO_DATA
    value = float(statistic(np.ones((1, groups)))[0])
    if math.isnan(value):
        return Estimate(value=None, low=None, high=None, n=n)
    if groups == 1:
        low, high = _zero_variance_interval(value, groups, bounds)
        return Estimate(value=value, low=low, high=high, n=n)
    blocks = _resamples(groups) if groups >= _MIN_BOOTSTRAP_GROUPS else (np.ones((groups, groups)) - np.eye(groups),)
    values = np.concatenate([statistic(block) for block in blocks])
    values = values[~np.isnan(values)]
    if len(values) < 2 or float(np.ptp(values)) < 1e-12:
        low, high = _zero_variance_interval(value, groups, bounds)
    elif groups < _MIN_BOOTSTRAP_GROUPS:
        low, high = _jackknife_interval(value, values, bounds)
    else:
        tail = _expanded_tail(groups)
        low, high = (float(end) for end in np.quantile(values, [tail, 1 - tail]))
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n)


def group_indices(groups: Sequence[Hashable]) -> tuple[NDArray[np.int64], int]:
    """The index 0, 1, ... of each observation's group, and the number of groups."""
    import numpy as np

    index = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    return np.array([index[group] for group in groups], dtype=np.int64), len(index)


def _expanded_tail(groups: int) -> float:
    from scipy.stats import norm, t

    quantile = float(t.ppf(0.5 + CONFIDENCE / 2, groups - 1))
    return float(norm.cdf(-math.sqrt(groups / (groups - 1)) * quantile))


def _jackknife_interval(
    value: float, left_out: NDArray[np.float64], bounds: tuple[float, float] | None
) -> tuple[float, float]:
    """A t interval from the statistic with each group left out in turn (Efron & Tibshirani 1993, chapter 11)."""
    from scipy.stats import t

    number = len(left_out)
    standard_error = math.sqrt((number - 1) / number * float(((left_out - left_out.mean()) ** 2).sum()))
    half_width = float(t.ppf(0.5 + CONFIDENCE / 2, number - 1)) * standard_error
    least, greatest = bounds or (-math.inf, math.inf)
    return max(least, value - half_width), min(greatest, value + half_width)


def _zero_variance_interval(value: float, groups: int, bounds: tuple[float, float] | None) -> tuple[float, float]:
    """The means that are still likely when all groups have the same value.

    If a share p of all groups had another value, none of them would be drawn with probability (1 - p)**groups. With the
    given confidence p is therefore at most 1 - 0.025**(1/groups), and the mean is at most that share of the way to a
    bound. For proportions of 0 and 1 this is the interval of Clopper and Pearson (Biometrika 26, 1934).
    """
    if bounds is None:
        return value, value
    max_share = 1.0 - ((1.0 - CONFIDENCE) / 2.0) ** (1.0 / groups)
    least, greatest = bounds
    return value - max_share * (value - least), value + max_share * (greatest - value)


@lru_cache(maxsize=4)
def _resamples(groups: int) -> tuple[NDArray[np.float64], ...]:
    """Blocks of shape ``(resample, group)``: how often each group is drawn in each resample."""
    import numpy as np

    number = max(1_000, min(_RESAMPLES, _MAX_CELLS // groups))
    generator = np.random.default_rng([groups, 20_250_604])
    rows = max(1, 2_000_000 // groups)
    shares = np.full(groups, 1.0 / groups)
    return tuple(
        generator.multinomial(groups, shares, size=min(rows, number - start)).astype(np.float32)
        for start in range(0, number, rows)
    )
