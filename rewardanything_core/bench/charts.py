"""Small drawings for the page, as SVG and HTML in strings; colours come from the page's style."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rewardanything_core.agreement.calibration import Calibration
from rewardanything_core.agreement.intervals import Estimate
from rewardanything_core.agreement.pair_probability import Reliability

_PLOT, _EDGE = 300.0, 40.0


def number(value: float | None, digits: int = 3) -> str:
    """A figure as text: ``.812``; a dash for None."""
    if value is None:
        return "-"
    text = f"{value:.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def interval(estimate: Estimate) -> str:
    """``.712 to .901``; empty where there is no value."""
    return "" if estimate.value is None else f"{number(estimate.low)} to {number(estimate.high)}"


def bars(
    rows: Sequence[tuple[str, Estimate]], *, low: float = 0.0, high: float = 1.0, chance: float | None = None
) -> str:
    """A bar with its interval for each figure: name, drawing, value. ``chance`` draws a line where guessing is."""

    def at(value: float) -> float:
        return 100.0 * (min(max(value, low), high) - low) / (high - low)

    parts = []
    for name, estimate in rows:
        drawn = ""
        if estimate.value is not None and estimate.low is not None and estimate.high is not None:
            zero, end = at(max(low, 0.0)), at(estimate.value)
            drawn = (
                f'<rect class="bar" x="{min(zero, end):.2f}" y="3" width="{abs(end - zero):.2f}" height="8"/>'
                f'<line class="whisker" x1="{at(estimate.low):.2f}" x2="{at(estimate.high):.2f}" y1="7" y2="7"/>'
            )
        line = (
            ""
            if chance is None
            else f'<line class="chance" x1="{at(chance):.2f}" x2="{at(chance):.2f}" y1="0" y2="14"/>'
        )
        said = f"{escape(name)}: {number(estimate.value)}, 95% interval {interval(estimate)}, n = {estimate.n}"
        parts.append(
            f'<div class="row"><div class="name">{escape(name)}</div>'
            f'<svg viewBox="0 0 100 14" preserveAspectRatio="none" role="img" aria-label="{said}">'
            f'<rect class="track" x="0" y="3" width="100" height="8"/>{drawn}{line}</svg>'
            f'<div class="value"><b>{number(estimate.value)}</b> <span>{interval(estimate)}</span> '
            f"<small>n = {estimate.n:,}</small></div></div>"
        )
    return f'<div class="bars">{"".join(parts)}</div>'


def reliability_plot(found: Reliability) -> str:
    """Predicted probability against observed share; dots on the diagonal mean that the judge knows how sure it is."""

    def x(value: float) -> float:
        return _EDGE + (_PLOT - _EDGE - 8) * value

    def y(value: float) -> float:
        return 8 + (_PLOT - _EDGE - 8) * (1 - value)

    parts = _axes("predicted probability of being right", "share that was right", [0, 0.25, 0.5, 0.75, 1], x, y)
    parts.append(f'<line class="chance" x1="{x(0)}" y1="{y(0)}" x2="{x(1)}" y2="{y(1)}"/>')
    for each in found.bins:
        seen = each.observed
        if seen.value is None or seen.low is None or seen.high is None:
            continue
        at, told = x(each.predicted), f"predicted {number(each.predicted)}, was {number(seen.value)} of {seen.n} pairs"
        parts.append(
            f'<line class="whisker" x1="{at:.1f}" x2="{at:.1f}" y1="{y(seen.low):.1f}" y2="{y(seen.high):.1f}"/>'
        )
        parts.append(f'<circle class="dot" cx="{at:.1f}" cy="{y(seen.value):.1f}" r="4"><title>{told}</title></circle>')
    return _plot("Reliability plot", parts)


def calibration_plot(found: Calibration) -> str:
    """The map from the judge's scores to people's."""

    def x(value: float) -> float:
        return _EDGE + (_PLOT - _EDGE - 8) * (value - 1) / 4

    def y(value: float) -> float:
        return 8 + (_PLOT - _EDGE - 8) * (5 - value) / 4

    parts = _axes("the judge's score", "people's score", [1, 2, 3, 4, 5], x, y)
    parts.append(f'<line class="chance" x1="{x(1)}" y1="{y(1)}" x2="{x(5)}" y2="{y(5)}"/>')
    points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in zip(found.judge, found.human, strict=True))
    parts.append(f'<polyline class="curve" points="{points}"/>')
    return _plot("Calibration", parts)


def _axes(below: str, beside: str, ticks: Sequence[float], x: object, y: object) -> list[str]:
    assert callable(x)
    assert callable(y)
    low, high = ticks[0], ticks[-1]
    parts = [f'<rect class="frame" x="{x(low)}" y="{y(high)}" width="{x(high) - x(low)}" height="{y(low) - y(high)}"/>']
    for tick in ticks:
        parts.append(f'<text x="{x(tick):.1f}" y="{y(low) + 14:.1f}" text-anchor="middle">{tick:g}</text>')
        parts.append(f'<text x="{x(low) - 5:.1f}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    middle = (x(low) + x(high)) / 2
    parts.append(f'<text x="{middle:.1f}" y="{_PLOT - 8}" text-anchor="middle">{escape(below)}</text>')
    centre = f"{(y(low) + y(high)) / 2:.1f}"
    turned = f'x="11" y="{centre}" transform="rotate(-90 11 {centre})"'
    parts.append(f'<text {turned} text-anchor="middle">{escape(beside)}</text>')
    return parts


def _plot(title: str, parts: Sequence[str]) -> str:
    return f'<svg class="plot" viewBox="0 0 {_PLOT:g} {_PLOT:g}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
