"""Fitting reward heads to pairs of responses, of which one is the better one under a principle.

A head is fitted by logistic regression, without intercept, on the differences of two responses' hidden states (Bradley
and Terry, Biometrika 39, 1952), with a ridge penalty. What all responses of a prompt have in common cancels in the
differences, and so does what makes a response likable under any principle if the data hold each pair under two
principles that order it oppositely. A second penalty keeps the mean score of a pair near that of all pairs, so that
scores of different prompts and principles are comparable. The ensemble is fitted to bootstrap samples of groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MEMBERS = 16
"""Number of linear functions in an ensemble."""

STRENGTHS = (1e-3, 1e-2, 1e-1)
"""Weights of the data against the ridge penalty to choose from by cross-validation."""

LEVEL_PENALTY = 0.05
"""Weight of the squared level of a pair (the mean score of its two responses) against its log-likelihood.

Between .03 and .1, heads are also .02 more accurate on unseen families of PrincipleFlips (benchmarks/README.md, reward
heads)."""

FOLDS = 5
"""Number of folds of groups in cross-validation."""


@dataclass(frozen=True, kw_only=True)
class PairData:
    """Pairs of responses as differences of hidden states."""

    differences: Floats
    """(pairs, hidden size): the better response's state minus the other's."""

    levels: Floats
    """(pairs, hidden size): the mean of both states, less the mean of all."""

    groups: NDArray[np.int64]
    """(pairs,) the index of each pair's group, from 0: pairs of one prompt or family, of which none may be missing."""

    @classmethod
    def of(cls, better: Floats, worse: Floats, groups: NDArray[np.int64]) -> PairData:
        """The pairs of two arrays of states.

        Args:
            better: (pairs, hidden size).
            worse: (pairs, hidden size).
            groups: (pairs,).
        """
        middle = (better + worse) / 2
        return cls(differences=better - worse, levels=middle - middle.mean(axis=0), groups=groups)

    @property
    def num_groups(self) -> int:
        """The number of groups."""
        return int(self.groups.max()) + 1

    def select(self, groups: NDArray[np.int64]) -> PairData:
        """The pairs of some groups, once for each time that the group is named.

        Args:
            groups: Indices of groups, possibly repeated.
        """
        import numpy as np

        rows = [np.flatnonzero(self.groups == group) for group in groups]
        numbers = [np.full(len(row), number) for number, row in enumerate(rows)]
        index = np.concatenate(rows)
        return PairData(differences=self.differences[index], levels=self.levels[index], groups=np.concatenate(numbers))


def fit_linear(data: PairData, strength: float) -> Floats:
    """Ridge-penalised logistic regression on differences; each group has the same weight.

    Args:
        data: The pairs.
        strength: Weight of the data against the penalty, above 0.

    Returns:
        (hidden size,) weights.
    """
    import numpy as np
    from scipy.optimize import minimize
    from scipy.special import expit

    scale = np.sqrt((data.differences**2).mean(axis=0)) + 1e-6
    features, levels = data.differences / scale, data.levels / scale
    weights = 1.0 / np.bincount(data.groups)[data.groups]
    weights *= len(weights) / weights.sum()

    def loss(parameters: Floats) -> tuple[float, Floats]:
        margins, heights = features @ parameters, levels @ parameters
        value = weights @ (np.logaddexp(0, -margins) + LEVEL_PENALTY / 2 * heights**2)
        slopes = LEVEL_PENALTY * (levels.T @ (weights * heights)) - features.T @ (weights * expit(-margins))
        return strength * value + parameters @ parameters / 2, strength * slopes + parameters

    start = np.zeros(features.shape[1])
    result: Floats = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x / scale
    return result


def folds(num_groups: int, seed: int = 0) -> NDArray[np.int64]:
    """(groups,) the fold of each group, at random, in equal shares.

    Args:
        num_groups: The number of groups.
        seed: Seed of the assignment.
    """
    import numpy as np

    return np.random.default_rng(seed).permutation(np.arange(num_groups) % FOLDS)


def out_of_fold_margins(data: PairData, strength: float) -> Floats:
    """Cross-validated margins: each pair's is that of a head fitted without its group's fold.

    Args:
        data: The pairs, of `FOLDS` groups or more.
        strength: See `fit_linear`.

    Returns:
        (pairs,) the score of the better response minus that of the other.
    """
    import numpy as np

    fold_of, margins = folds(data.num_groups), np.empty(len(data.groups))
    for fold in range(FOLDS):
        held_out = fold_of[data.groups] == fold
        weights = fit_linear(data.select(np.flatnonzero(fold_of != fold)), strength)
        margins[held_out] = data.differences[held_out] @ weights
    return margins


def choose_strength(data: PairData) -> float:
    """The strength with the best cross-validated log-likelihood after calibration of the slope.

    Args:
        data: The pairs, of `FOLDS` groups or more.
    """
    import numpy as np

    def likelihood(strength: float) -> float:
        margins = out_of_fold_margins(data, strength)
        return float(-np.logaddexp(0, -slope(margins) * margins).mean())

    return max(STRENGTHS, key=likelihood)


def slope(margins: Floats) -> float:
    """The factor, 0 or more, that turns cross-validated margins into log-odds.

    Args:
        margins: (pairs,) margins.
    """
    import numpy as np
    from scipy.optimize import minimize_scalar

    size = float(np.abs(margins).mean()) or 1.0
    result = minimize_scalar(
        lambda factor: float(np.logaddexp(0, -factor * margins / size).mean()) + 1e-4 * factor**2,
        bounds=(0.0, 20.0),
        method="bounded",
    )
    return float(result.x) / size


def fit_ensemble(data: PairData, strength: float, *, seed: int = 0) -> Floats:
    """Linear functions fitted to bootstrap samples of groups.

    Args:
        data: The pairs.
        strength: See `fit_linear`.
        seed: Seed of the samples.

    Returns:
        (`MEMBERS`, hidden size) weights. Their mean is that of the fit to all data; the samples give the differences.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    whole = fit_linear(data, strength)
    members = np.stack(
        [fit_linear(data.select(rng.integers(0, data.num_groups, data.num_groups)), strength) for _ in range(MEMBERS)]
    )
    ensemble: Floats = members - members.mean(axis=0) + whole
    return ensemble
