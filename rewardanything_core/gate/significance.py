"""The statistical tests of a check: which comparisons show a drop, and which rule one out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rewardanything_core.estimation import LabelledSample
from rewardanything_core.gate.inference import analyse_labelled, analyse_mean

Key = TypeVar("Key")


@dataclass(frozen=True, kw_only=True)
class TestResult:
    """The tests of one comparison."""

    p_drop: float
    """One-sided p-value of "no drop"; 1.0 without data."""

    level: float
    """The threshold for ``p_drop``, after Holm's correction."""

    dropped: bool
    """Whether there is a significant drop of any size."""

    p_margin: float
    """One-sided p-value of "a drop of the margin or more"; 1.0 without data."""

    within: bool
    """Whether a drop of the margin or more is ruled out."""

    low: float
    """Lower end of the interval for the mean difference; ``-margin`` or more exactly if ``within``."""

    high: float
    """Upper end of that interval."""

    confidence: float
    """The interval's confidence level."""

    @property
    def suspected(self) -> bool:
        """Whether there is a drop that may be as large as the margin."""
        return self.dropped and not self.within

    def and_also(self, other: TestResult) -> TestResult:
        """Both results together: something holds only if it holds in both.

        Args:
            other: The tests of the same comparison on other judgements of the same cases.
        """
        return TestResult(
            p_drop=max(self.p_drop, other.p_drop),
            level=min(self.level, other.level),
            dropped=self.dropped and other.dropped,
            p_margin=max(self.p_margin, other.p_margin),
            within=self.within and other.within,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            confidence=self.confidence,
        )


def run_tests(
    samples: Mapping[Key, Sequence[float]],
    margins: Mapping[Key, float],
    *,
    alpha: float,
    horizon: int | None = None,
    labelled: Mapping[Key, LabelledSample] | None = None,
) -> dict[Key, TestResult]:
    """Test every comparison for a drop, and for the absence of a drop as large as its margin.

    The p-values hold at every look of a sequential check (see `analyse_mean`), so looks need no correction. Tests for a
    drop are corrected for the number of comparisons (Holm, Scandinavian Journal of Statistics 6, 1979). Tests of the
    margin need no correction: a check passes only if all of them succeed (Berger, Technometrics 24, 1982).

    Args:
        samples: Comparison -> differences of independent units, candidate minus baseline, each in -4..4, in a random
            order; may be empty.
        margins: Comparison -> the drop to rule out, above 0.
        alpha: One-sided error probability.
        horizon: Planned number of units. None: the number of units in each sample.
        labelled: Comparison -> its units with people's labels, which correct the judge's differences. Their tests rest
            on the central limit theorem, hold at one look only, and replace those of the judge's differences.
    """
    labelled = labelled or {}
    results = {
        key: analyse_labelled(labelled[key], margins[key], level=alpha)
        if key in labelled
        else analyse_mean(
            sample,
            margins[key],
            level=alpha,
            drop_level=alpha / len(samples),
            horizon=len(sample) if horizon is None else horizon,
        )
        for key, sample in samples.items()
    }
    levels: dict[Key, float] = {}
    dropped: set[Key] = set()
    for rank, key in enumerate(sorted(results, key=lambda key: results[key].p_drop)):
        levels[key] = alpha / (len(results) - rank)
        if results[key].p_drop <= levels[key] and len(dropped) == rank:
            dropped.add(key)
    return {
        key: TestResult(
            p_drop=result.p_drop,
            level=levels[key],
            dropped=key in dropped,
            p_margin=result.p_margin,
            within=result.p_margin <= alpha,
            low=result.low,
            high=result.high,
            confidence=1 - 2 * alpha,
        )
        for key, result in results.items()
    }
