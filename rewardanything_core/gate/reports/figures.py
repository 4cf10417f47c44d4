"""Geometry of the figures in the HTML report; the templates draw them as SVG."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rewardanything_core.gate.results import Comparison

WIDTH = 420
"""Width of a figure in SVG units."""

_EDGE = 24
_MAX_BAR = 86
_BASELINE = 112  # y of the axis of the histogram


@dataclass(frozen=True)
class IntervalFigure:
    """X positions of the mean difference, its interval, the margin and the line of no change."""

    low: float
    mean: float
    high: float
    margin: float
    zero: float


@dataclass(frozen=True)
class Bar:
    """A bar of the histogram of differences."""

    difference: float
    """Centre of the bin, in points."""

    count: int
    """Number of cases."""

    x: float
    y: float
    width: float
    height: float

    @property
    def centre(self) -> float:
        """X position of its label."""
        return self.x + self.width / 2

    @property
    def kind(self) -> str:
        """CSS class: ``worse``, ``better`` or ``same``."""
        return "worse" if self.difference < 0 else "better" if self.difference > 0 else "same"


def interval_figure(comparison: Comparison) -> IntervalFigure | None:
    """The interval of a comparison. None: nothing was compared, or no answer changed."""
    if comparison.difference is None or comparison.all_unchanged:
        return None
    margin = -comparison.requirement.margin
    ends = (comparison.low, comparison.high, comparison.difference, margin, 0.0)
    span = max(ends) - min(ends) or 1.0
    left, right = min(ends) - 0.12 * span, max(ends) + 0.12 * span

    def x(value: float) -> float:
        return _EDGE + (value - left) / (right - left) * (WIDTH - 2 * _EDGE)

    return IntervalFigure(
        low=x(comparison.low), mean=x(comparison.difference), high=x(comparison.high), margin=x(margin), zero=x(0.0)
    )


def histogram(differences: Sequence[float]) -> list[Bar]:
    """The number of cases by difference, in bins of half a point; empty bins included."""
    if not differences:
        return []
    counts = Counter(round(2 * difference) for difference in differences)
    first, last = min(-2, *counts), max(2, *counts)
    width = (WIDTH - 2 * _EDGE) / (last - first + 1)
    largest = max(counts.values())
    bars = []
    for place in range(first, last + 1):
        height = max(2.0, _MAX_BAR * counts[place] / largest) if counts[place] else 0.0
        left = _EDGE + (place - first) * width
        bars.append(Bar(place / 2, counts[place], left, _BASELINE - height, width, height))
    return bars
