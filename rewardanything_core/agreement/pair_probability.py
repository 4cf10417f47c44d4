"""How likely it is that the higher score is on the better response, from the gap between the scores.

The map is a logistic curve without intercept: with gap d between two scores whose spreads over passes are s and t,
P(right) = 1 / (1 + exp(-slope * d / sqrt(s**2 + t**2 + noise**2))). Equal scores give one half. ``noise`` stands for
what the passes do not show. Both numbers are fitted by maximum likelihood with a weak prior, which matters only for a
handful of pairs. What is reported is predicted for pairs of groups that the fit has not seen.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewardanything_core.agreement.intervals import Estimate, group_indices, mean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDS = 5
"""Into how many parts groups are split for cross-validation."""

BINS = 10
"""Most bins of a reliability plot, each with about the same number of pairs."""


@dataclass(frozen=True, kw_only=True)
class PairProbability:
    """The fitted map."""

    slope: float
    """How fast confidence rises with the gap; 0 for a judge whose scores say nothing, below 0 for one that is wrong."""

    noise: float
    """Spread of a gap beyond what the passes show, in points of the scale, above 0."""

    def of(self, gap: float, spread: float = 0.0) -> float:
        """P, 0..1, that the first of two responses is better.

        Args:
            gap: Its score minus the other's, -4..4.
            spread: Root of the sum of both squared spreads.
        """
        import numpy as np

        return float(_predict(np.array([self.slope, np.log(self.noise)]), np.array([gap]), np.array([spread]))[0])


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Pairs with about the same predicted probability."""

    predicted: float
    """Mean prediction, 0..1, that the higher score is on the better response."""

    observed: Estimate
    """The share in which it was."""


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Whether predicted probabilities come true."""

    bins: tuple[Bin, ...]
    """From the least to the greatest prediction."""

    calibration_error: float
    """Expected calibration error: mean distance of prediction and share over the bins, 0..1 (Naeini et al. 2015)."""

    brier: float
    """Mean squared distance of prediction and outcome, 0..1; 0.25 for always saying one half."""

    pairs: int
    """Pairs with unequal scores; the others have a prediction of one half and are left out."""

    fitted: PairProbability
    """The map fitted on all pairs, for use on new ones."""


def fit(gaps: Sequence[float], spreads: Sequence[float]) -> PairProbability:
    """Fit the map.

    Args:
        gaps: For each labelled pair, score of the better response minus score of the worse: negative where wrong.
        spreads: For each, the root of the sum of the squared spreads of both scores.
    """
    import numpy as np

    return _fit(np.asarray(gaps, dtype=float), np.asarray(spreads, dtype=float))


def reliability(gaps: Sequence[float], spreads: Sequence[float], groups: Sequence[Hashable]) -> Reliability | None:
    """Predict each pair from the other groups, and compare with what came true.

    Args:
        gaps: As in `fit`.
        spreads: As in `fit`.
        groups: The group of each pair; pairs of one group are never on both sides of a fit.

    Returns:
        None with fewer than two groups, or where all scores tie.
    """
    import numpy as np

    index, number = group_indices(groups) if len(groups) else (np.zeros(0, dtype=np.int64), 0)
    gap, spread = np.asarray(gaps, dtype=float), np.asarray(spreads, dtype=float)
    apart = gap != 0
    if number < 2 or not apart.any():
        return None
    folds = min(FOLDS, number)
    fold = np.random.default_rng([number, 7]).permutation(number)[index] % folds
    predicted = np.full(len(gap), 0.5)
    for held_out in range(folds):
        here, fitted = fold == held_out, _fit(gap[fold != held_out], spread[fold != held_out])
        at = np.array([fitted.slope, np.log(fitted.noise)])
        predicted[here] = _predict(at, np.abs(gap[here]), spread[here])
    kept = np.flatnonzero(apart)
    right, said = (gap[kept] > 0).astype(float), predicted[kept]
    edges = np.unique(np.quantile(said, np.linspace(0, 1, BINS + 1)[1:-1]))
    of_bin = np.searchsorted(edges, said, side="right")
    bins = []
    for number in np.unique(of_bin):
        inside = np.flatnonzero(of_bin == number)
        observed = mean(right[inside].tolist(), [groups[kept[i]] for i in inside])
        bins.append(Bin(predicted=float(said[inside].mean()), observed=observed))
    error = sum(abs(b.predicted - (b.observed.value or 0.0)) * b.observed.n for b in bins) / len(kept)
    return Reliability(
        bins=tuple(bins),
        calibration_error=float(error),
        brier=float(np.mean((said - right) ** 2)),
        pairs=len(kept),
        fitted=_fit(gap, spread),
    )


def _predict(at: NDArray[np.float64], gap: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np
    from scipy.special import expit

    probability: NDArray[np.float64] = expit(at[0] * gap / np.sqrt(spread**2 + np.exp(2 * at[1])))
    return probability


def _fit(gap: NDArray[np.float64], spread: NDArray[np.float64]) -> PairProbability:
    import numpy as np
    from scipy.optimize import minimize

    def loss(at: NDArray[np.float64]) -> float:
        slope, log_noise = at
        x = slope * gap / np.sqrt(spread**2 + np.exp(2 * log_noise))
        prior = 0.5 * (slope / 5.0) ** 2 + 0.5 * ((log_noise - np.log(0.5)) / 1.0) ** 2
        return float(np.logaddexp(0.0, -x).sum() + prior)

    found = minimize(loss, np.array([0.5, np.log(0.5)]), method="L-BFGS-B", bounds=[(-50, 50), (-5, 3)]).x
    return PairProbability(slope=float(found[0]), noise=float(np.exp(found[1])))
