"""Estimates of what people would say about all judged rows, from the labels that some of them have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rewardanything_core.bench.items import BenchItem, ScoreRange
from rewardanything_core.bench.judged_rows import UNKNOWN, JudgedRow, row_of
from rewardanything_core.bench.label_matching import (
    Criterion,
    MatchedLabels,
    RowLabels,
    criteria_of,
    match_labels,
    win,
)
from rewardanything_core.bench.measures import JudgedItem
from rewardanything_core.cases import Case
from rewardanything_core.errors import ConfigError
from rewardanything_core.estimation import CorrectedMean, LabelledSample, corrected_mean
from rewardanything_core.types import MAX_SCORE, MIN_SCORE

Measure = Literal["mean score", "difference", "win rate"]

BOUNDS: dict[Measure, tuple[float, float]] = {
    "mean score": (MIN_SCORE, MAX_SCORE),
    "difference": (MIN_SCORE - MAX_SCORE, MAX_SCORE - MIN_SCORE),
    "win rate": (0.0, 1.0),
}
"""Least and greatest possible value of each measure."""

MAX_SYSTEMS = 8
"""Up to this many labels of responses, the same in every row, are systems that are compared."""

_ENOUGH = 1.1  # of the half width that all labels would give


@dataclass(frozen=True, kw_only=True)
class LabelEstimate:
    """One estimated figure."""

    principle: str | None
    """The text of the principle. None: the rows do not state it."""

    criterion: Criterion
    """The criterion of the rubric. None: the principle as a whole."""

    measure: Measure
    """What is estimated: ``win rate`` counts equal scores as one half."""

    systems: tuple[str, ...]
    """The label of the responses; for a difference or win rate ``(one, other)``: one minus the other, one over the
    other. Empty: all responses of every row."""

    result: CorrectedMean | None
    """The estimate. None: fewer than two labels."""

    n: int
    """Number of labels."""

    plan: tuple[tuple[int, float], ...] = ()
    """Numbers of labels and half of the interval's width that they would give, if the judge stays as good as it is."""

    enough: int | None = None
    """Number of labels with which the interval is at most a tenth wider than with all rows labelled. None: there is no
    estimate."""

    @property
    def name(self) -> str:
        """The measure and the systems in words."""
        link = {"mean score": "", "difference": " - ", "win rate": " over "}[self.measure]
        return " ".join(part for part in (self.measure, link.join(self.systems)) if part)

    def to_dict(self) -> dict[str, Any]:
        """The estimate as plain JSON types."""
        plain = {**vars(self), "name": self.name, "result": self.result and self.result.to_dict()}
        return plain | {"plan": [{"labels": n, "half_width": half} for n, half in self.plan]}


@dataclass(frozen=True, kw_only=True)
class EstimateReport:
    """All estimates of `estimate_rows`."""

    estimates: tuple[LabelEstimate, ...]
    """By principle, criterion, measure and systems."""

    rows: int
    """Number of judged rows."""

    labelled: int
    """Number of rows with a label."""

    scale: ScoreRange
    """The scale of labels that have none of their own; every scale is mapped linearly to 1..5."""

    unmatched: tuple[str, ...]
    """Ids of labels that belong to no judged row."""

    @property
    def has_results(self) -> bool:
        """Whether any figure could be estimated."""
        return any(one.result is not None for one in self.estimates)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        return {**vars(self), "estimates": [one.to_dict() for one in self.estimates]}


def estimate_rows(
    rows: Sequence[JudgedRow],
    labels: Sequence[BenchItem] | MatchedLabels,
    *,
    confidence: float = 0.95,
    scale: ScoreRange | None = None,
) -> EstimateReport:
    """Estimate what people would say about all judged rows.

    For each principle and criterion: the mean score of all responses. Where every row has responses of the same labels,
    2 to `MAX_SYSTEMS` of them, these are systems: the mean score of each, and each compared with the first by the
    difference of scores and the win rate. Rows of one prompt are a cluster.

    Args:
        rows: The judged rows; see `read_judged_rows`.
        labels: People's labels of some of them, drawn at random; see `read_labels`.
        confidence: Confidence level of the intervals, in (0, 1).
        scale: Lowest and highest possible human score, for labels without a scale. None: it is inferred.

    Raises:
        ConfigError: labels do not belong to the rows, or some have a sampling probability and others none.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must be above 0 and below 1, not {confidence!r}.")
    matched = labels if isinstance(labels, MatchedLabels) else match_labels(rows, labels, scale=scale)
    estimates = []
    for principle in dict.fromkeys(row.principle for row in rows):
        of = [place for place, row in enumerate(rows) if row.principle == principle]
        judged, given = [rows[place] for place in of], [matched.rows[place] for place in of]
        for criterion in criteria_of(judged):
            for measure, systems in measures(judged):
                points = list(_points(judged, given, criterion, measure, systems))
                stated = None if principle == UNKNOWN else principle
                estimates.append(_estimate(points, stated, criterion, measure, systems, confidence))
    return EstimateReport(
        estimates=tuple(estimates),
        rows=len(rows),
        labelled=sum(bool(each.scores or each.orders) for each in matched.rows),
        scale=matched.scale,
        unmatched=matched.unmatched,
    )


def estimate_items(judged: Iterable[JudgedItem], *, scale: ScoreRange | None = None) -> EstimateReport | None:
    """`estimate_rows` for items that were judged, of which some have labels.

    Args:
        judged: The items with their verdicts; those without a verdict are left out.
        scale: Lowest and highest possible human score, for labels without a scale. None: it is inferred.

    Returns:
        The estimates. None: all items have labels, or none has.
    """
    found = [(one.item, one.verdict) for one in judged if one.verdict is not None]
    labelled = [item for item, _ in found if item.labelled]
    if not 0 < len(labelled) < len(found):
        return None
    rows = [row_of(Case(**item.case_fields()), verdict, item.id) for item, verdict in found]
    return estimate_rows(rows, labelled, scale=scale)


def measures(rows: Sequence[JudgedRow]) -> list[tuple[Measure, tuple[str, ...]]]:
    """What is estimated for rows under one principle, with the systems; see `estimate_rows`.

    Args:
        rows: The judged rows.
    """
    names = list(rows[0].case.labels)
    if not 2 <= len(names) <= MAX_SYSTEMS or any(set(row.case.labels) != set(names) for row in rows):
        return [("mean score", ())]
    pairs = [(other, names[0]) for other in names[1:]]
    found: list[tuple[Measure, tuple[str, ...]]] = [("mean score", (name,)) for name in names]
    return [*found, *(("difference", pair) for pair in pairs), *(("win rate", pair) for pair in pairs)]


@dataclass(frozen=True)
class Point:
    """One observation of a measure."""

    row: JudgedRow
    """The judged row."""

    judged: float
    """The judge's figure."""

    label: float | None
    """People's figure. None: there is none."""

    probability: float | None
    """With which probability it was drawn for labelling. None: unknown."""

    spread: float | None
    """Standard deviation of the judge's figure between passes. None: unknown."""


def sample_of(points: Sequence[Point], measure: Measure) -> LabelledSample:
    """The observations as a sample.

    Args:
        points: The observations.
        measure: What they are.

    Raises:
        ConfigError: there are fewer than two labels, or some have a sampling probability and others none.
    """
    drawn = any(point.probability is not None and point.label is not None for point in points)
    strata = [point.row.stratum for point in points]
    return LabelledSample(
        judged=[point.judged for point in points],
        labels=[point.label for point in points],
        bounds=BOUNDS[measure],
        clusters=[point.row.prompt for point in points],
        probabilities=[point.probability for point in points] if drawn else None,
        strata=strata if any(stratum is not None for stratum in strata) else None,
    )


def _estimate(
    points: Sequence[Point],
    principle: str | None,
    criterion: Criterion,
    measure: Measure,
    systems: tuple[str, ...],
    confidence: float,
) -> LabelEstimate:
    n = sum(point.label is not None for point in points)
    result = corrected_mean(sample_of(points, measure), confidence=confidence) if n >= 2 else None
    plan = () if result is None else planned(result)
    enough = None
    if result is not None:
        least = result.predicted_half_width(len(points))
        enough = _fewest(result, len(points), _ENOUGH * least)
    return LabelEstimate(
        principle=principle,
        criterion=criterion,
        measure=measure,
        systems=systems,
        result=result,
        n=n,
        plan=plan,
        enough=enough,
    )


def planned(result: CorrectedMean) -> tuple[tuple[int, float], ...]:
    """Numbers of labels, from those there are by doubling to all rows, with half of the interval's width.

    Args:
        result: The estimate so far.
    """
    numbers = [result.n]
    while numbers[-1] * 2 < result.rows and len(numbers) < 5:
        numbers.append(numbers[-1] * 2)
    if numbers[-1] < result.rows:
        numbers.append(result.rows)
    return tuple((n, result.predicted_half_width(n)) for n in numbers)


def _fewest(result: CorrectedMean, rows: int, half_width: float) -> int:
    """The fewest labels, from those there are, that give an interval of this half width."""
    low, high = result.n, rows
    while low < high:
        middle = (low + high) // 2
        if result.predicted_half_width(middle) <= half_width:
            high = middle
        else:
            low = middle + 1
    return low


def _points(
    rows: Sequence[JudgedRow],
    labels: Sequence[RowLabels],
    criterion: Criterion,
    measure: Measure,
    systems: tuple[str, ...],
) -> Iterator[Point]:
    """The observations of a measure: for a mean score one for each response, otherwise one for each row."""
    for row, given in zip(rows, labels, strict=True):
        scores = row.scores.get(criterion)
        if scores is None:
            continue
        if measure == "mean score":
            for label in systems or scores:
                spread = row.spread.get(label)
                yield Point(row, scores[label], given.score(criterion, label), given.probability, spread)
            continue
        one, other = systems
        figure: Callable[[float, float], float] = win if measure == "win rate" else _difference
        people = given.win(criterion, one, other)
        ours, theirs = given.score(criterion, one), given.score(criterion, other)
        if measure == "difference":
            people = None if ours is None or theirs is None else ours - theirs
        spreads = row.spread.get(one), row.spread.get(other)
        both = None if None in spreads else sum(each**2 for each in spreads if each is not None) ** 0.5
        yield Point(row, figure(scores[one], scores[other]), people, given.probability, both)


def _difference(one: float, other: float) -> float:
    return one - other
