"""The drawings of the HTML report: SVG whose colours come from the page's style sheet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rewardanything_core.gate.reports import wording
from rewardanything_core.gate.results import Comparison

_WIDTH = 420
_EDGE = 24


def interval_figure(comparison: Comparison) -> str:
    """The mean difference and its interval against no difference and the margin."""
    if comparison.difference is None:
        return ""
    margin = -comparison.requirement.margin
    ends = (comparison.low, comparison.high, comparison.difference, margin, 0.0)
    reach = max(ends) - min(ends) or 1.0
    left, right = min(ends) - 0.12 * reach, max(ends) + 0.12 * reach

    def x(value: float) -> str:
        return f"{_EDGE + (value - left) / (right - left) * (_WIDTH - 2 * _EDGE):.1f}"

    low, middle, high = x(comparison.low), x(comparison.difference), x(comparison.high)
    said = (
        f"Mean difference {wording.difference(comparison)}, {wording.confidence([comparison])} "
        f"{wording.interval(comparison)}; the margin is at {wording.signed(margin)}."
    )
    return f"""<svg class="figure {comparison.outcome}" viewBox="0 0 {_WIDTH} 112" role="img" aria-label="{said}">
<rect class="beyond" x="0" y="26" width="{x(margin)}" height="48"/>
<line class="axis" x1="0" y1="74" x2="{_WIDTH}" y2="74"/>
<line class="margin" x1="{x(margin)}" y1="26" x2="{x(margin)}" y2="74"/>
<line class="zero" x1="{x(0)}" y1="26" x2="{x(0)}" y2="74"/>
<text x="{x(margin)}" y="90" text-anchor="middle">margin {_minus(margin, 2)}</text>
<text x="{x(0)}" y="19" text-anchor="middle">no change</text>
<line class="range" x1="{low}" y1="50" x2="{high}" y2="50"/>
<line class="range" x1="{low}" y1="43" x2="{low}" y2="57"/>
<line class="range" x1="{high}" y1="43" x2="{high}" y2="57"/>
<circle class="mean" cx="{middle}" cy="50" r="6"/>
<text class="quiet" x="0" y="108">← worse</text>
<text class="quiet" x="{_WIDTH}" y="108" text-anchor="end">better →</text>
</svg>"""


def shifts_figure(differences: Sequence[float]) -> str:
    """How many cases changed by how much, in steps of half a point."""
    if not differences:
        return ""
    counts = Counter(round(2 * difference) for difference in differences)
    first, last = min(-2, *counts), max(2, *counts)
    step = (_WIDTH - 2 * _EDGE) / (last - first + 1)
    most = max(counts.values())
    parts = []
    for place in range(first, last + 1):
        left = _EDGE + (place - first) * step
        centre = left + step / 2
        if count := counts[place]:
            height = max(2.0, 86 * count / most)
            kind = "worse" if place < 0 else "better" if place > 0 else "same"
            parts.append(
                f'<rect class="{kind}" x="{left + 1:.1f}" y="{112 - height:.1f}" width="{step - 2:.1f}" '
                f'height="{height:.1f}"><title>{wording.counted(count, "case")} at about '
                f"{wording.signed(place / 2, 1)}</title></rect>"
                f'<text x="{centre:.1f}" y="{107 - height:.1f}" text-anchor="middle">{_short(count)}</text>'
            )
        if place % 2 == 0:
            label = _minus(place / 2, 0)
            parts.append(f'<text class="quiet" x="{centre:.1f}" y="128" text-anchor="middle">{label}</text>')
    said = "Cases by change in score: " + ", ".join(
        f"{counts[place]:,} at {wording.signed(place / 2, 1)}" for place in sorted(counts)
    )
    body = "\n".join(parts)
    return f"""<svg class="figure" viewBox="0 0 {_WIDTH} 136" role="img" aria-label="{said}.">
{body}
<line class="axis" x1="0" y1="112" x2="{_WIDTH}" y2="112"/>
</svg>"""


def _minus(value: float, digits: int) -> str:
    return wording.signed(value, digits).replace("-", "−")


def _short(count: int) -> str:
    return str(count) if count < 1_000 else f"{count / 1_000:.1f}k"
