"""The gate's former method, to compare with: a sign-flipping test, and an alpha-spending function for looks."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.stats import norm


def sign_flips(differences: np.ndarray, null: float) -> np.ndarray:
    """The former method's p-values: the share of means of random subsets that do not exceed the null."""
    subsets = _subsets(differences.shape[1])
    means = (differences.astype(np.float32) @ subsets.T) / subsets.sum(axis=1)
    return (1 + (means <= null + 1e-5).sum(axis=1)) / (1 + len(subsets))


@lru_cache(maxsize=8)
def _subsets(number: int) -> np.ndarray:
    if number <= 11:
        return (np.arange(1, 2**number)[:, None] >> np.arange(number) & 1).astype(np.float32)
    drawn = np.random.default_rng([number, 0]).integers(0, 2, size=(1_999, number)).astype(np.float32)
    return drawn[drawn.any(axis=1)]


@lru_cache(maxsize=8)
def spending(alpha: float, looks: tuple[float, ...], shape: float = -2.0) -> tuple[float, ...]:
    """The former method's levels: Hwang, Shih & DeCani, Statistics in Medicine 9, 1990."""
    if len(looks) == 1:
        return (alpha,)
    grid = np.linspace(-6.0, 6.0, 1601)
    step = grid[1] - grid[0]
    found, density, before, spent = [], None, 0.0, 0.0
    for share in looks:
        spread = math.sqrt(share - before)
        if density is None:
            density = norm.pdf(grid, scale=spread)
        else:
            density = norm.pdf(grid[:, None] - grid, scale=spread) * step @ density
        allowed = alpha * math.expm1(-shape * share) / math.expm1(-shape)
        beyond = np.cumsum(density[::-1])[::-1] * step - density * step / 2
        boundary = float(np.interp(-(allowed - spent), -beyond, grid))
        found.append(float(norm.sf(boundary / math.sqrt(share))))
        density = np.where(grid < boundary, density, 0.0)
        before, spent = share, allowed
    return tuple(found)
