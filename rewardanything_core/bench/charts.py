"""Figures of the benchmark page: numbers as text, bars with intervals, and two plots."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rewardanything_core.agreement.calibration import Calibration
from rewardanything_core.agreement.intervals import Estimate
from rewardanything_core.agreement.pair_probability import Reliability
from rewardanything_core.bench.naming import Unit, interval_shown, shown
from rewardanything_core.gate.reports.pages import render_macro

_SIZE, _MARGIN, _TOP = 300.0, 40.0, 8.0  # SVG units of a square plot: side, space for labels, space above


def number(value: float | None, digits: int = 3) -> str:
    """A figure as text, such as ``.812``; a dash for None.

    Args:
        value: The figure.
        digits: Digits after the decimal point.
    """
    if value is None:
        return "-"
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def interval(estimate: Estimate) -> str:
    """An interval as text, such as ``.712 to .901``; empty if there is no value."""
    return "" if estimate.value is None else f"{number(estimate.low)} to {number(estimate.high)}"


@dataclass(frozen=True, kw_only=True)
class BarRow:
    """A bar with its interval; positions are 0..100."""

    name: str
    """The name of the figure."""

    value: str
    interval: str
    n: str
    """The value, its interval and the number of observations, as text."""

    label: str
    """The row as a sentence, for screen readers."""

    drawn: bool
    """Whether there is a value to draw."""

    start: float = 0.0
    length: float = 0.0
    low: float = 0.0
    high: float = 0.0
    """The bar and its interval."""

    secondary: bool = False
    """Whether it is a variant of the figure above it."""

    chance: float | None
    """Position of the line that marks guessing. None: no line."""


def bar_rows(
    rows: Sequence[tuple[str, Estimate]],
    *,
    unit: Unit = "number",
    low: float = 0.0,
    high: float = 1.0,
    chance: float | None = None,
) -> list[BarRow]:
    """A bar for each figure.

    Args:
        rows: Name and estimate of each figure.
        unit: Unit of the figures.
        low: Value at the left end.
        high: Value at the right end.
        chance: Value that guessing gives. None: there is no such value.
    """

    def position(value: float) -> float:
        return 100.0 * (min(max(value, low), high) - low) / (high - low)

    bars = []
    for name, estimate in rows:
        value, ends = shown(estimate.value, unit), interval_shown(estimate, unit)
        bar = BarRow(
            name=name,
            value=value,
            interval=ends,
            n=f"{estimate.n:,}",
            label=f"{name}: {value}, 95% interval {ends}, n = {estimate.n}",
            drawn=False,
            chance=None if chance is None else position(chance),
        )
        if estimate.value is not None and estimate.low is not None and estimate.high is not None:
            zero, end = position(max(low, 0.0)), position(estimate.value)
            bar = dataclasses.replace(
                bar,
                drawn=True,
                start=min(zero, end),
                length=abs(end - zero),
                low=position(estimate.low),
                high=position(estimate.high),
            )
        bars.append(bar)
    return bars


@dataclass(frozen=True, kw_only=True)
class PlotPoint:
    """A point with its vertical interval, in SVG units."""

    x: float
    y: float
    low: float
    high: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A tick of both axes, in SVG units."""

    x: float
    y: float
    label: str


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A square plot whose axes have the same range, in SVG units."""

    title: str
    x_title: str
    y_title: str
    ticks: list[Tick]
    points: list[PlotPoint] = field(default_factory=list)
    curve: list[tuple[float, float]] = field(default_factory=list)
    left: float = _MARGIN
    right: float = _SIZE - 8
    top: float = _TOP
    bottom: float = _SIZE - _MARGIN


def _axes(ticks: Sequence[float]) -> tuple[Callable[[float], float], Callable[[float], float], list[Tick]]:
    """Maps from values to x and to y, and the ticks."""
    low, span, side = ticks[0], ticks[-1] - ticks[0], _SIZE - _MARGIN - 8

    def x(value: float) -> float:
        return _MARGIN + side * (value - low) / span

    def y(value: float) -> float:
        return _TOP + side * (1 - (value - low) / span)

    return x, y, [Tick(x=x(tick), y=y(tick), label=f"{tick:g}") for tick in ticks]


def reliability_figure(found: Reliability) -> Plot:
    """Predicted probability against observed share; a calibrated judge has its points on the diagonal."""
    x, y, ticks = _axes([0, 0.25, 0.5, 0.75, 1])
    points = [
        PlotPoint(
            x=x(each.predicted),
            y=y(seen.value),
            low=y(seen.low),
            high=y(seen.high),
            label=f"predicted {number(each.predicted)}, observed {number(seen.value)} of {seen.n} pairs",
        )
        for each in found.bins
        if (seen := each.observed).value is not None and seen.low is not None and seen.high is not None
    ]
    return Plot(
        title="Reliability plot",
        x_title="predicted probability",
        y_title="share of pairs that were correct",
        ticks=ticks,
        points=points,
    )


def calibration_figure(found: Calibration) -> Plot:
    """The map from the judge's scores to human scores."""
    x, y, ticks = _axes([1, 2, 3, 4, 5])
    return Plot(
        title="Calibration",
        x_title="the judge's score",
        y_title="human score",
        ticks=ticks,
        curve=[(x(a), y(b)) for a, b in zip(found.judge, found.human, strict=True)],
    )


def reliability_plot(found: Reliability) -> str:
    """The reliability plot as SVG."""
    return render_macro("figures.html", "plot", reliability_figure(found)).strip()
