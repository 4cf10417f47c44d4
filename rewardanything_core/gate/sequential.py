"""Looking at results before all of them are there, without more false alarms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

LOOKS = (0.25, 0.5, 0.75, 1.0)
"""After which shares of the cases a sequential check looks."""

_SHAPE = -2.0  # between O'Brien-Fleming's (about -4) and Pocock's (about 1); benchmarks/gate_error_rates.py compares


def levels(alpha: float, looks: Sequence[float], shape: float = _SHAPE) -> tuple[float, ...]:
    """One-sided significance levels for looks at growing shares of the data, which together spend ``alpha``.

    What may be spent by share ``t`` is alpha (1 - exp(-shape t)) / (1 - exp(-shape)) (Hwang, Shih & DeCani, Statistics
    in Medicine 9, 1990); the levels follow by integrating over the paths that have not crossed yet (Armitage,
    McPherson & Rowe, JRSS A 132, 1969; Lan & DeMets, Biometrika 70, 1983). A single look gets all of ``alpha``.

    Args:
        alpha: One-sided error probability of all looks together, in (0, 0.5).
        looks: Growing shares of the data, in (0, 1], the last one 1.
        shape: Negative: little early; positive: much early.
    """
    return _levels(alpha, tuple(looks), shape)


@lru_cache(maxsize=64)
def _levels(alpha: float, looks: tuple[float, ...], shape: float) -> tuple[float, ...]:
    import numpy as np
    from scipy.stats import norm

    if len(looks) == 1:
        return (alpha,)
    grid = np.linspace(-6.0, 6.0, 1601)
    step = grid[1] - grid[0]
    found = []
    density = None  # of the sum so far, over paths that have not crossed
    before = spent = 0.0
    for share in looks:
        spread = math.sqrt(share - before)
        if density is None:
            density = norm.pdf(grid, scale=spread)
        else:
            kernel = norm.pdf(grid[:, None] - grid, scale=spread) * step
            density = kernel @ density
        allowed = alpha * math.expm1(-shape * share) / math.expm1(-shape)
        beyond = np.cumsum(density[::-1])[::-1] * step - density * step / 2
        boundary = float(np.interp(-(allowed - spent), -beyond, grid))
        found.append(float(norm.sf(boundary / math.sqrt(share))))
        density = np.where(grid < boundary, density, 0.0)
        before, spent = share, allowed
    return tuple(found)
