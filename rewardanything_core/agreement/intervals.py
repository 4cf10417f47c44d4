"""Estimates with an interval, from resampling whole groups.

Judgements of one prompt stand or fall together (a summary that is misread is misread under all four criteria), so it is
prompts that are drawn again, not judgements: the cluster bootstrap (Davison & Hinkley 1997, section 3.8). The interval
is the percentile interval, its percentiles moved outwards for few groups so that it is as wide as a t interval would
be ("expanded percentile", Hesterberg, The American Statistician 69, 2015). Resamples of a handful of groups never reach
far enough for that; below `_FEW` groups it is a t interval with the jackknife's standard error instead. Where every
group says the same there is no variance to see at all; then the interval holds every mean that such a sample would
still be likely under (see `_unanimous`). The resamples depend on the number of groups alone, so the same data give the
same interval.
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
"""Confidence of every interval."""

SHARE = (0.0, 1.0)
"""Bounds of a share."""

CORRELATION = (-1.0, 1.0)
"""Bounds of a correlation."""

_FEW = 8
_RESAMPLES = 4_000
_MOST_CELLS = 20_000_000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A figure with its interval."""

    value: float | None
    """The figure. None: there was nothing to measure it on."""

    low: float | None
    """Lower end of the 95% interval. None where there is no value."""

    high: float | None
    """Upper end."""

    n: int
    """How many things it was measured on: pairs, flips, lists or responses, as the figure's name says."""

    def to_dict(self) -> dict[str, float | int | None]:
        """As plain JSON types."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


NOTHING = Estimate(value=None, low=None, high=None, n=0)
"""What is estimated from nothing."""


def mean(
    values: Sequence[float], groups: Sequence[Hashable], *, bounds: tuple[float, float] | None = SHARE
) -> Estimate:
    """The mean of all values, its interval from resampling groups.

    Args:
        values: One for each thing measured.
        groups: The group of each; as long as ``values``.
        bounds: Least and greatest possible value. None: unbounded, and then there is no interval where all groups
            have the same value.
    """
    return mean_of_means([(values, groups)], bounds=bounds)


def mean_of_means(
    strata: Sequence[tuple[Sequence[float], Sequence[Hashable]]], *, bounds: tuple[float, float] | None = SHARE
) -> Estimate:
    """The mean of the means of several strata, such as domains, each weighing the same however large it is.

    A group may lie in several strata; empty strata do not count.
    """
    import numpy as np

    filled = [(values, groups) for values, groups in strata if len(values)]
    if not filled:
        return NOTHING
    index = {group: place for place, group in enumerate(dict.fromkeys(g for _, groups in filled for g in groups))}
    sums, sizes = np.zeros((len(index), len(filled))), np.zeros((len(index), len(filled)))
    for stratum, (values, groups) in enumerate(filled):
        places = [index[group] for group in groups]
        np.add.at(sums[:, stratum], places, np.asarray(values, dtype=float))
        np.add.at(sizes[:, stratum], places, 1.0)

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
        statistic: From ``counts[r, g]``, how often group ``g`` was drawn in resample ``r``, to a value for each
            resample; NaN where a resample gives none.
        groups: How many groups there are.
        n: How many things were measured.
        bounds: Least and greatest possible value. None: unbounded.
    """
    import numpy as np

    if not groups:
        return NOTHING
    value = float(statistic(np.ones((1, groups)))[0])
    if math.isnan(value):
        return Estimate(value=None, low=None, high=None, n=n)
    if groups == 1:
        low, high = _unanimous(value, groups, bounds)
        return Estimate(value=value, low=low, high=high, n=n)
    blocks = _resamples(groups) if groups >= _FEW else (np.ones((groups, groups)) - np.eye(groups),)
    drawn = np.concatenate([statistic(block) for block in blocks])
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) < 2 or float(np.ptp(drawn)) < 1e-12:
        low, high = _unanimous(value, groups, bounds)
    elif groups < _FEW:
        low, high = _by_jackknife(value, drawn, bounds)
    else:
        tail = _expanded_tail(groups)
        low, high = (float(end) for end in np.quantile(drawn, [tail, 1 - tail]))
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n)


def group_indices(groups: Sequence[Hashable]) -> tuple[NDArray[np.int64], int]:
    """A number 0, 1, ... for each distinct group, and how many there are."""
    import numpy as np

    index = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    return np.array([index[group] for group in groups], dtype=np.int64), len(index)


def _expanded_tail(groups: int) -> float:
    from scipy.stats import norm, t

    quantile = float(t.ppf(0.5 + CONFIDENCE / 2, groups - 1))
    return float(norm.cdf(-math.sqrt(groups / (groups - 1)) * quantile))


def _by_jackknife(
    value: float, left_out: NDArray[np.float64], bounds: tuple[float, float] | None
) -> tuple[float, float]:
    """A t interval from the statistic with each group left out in turn (Efron & Tibshirani 1993, chapter 11)."""
    from scipy.stats import t

    number = len(left_out)
    error = math.sqrt((number - 1) / number * float(((left_out - left_out.mean()) ** 2).sum()))
    reach = float(t.ppf(0.5 + CONFIDENCE / 2, number - 1)) * error
    least, greatest = bounds or (-math.inf, math.inf)
    return max(least, value - reach), min(greatest, value + reach)


def _unanimous(value: float, groups: int, bounds: tuple[float, float] | None) -> tuple[float, float]:
    """The means still likely when all of ``groups`` say ``value``.

    If a share p of all groups said anything else, that none of it was seen had probability (1 - p)**groups. So with
    confidence p is at most 1 - 0.025**(1/groups), and the mean no further away than that share of the way to a bound;
    for a share of 0 or 1 this is the interval of Clopper and Pearson (Biometrika 26, 1934).
    """
    if bounds is None:
        return value, value
    unseen = 1.0 - ((1.0 - CONFIDENCE) / 2.0) ** (1.0 / groups)
    least, greatest = bounds
    return value - unseen * (value - least), value + unseen * (greatest - value)


@lru_cache(maxsize=4)
def _resamples(groups: int) -> tuple[NDArray[np.float64], ...]:
    """How often each group is drawn in each resample, in blocks."""
    import numpy as np

    number = max(1_000, min(_RESAMPLES, _MOST_CELLS // groups))
    generator = np.random.default_rng([groups, 20_250_604])
    rows = max(1, 2_000_000 // groups)
    shares = np.full(groups, 1.0 / groups)
    return tuple(
        generator.multinomial(groups, shares, size=min(rows, number - start)).astype(np.float32)
        for start in range(0, number, rows)
    )
