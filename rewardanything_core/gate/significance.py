"""The statistical tests of a check: which comparisons show a drop, and which rule one out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rewardanything_core.gate.inference import LARGEST_DIFFERENCE, typical_values
from rewardanything_core.gate.sequential import levels

Key = TypeVar("Key")


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """The tests of one comparison at a look."""

    p_drop: float
    """One-sided p-value of "no drop"; 1.0 without data."""

    level: float
    """The threshold for ``p_drop``, after Holm's correction and for this look."""

    dropped: bool
    """Whether there is a significant drop of any size."""

    p_margin: float
    """One-sided p-value of "a drop of the margin or more"; 1.0 without data."""

    within: bool
    """Whether a drop of the margin or more is ruled out."""

    low: float
    """Lower end of the interval for the mean difference, consistent with ``within``."""

    high: float
    """Upper end of that interval."""

    confidence: float
    """The interval's confidence level."""

    @property
    def suspected(self) -> bool:
        """Whether there is a drop that may be as large as the margin."""
        return self.dropped and not self.within


def run_tests(
    samples: Mapping[Key, Sequence[float]],
    margins: Mapping[Key, float],
    *,
    alpha: float,
    looks: Sequence[float] = (1.0,),
    look: int = 0,
) -> dict[Key, TestResult]:
    """Test every comparison for a drop, and for the absence of a drop as large as its margin.

    Tests for a drop are corrected for the number of comparisons (Holm, Scandinavian Journal of Statistics 6, 1979; with
    several looks, each step uses that look's level as in Ye et al., Statistics in Medicine 32, 2013). Tests of the
    margin need no correction: a check passes only if all of them succeed (Berger, Technometrics 24, 1982).

    Args:
        samples: Comparison -> differences of independent units, candidate minus baseline; may be empty.
        margins: Comparison -> the drop to rule out, above 0.
        alpha: One-sided error probability.
        looks: Shares of the data at which results are or were tested, the last one 1.
        look: Index of the present look.
    """
    values = {key: typical_values(sample) if len(sample) else None for key, sample in samples.items()}
    p_drop = {key: found.p_below(0.0) if found else 1.0 for key, found in values.items()}
    level = levels(alpha, looks)[look]
    corrected: dict[Key, float] = {}
    dropped: set[Key] = set()
    for rank, key in enumerate(sorted(p_drop, key=lambda key: p_drop[key])):
        corrected[key] = levels(alpha / (len(p_drop) - rank), looks)[look]
        if p_drop[key] <= corrected[key] and len(dropped) == rank:
            dropped.add(key)
    results = {}
    for key, found in values.items():
        p_margin = found.p_above(-margins[key]) if found else 1.0
        low, high = found.interval(level) if found else (-LARGEST_DIFFERENCE, LARGEST_DIFFERENCE)
        results[key] = TestResult(
            p_drop=p_drop[key],
            level=corrected[key],
            dropped=key in dropped,
            p_margin=p_margin,
            within=p_margin <= level,
            low=low,
            high=high,
            confidence=1 - 2 * level,
        )
    return results
