"""Strengths of systems from pairwise results, and how they vary over resampled prompts.

The model is that of Bradley and Terry (Biometrika 39, 1952): a beats b with probability ``1 / (1 + exp(s_b - s_a))``. A
tie is half a win for each. Lists of more than two are broken into all their pairs, which estimates the Plackett-Luce
model of lists consistently (Azari Soufiani et al., NIPS 2013). One prompt on which all systems tie is added, so that a
system that wins every time has a finite strength.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_STEPS = 100
_MAX_STEP = 1.0  # in log-odds; a full Newton step can overshoot where a system wins nearly always
_TOLERANCE = 1e-9
_BLOCK = 4_000_000  # numbers held at a time


def fit_strengths(wins: NDArray[np.float64]) -> NDArray[np.float64]:
    """The maximum likelihood estimate by Newton's method.

    Args:
        wins: Shape ``(..., k, k)``: how often, or with which weight, the system of the row beat that of the column.
            Every system is compared with others, and wins and loses a little (see `with_prior`).

    Returns:
        Shape ``(..., k)``: log-odds, with a mean of 0.
    """
    import numpy as np

    together = wins + np.swapaxes(wins, -1, -2)
    total = wins.sum(axis=-1)
    strengths = np.zeros(wins.shape[:-1])
    diagonal = np.arange(wins.shape[-1])
    for _ in range(_MAX_STEPS):
        expected = together / (1 + np.exp(strengths[..., None, :] - strengths[..., :, None]))
        gradient = total - expected.sum(axis=-1)
        curvature = -expected * (1 - np.divide(expected, together, out=np.zeros_like(expected), where=together > 0))
        curvature[..., diagonal, diagonal] = 0
        curvature[..., diagonal, diagonal] = -curvature.sum(axis=-1)
        # Adding a constant to the strengths changes nothing; the 1 makes the matrix regular and keeps their mean.
        step = np.linalg.solve(curvature + 1.0, gradient[..., None])[..., 0]
        step = np.clip(step, -_MAX_STEP, _MAX_STEP)
        strengths = strengths + step - step.mean(axis=-1, keepdims=True)
        if np.abs(step).max(initial=0.0) < _TOLERANCE:
            break
    return strengths


def with_prior(wins: NDArray[np.float64], weight: NDArray[np.float64] | float = 1.0) -> NDArray[np.float64]:
    """Wins with those of one prompt more, on which all systems tie.

    Args:
        wins: Shape ``(..., k, k)``.
        weight: The weight of that prompt; its shape broadcasts with ``(...)``.
    """
    import numpy as np

    size = wins.shape[-1]
    return wins + np.asarray(weight)[..., None, None] * 0.5 * (1 - np.eye(size))


def resampled_strengths(wins: NDArray[np.float64], *, resamples: int, seed: int) -> NDArray[np.float64]:
    """Strengths when prompts get random weights: the Bayesian bootstrap (Rubin, Annals of Statistics 9, 1981).

    The added prompt is a tie on average, and differs between resamples: half of it is a random ranking. So strengths
    vary even if the same system won on all prompts, which says nothing about prompts that were not seen.

    Args:
        wins: Shape ``(n, k, k)``: for each independent prompt, the share of its orders in which the system of the row
            beat that of the column, with ties as one half; 0 both ways where they were not compared.
        resamples: How many.
        seed: Seed of the weights.

    Returns:
        Shape ``(resamples, k)``.
    """
    import numpy as np

    number, size, _ = wins.shape
    flat = wins.reshape(number, size * size)
    generator = np.random.default_rng([seed, number])
    rows = max(1, _BLOCK // max(number + 1, size * size))
    found = []
    for start in range(0, resamples, rows):
        weights = generator.standard_exponential((min(rows, resamples - start), number + 1))
        if number:
            weights /= weights[:, :number].mean(axis=1, keepdims=True)
        drawn = (weights[:, :number] @ flat).reshape(-1, size, size)
        places = generator.random((len(weights), size))
        ranked = 0.5 * np.sign(places[:, :, None] - places[:, None, :])
        found.append(
            fit_strengths(with_prior(drawn + weights[:, number, None, None] * 0.5 * ranked, weights[:, number]))
        )
    return np.concatenate(found)
