"""Charts over all verdicts that match the filters, drawn by the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rewardanything_core.agreement.intervals import SHARE, mean
from rewardanything_core.bench.charts import BarRow, bar_rows
from rewardanything_core.viewer.filters import Filters, conditions
from rewardanything_core.viewer.index import BITS, Index

MAX_LINES = 6
"""Number of principles in the chart of scores."""

_STEPS = (("minute", 60), ("hour", 3_600), ("day", 86_400), ("week", 604_800), ("month", 2_592_000))
_MAX_STEPS = 60  # on an axis
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720.0, 240.0, 52.0, 708.0, 12.0, 206.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a chart, in SVG units."""

    name: str
    points: Sequence[tuple[float, float, str]]
    """x, y and a text for each point."""


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """Lines over time, in SVG units."""

    label: str
    """The chart in words."""

    lines: Sequence[Line]
    levels: Sequence[tuple[float, str]]
    """y and text of the ticks."""

    times: Sequence[tuple[float, str, str]]
    """x, text and anchor of the first and the last time."""

    width: float = _WIDTH
    height: float = _HEIGHT
    left: float = _LEFT
    right: float = _RIGHT


def chart_values(index: Index, filters: Filters, sources: Mapping[str, int]) -> dict[str, Any]:
    """The variables of the page with the charts.

    Args:
        index: The index.
        filters: Which verdicts count; search and order do not.
        sources: Name of a file -> its number in the index.
    """
    chosen = list(conditions(filters, sources, BITS))
    where = " AND ".join(each.sql.format(f"+e.{each.column}") for each in chosen) or "1"
    values = [value for each in chosen for value in each.values]
    with index.read() as connection:

        def rows(sql: str) -> list[tuple[Any, ...]]:
            return connection.execute(sql.replace("WHERE", f"WHERE {where} AND"), values).fetchall()

        totals = rows(
            "SELECT count(*), min(created), max(created), sum(tokens_read), sum(tokens_written), sum(calls), sum(cost)"
            " FROM entries e WHERE created > 0"
        )[0]
        count, first, last, read, written, calls, cost = totals
        step, seconds = _step((first or 0) / 1000, (last or 0) / 1000)
        bucket = f"created / {seconds * 1000}"
        scores = rows(
            f"SELECT principle, {bucket}, avg(mean), count(*) FROM entries e WHERE mean IS NOT NULL GROUP BY 1, 2"  # noqa: S608
        )
        costs = rows(f"SELECT {bucket}, sum(cost) FROM entries e WHERE cost IS NOT NULL GROUP BY 1")  # noqa: S608
        failures = rows("SELECT failure, count(*) FROM entries e WHERE failure IS NOT NULL GROUP BY 1 ORDER BY 2 DESC")
        labelled = rows(
            "SELECT e.principle, e.judged, l.gap FROM entries e JOIN labelled l ON l.id = e.id WHERE e.mean IS NOT NULL"
        )
        named = "SELECT id, coalesce(nullif(name, ''), substr(text, 1, 60)) FROM names WHERE kind IN (?, ?)"
        names = dict(connection.execute(named, ("principle", "failure")).fetchall())
    by_principle = _by_principle(scores)
    return {
        "step": step,
        "scores": _score_chart(by_principle, names, seconds),
        "table_header": ["Principle", "Verdicts", "Mean score"],
        "table_rows": [
            [names.get(number, ""), f"{judged:,}", f"{average:.2f}"]
            for number, judged, average in _means(by_principle)[:50]
        ],
        "agreement": _agreement(labelled, names),
        "failures": _shares([(names.get(kind, ""), number) for kind, number in failures], count),
        "costs": _cost_chart(costs, seconds),
        "total": count,
        "tokens_read": read or 0,
        "tokens_written": written or 0,
        "calls": calls or 0,
        "cost": cost or 0.0,
    }


def _step(first: float, last: float) -> tuple[str, int]:
    """The unit of the time axis, and its seconds."""
    return next((step for step in _STEPS if (last - first) / step[1] <= _MAX_STEPS), _STEPS[-1])


def _by_principle(rows: Sequence[tuple[Any, ...]]) -> dict[int, list[tuple[int, float, int]]]:
    found: dict[int, list[tuple[int, float, int]]] = {}
    for principle, bucket, average, count in rows:
        found.setdefault(principle, []).append((bucket, average, count))
    return found


def _means(by_principle: Mapping[int, Sequence[tuple[int, float, int]]]) -> list[tuple[int, int, float]]:
    """Principle, number of verdicts and mean score, the most frequent one first."""
    means = []
    for principle, points in by_principle.items():
        count = sum(number for _, _, number in points)
        means.append((principle, count, sum(average * number for _, average, number in points) / count))
    return sorted(means, key=lambda each: -each[1])


def _score_chart(
    by_principle: Mapping[int, Sequence[tuple[int, float, int]]], names: Mapping[int, str], seconds: int
) -> LineChart | None:
    shown = [principle for principle, _, _ in _means(by_principle)[:MAX_LINES]]
    series = [
        (names.get(principle, ""), [(bucket, average) for bucket, average, _ in sorted(by_principle[principle])])
        for principle in shown
    ]
    return _line_chart(series, (1.0, 5.0), [1, 2, 3, 4, 5], seconds, "Mean score by principle over time", "{:.2f}")


def _cost_chart(costs: Sequence[tuple[int, float]], seconds: int) -> LineChart | None:
    if not costs:
        return None
    highest = max(cost for _, cost in costs) or 1.0
    levels = [0, highest / 2, highest]
    return _line_chart([("Cost", sorted(costs))], (0.0, highest), levels, seconds, "Cost over time", "${:,.4g}")


def _line_chart(
    series: Sequence[tuple[str, Sequence[tuple[int, float]]]],
    span: tuple[float, float],
    levels: Sequence[float],
    seconds: int,
    label: str,
    form: str,
) -> LineChart | None:
    buckets = [bucket for _, points in series for bucket, _ in points]
    if not buckets:
        return None
    first, last = min(buckets), max(buckets)

    def x(bucket: int) -> float:
        return (_LEFT + _RIGHT) / 2 if first == last else _LEFT + (_RIGHT - _LEFT) * (bucket - first) / (last - first)

    def y(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * (value - span[0]) / (span[1] - span[0])

    times = [(x(first), _time(first, seconds), "start" if first != last else "middle")]
    if first != last:
        times.append((x(last), _time(last, seconds), "end"))
    lines = [
        Line(
            name=name,
            points=[
                (x(bucket), y(value), f"{_time(bucket, seconds)}: {form.format(value)}") for bucket, value in points
            ],
        )
        for name, points in series
    ]
    ends = "; ".join(f"{name or 'unnamed'} {form.format(points[-1][1])} at the end" for name, points in series)
    return LineChart(
        label=f"{label}: {ends}.", lines=lines, levels=[(y(level), form.format(level)) for level in levels], times=times
    )


def _time(bucket: int, seconds: int) -> str:
    moment = datetime.fromtimestamp(bucket * seconds, UTC).astimezone()
    return moment.strftime("%Y-%m-%d" if seconds >= 86_400 else "%Y-%m-%d %H:%M")


def _agreement(rows: Sequence[tuple[int, int, float]], names: Mapping[int, str]) -> list[BarRow]:
    """For each principle the share of labelled verdicts that are within a point of the label."""
    found: dict[int, list[tuple[int, float]]] = {}
    for principle, judged, gap in rows:
        found.setdefault(principle, []).append((judged, gap))
    ordered = sorted(found.items(), key=lambda each: -len(each[1]))
    return bar_rows(
        [
            (
                names.get(principle, ""),
                mean([float(gap < 1) for _, gap in labelled], [str(judged) for judged, _ in labelled], bounds=SHARE),
            )
            for principle, labelled in ordered[:MAX_LINES]
        ],
        unit="share",
    )


def _shares(rows: Sequence[tuple[str, int]], total: int) -> list[BarRow]:
    return [
        BarRow(
            name=name,
            value=f"{100 * number / total:.1f}%",
            interval="",
            n=f"{number:,}",
            label=f"{name}: {number} of {total}",
            drawn=True,
            length=100 * number / total,
            low=100 * number / total,
            high=100 * number / total,
            chance=None,
        )
        for name, number in rows
    ]
