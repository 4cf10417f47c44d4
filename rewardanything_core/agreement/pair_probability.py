"""The probability that the response with the higher score is the better one, from the gap between the scores.

The model is a logistic curve without intercept, in the manner of Bradley and Terry (Biometrika 39, 1952): with gap d
between two scores whose spreads over passes are s and t, P = 1 / (1 + exp(-slope * d / sqrt(s**2 + t**2 + noise**2))).
Equal scores give one half. ``noise`` is the error that the spreads do not show. Both parameters are fitted by maximum
likelihood with a weak prior, which matters only for very few pairs. Reported predictions are cross-validated by groups.
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
"""Number of folds of groups in cross-validation."""

BINS = 10
"""Maximum number of bins of a reliability plot, each with about the same number of pairs."""


@dataclass(frozen=True, kw_only=True)
class PairProbability:
    """The fitted model."""

    slope: float
    """Log-odds per unit of the scaled gap: 0 for a judge that guesses, below 0 for one that prefers worse responses."""

    noise: float
    """Standard deviation of a gap beyond the spreads, in points of the scale, above 0."""

    def predict(self, gap: float, spread: float = 0.0) -> float:
        """The probability, 0..1, that the first of two responses is better.

        Args:
            gap: Score of the first response minus that of the second, -4..4.
            spread: Root of the sum of both squared spreads, in points, 0 or more.
        """
        import numpy as np

        return float(_probability(np.array([self.slope, np.log(self.noise)]), np.array([gap]), np.array([spread]))[0])


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Pairs with similar predicted probabilities."""

    predicted: float
    """Mean predicted probability, 0..1, that the response with the higher score is the better one."""

    observed: Estimate
    """The share of pairs where it is."""


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How well predicted probabilities are calibrated."""

    bins: tuple[Bin, ...]
    """In the order of their predictions, least first."""

    calibration_error: float
    """Expected calibration error: mean distance of prediction and share over the bins, 0..1 (Naeini et al. 2015)."""

    brier: float
    """Brier score: mean squared distance of prediction and outcome, 0..1; 0.25 for constant predictions of one half."""

    pairs: int
    """Number of pairs with unequal scores; the others have a prediction of one half and are excluded."""

    fitted: PairProbability
    """The model fitted to all pairs, for new ones."""


def fit(gaps: Sequence[float], spreads: Sequence[float]) -> PairProbability:
    """Fit the model to labelled pairs.

    Args:
        gaps: For each pair, score of the better response minus score of the worse: negative where the judge is wrong.
        spreads: For each pair, the root of the sum of the squared spreads of both scores.
    """
    import numpy as np

    return _fit(np.asarray(gaps, dtype=float), np.asarray(spreads, dtype=float))


def reliability(gaps: Sequence[float], spreads: Sequence[float], groups: Sequence[Hashable]) -> Reliability | None:
    """Compare cross-validated predictions with the outcomes.

    Args:
        gaps: As in `fit`.
        spreads: As in `fit`.
        groups: The group of each pair. The prediction for a pair comes from a fit without its group.

    Returns:
        None with fewer than two groups, or where all scores tie.
    """
    import numpy as np

    index, number = group_indices(groups) if len(groups) else (np.zeros(0, dtype=np.int64), 0)
    gap, spread = np.asarray(gaps, dtype=float), np.asarray(spreads, dtype=float)
    unequal = np.flatnonzero(gap)
    if number < 2 or not len(unequal):
        return None
    folds = min(FOLDS, number)
    fold = np.random.default_rng([number, 7]).permutation(number)[index] % folds
    predicted = np.full(len(gap), 0.5)
    for held_out in range(folds):
        test, fitted = fold == held_out, _fit(gap[fold != held_out], spread[fold != held_out])
        parameters = np.array([fitted.slope, np.log(fitted.noise)])
        predicted[test] = _probability(parameters, np.abs(gap[test]), spread[test])
    outcomes, predictions = (gap[unequal] > 0).astype(float), predicted[unequal]
    edges = np.unique(np.quantile(predictions, np.linspace(0, 1, BINS + 1)[1:-1]))
    bin_of = np.searchsorted(edges, predictions, side="right")
    bins = []
    for each in np.unique(bin_of):
        members = np.flatnonzero(bin_of == each)
        observed = mean(outcomes[members].tolist(), [groups[unequal[i]] for i in members])
        bins.append(Bin(predicted=float(predictions[members].mean()), observed=observed))
    error = sum(abs(b.predicted - (b.observed.value or 0.0)) * b.observed.n for b in bins) / len(unequal)
    return Reliability(
        bins=tuple(bins),
        calibration_error=float(error),
        brier=float(np.mean((predictions - outcomes) ** 2)),
        pairs=len(unequal),
        fitted=_fit(gap, spread),
    )


def _probability(
    parameters: NDArray[np.float64], gap: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    import numpy as np
    from scipy.special import expit

    slope, log_noise = parameters
    probability: NDArray[np.float64] = expit(slope * gap / np.sqrt(spread**2 + np.exp(2 * log_noise)))
    return probability


def _fit(gap: NDArray[np.float64], spread: NDArray[np.float64]) -> PairProbability:
    import numpy as np
    from scipy.optimize import minimize

    def loss(parameters: NDArray[np.float64]) -> float:
        slope, log_noise = parameters
        x = slope * gap / np.sqrt(spread**2 + np.exp(2 * log_noise))
        prior = 0.5 * (slope / 5.0) ** 2 + 0.5 * ((log_noise - np.log(0.5)) / 1.0) ** 2
        return float(np.logaddexp(0.0, -x).sum() + prior)

    start, bounds = np.array([0.5, np.log(0.5)]), [(-50, 50), (-5, 3)]
    slope, log_noise = minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    return PairProbability(slope=float(slope), noise=float(np.exp(log_noise)))
