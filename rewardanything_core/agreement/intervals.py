"""Estimates with 95% intervals that respect groups and hold for few and skewed ones.

Judgements of one prompt are correlated (a summary that is misread is misread under all four criteria), so a group of
judgements is one observation. The interval is that of Gaffke (Mathematical Methods of Statistics 14, 2005) and of
Learned-Miller & Thomas (arXiv 1905.06208): the groups get random weights, as in a Bayesian bootstrap, together with one
group more, which has the least possible value for the lower end and the greatest possible one for the upper end. It
represents what the sample may have missed, such as a few prompts with a very different result. For a share of
independent groups the interval is that of Clopper and Pearson (Biometrika 26, 1934). For other bounded means its
coverage is a conjecture without a known exception. ``benchmarks/interval_coverage.py`` measures it, also for kappa,
alpha and correlations, where it is a heuristic. The weights depend only on the number of groups, so equal data give
equal intervals.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CONFIDENCE = 0.95
"""Confidence level of every interval."""

SHARE = (0.0, 1.0)
"""Bounds of a proportion."""

CORRELATION = (-1.0, 1.0)
"""Bounds of a correlation."""

_RESAMPLES = 4_000
_MAX_CELLS = 20_000_000  # of all weights together, 4 bytes each


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


def mean(values: Sequence[float], groups: Sequence[Hashable], *, bounds: tuple[float, float] = SHARE) -> Estimate:
    """The mean of all values.

    Args:
        values: One per observation, within ``bounds``.
        groups: The group of each observation; as long as ``values``.
        bounds: Least and greatest possible value.
    """
    return stratified_mean([(values, groups)], bounds=bounds)


def stratified_mean(
    strata: Sequence[tuple[Sequence[float], Sequence[Hashable]]], *, bounds: tuple[float, float] = SHARE
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
    return estimate(
        lambda weights: (weights @ sums) / (weights @ sizes),
        len(index),
        n=sum(len(values) for values, _ in filled),
        bounds=bounds,
        members=sizes > 0,
    )


def estimate(
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    groups: int,
    *,
    n: int,
    bounds: tuple[float, float],
    members: NDArray[np.bool_] | None = None,
    influence: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
    confidence: float = CONFIDENCE,
) -> Estimate:
    """Any statistic of groups, or the mean of a statistic over strata of groups, with its interval.

    Args:
        statistic: From positive weights of shape ``(sample, group)`` to values of shape ``(sample,)``, or
            ``(sample, stratum)`` if ``members`` is given; NaN where it is undefined.
        groups: Number of groups.
        n: Number of observations.
        bounds: Least and greatest possible value.
        members: Shape ``(group, stratum)``: which groups belong to which stratum. None: there is one stratum.
        influence: From the same weights to the weight that a group with an extreme value would have, 1 for that of a
            group of the sample; shape ``(sample,)``. It is above 1 for kappa and alpha where people give nearly all
            responses the same score, since one group with other scores would change them a lot. None: always 1.
        confidence: Confidence level of the interval, in (0, 1).
    """
    import numpy as np

    if not groups:
        return NO_DATA
    if members is None:
        members = np.ones((groups, 1), dtype=bool)
    strata = members.shape[1]
    value = float(statistic(np.ones((1, groups))).mean())
    if math.isnan(value):
        return Estimate(value=None, low=None, high=None, n=n)
    lows: list[NDArray[np.float64]] = []
    highs: list[NDArray[np.float64]] = []
    for weights, unseen in _weights(groups, strata):
        values = statistic(weights).reshape(-1, strata)
        if influence is not None:
            unseen = unseen * influence(weights)[:, None]
        share = unseen / (weights @ members + unseen)  # the weight of what the sample has missed
        for ends, bound in ((lows, bounds[0]), (highs, bounds[1])):
            ends.append((values + share * (bound - values)).mean(axis=1))
    low = float(np.nanquantile(np.concatenate(lows), (1 - confidence) / 2))
    high = float(np.nanquantile(np.concatenate(highs), (1 + confidence) / 2))
    return Estimate(value=value, low=min(low, value), high=max(high, value), n=n)


def group_indices(groups: Sequence[Hashable]) -> tuple[NDArray[np.int64], int]:
    """The index 0, 1, ... of each observation's group, and the number of groups."""
    import numpy as np

    index = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    return np.array([index[group] for group in groups], dtype=np.int64), len(index)


@lru_cache(maxsize=4)
def _weights(groups: int, strata: int) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], ...]:
    """Blocks of random weights: of groups, ``(sample, group)``, and of the unseen group of each stratum.

    The groups' mean weight is 1 in each sample. The weights of unseen groups have the shape ``(sample, stratum)``.
    """
    import numpy as np

    number = max(1_000, min(_RESAMPLES, _MAX_CELLS // groups))
    generator = np.random.default_rng([groups, 20_250_604])
    rows = max(1, 2_000_000 // groups)
    blocks: list[Any] = []  # of float32, to halve the memory
    for start in range(0, number, rows):
        drawn = generator.standard_exponential((min(rows, number - start), groups + strata), dtype=np.float32)
        drawn /= drawn[:, :groups].mean(axis=1, keepdims=True)
        blocks.append((drawn[:, :groups], drawn[:, groups:]))
    return tuple(blocks)
