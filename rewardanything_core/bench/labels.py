"""A user's own labels: agreement with a judge's scores, the worst disagreements, and a recalibration."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rewardanything_core.agreement import scores as agreement
from rewardanything_core.agreement.calibration import Calibration
from rewardanything_core.agreement.intervals import SHARE, Estimate, mean
from rewardanything_core.agreement.isotonic import cross_calibrated, fit_calibration
from rewardanything_core.bench.items import BenchItem, ScoreRange, on_our_scale
from rewardanything_core.bench.measures import JudgedItem
from rewardanything_core.bench.reading import read_rows
from rewardanything_core.bench.rubric_items import read_item
from rewardanything_core.conversations import Response
from rewardanything_core.conversations.trajectory import response_json
from rewardanything_core.errors import ConfigError
from rewardanything_core.estimation import LabelledSample, corrected_mean
from rewardanything_core.types import MAX_SCORE, MIN_SCORE

LABEL_FIELDS = "Give 'score' with 'response', or 'human_scores' or 'winner' with 'responses'."
"""What to do about rows without a label."""

MAX_LEVELS = 7
"""Up to this many distinct human scores are the levels; with more, both sides are rounded to 1..5."""


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A response whose human and judge scores differ."""

    id: str
    """Id of the row."""

    label: str
    """Label of the response."""

    prompt: str
    """The prompt as one text."""

    response: Response
    """The response."""

    human: float
    """Human score on the scale of 1..5."""

    judged: float
    """The judge's score, 1..5."""

    reasoning: str
    """The judge's reasoning."""

    record_id: str | None
    """Id of the record in the store. None: it was not stored."""


@dataclass(frozen=True, kw_only=True)
class LabelReport:
    """Agreement of a judge with a user's labels."""

    scale: ScoreRange
    """The human scale of rows without a scale of their own; every scale is mapped linearly to 1..5."""

    levels: tuple[float, ...]
    """The levels, within 1..5, to which both sides are rounded for kappa and the confusion table."""

    figures: dict[str, Estimate]
    """``kappa_quadratic``, ``kappa``, ``krippendorff_alpha``, ``spearman``, ``exact`` (share with the same level),
    ``mae`` and ``bias`` (judge minus human), on the scale of 1..5; over responses."""

    calibrated: dict[str, Estimate]
    """``mae``, ``bias``, ``kappa_quadratic`` and ``krippendorff_alpha`` after recalibration fitted on other groups.
    Empty with fewer than two groups."""

    confusion: list[list[int]]
    """Counts of human level (row) and judge level (column)."""

    calibration: Calibration | None
    """The map fitted on all labels. None: there are no scores."""

    worst: tuple[Disagreement, ...]
    """The largest disagreements, largest first."""

    label_worth: float | None = None
    """How many labels alone one label is worth, if the judge scores many rows and a mean score is corrected with the
    labels; see `corrected_mean`. None: fewer than two labels."""

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON types."""
        return {
            "scale": list(self.scale),
            "levels": list(self.levels),
            **{name: found.to_dict() for name, found in self.figures.items()},
            "calibrated": {name: found.to_dict() for name, found in self.calibrated.items()},
            "confusion": self.confusion,
            "calibration": self.calibration and self.calibration.to_dict(),
            "label_worth": self.label_worth,
            "worst": [{**vars(one), "response": response_json(one.response)} for one in self.worst],
        }


def read_labels(
    sources: Sequence[str],
    *,
    principle: str | Mapping[str, Any] | None = None,
    unlabelled: Literal["refuse", "skip", "keep"] = "refuse",
) -> list[BenchItem]:
    """Read a user's labelled rows.

    A row has ``prompt``, and either ``response`` and ``score``, or ``responses`` and ``human_scores`` or the name of
    the ``winner``, or ``labels``: criterion of a rubric -> response -> score. It has ``principle`` unless one is given
    here. ``id``, ``group`` and ``scale`` (two numbers) are optional. Rows with the same prompt are one group.

    Args:
        sources: Files.
        principle: The principle of rows that have none; a rubric's as `Rubric.to_json` gives it.
        unlabelled: Whether rows that nobody has labelled yet are an error, are left out, or become items without
            labels.

    Raises:
        ConfigError: a file cannot be read, or a row is incomplete.
    """
    items: dict[str, BenchItem] = {}
    for source in sources:
        path = Path(source)
        if not path.is_file():
            raise ConfigError(f"There is no file {source}.")
        for where, row in read_rows(path):
            labelled = _has_label(row)
            if unlabelled == "skip" and not labelled:
                continue
            item = _labelled({"principle": principle, **_given(row)}, where, path.stem, required=unlabelled == "refuse")
            item = dataclasses.replace(item, labelled=labelled)
            if item.id in items:
                raise ConfigError(f"{where} has the id {item.id!r}, which another row has too.")
            items[item.id] = item
    if sources and not items and unlabelled != "skip":
        raise ConfigError(f"There are no labels in {', '.join(sources)}.")
    return list(items.values())


def count_unlabelled(sources: Sequence[str]) -> int:
    """The number of rows that nobody has labelled yet.

    Args:
        sources: Files.
    """
    return sum(not _has_label(row) for source in sources for _, row in read_rows(Path(source)))


def check_scale(items: Iterable[BenchItem], scale: ScoreRange | None) -> None:
    """Check before judging that all human scores lie within their scales.

    Args:
        items: The items.
        scale: The scale of rows without one. None: it is inferred later.

    Raises:
        ConfigError: a score lies outside its scale.
    """
    for item in (part for whole in items for part in whole.parts):
        ends = item.scale or scale
        for human in (item.human or {}).values() if item.rated and ends else ():
            assert ends is not None
            on_our_scale(human, ends, item.id)


def compare_labels(judged: Iterable[JudgedItem], *, scale: ScoreRange | None = None, worst: int = 20) -> LabelReport:
    """Compare a judge's scores with human scores.

    Args:
        judged: Items from `read_labels`, or any others with human scores.
        scale: Lowest and highest possible human score, for rows without a scale. None: 1..5 if all scores lie within
            it, otherwise the lowest and highest score present.
        worst: Maximum number of disagreements in the report.

    Raises:
        ConfigError: a score lies outside its scale.
    """
    rows = [
        (one, label, human, one.verdict.scores[label])
        for one in (part for one in judged for part in one.parts)
        if one.verdict is not None and one.item.rated
        for label, human in (one.item.human or {}).items()
    ]
    default = scale or default_scale([human for one, _, human, _ in rows if one.item.scale is None])
    people = [on_our_scale(human, one.item.scale or default, one.item.id) for one, _, human, _ in rows]
    scores = [score for *_, score in rows]
    groups = [one.item.group for one, *_ in rows]
    levels = _levels(people, {one.item.scale or default for one, *_ in rows})
    mapped = cross_calibrated(scores, people, groups)
    furthest = sorted(range(len(rows)), key=lambda i: -abs(scores[i] - people[i]))[:worst]
    about = {"model": rows[0][0].outcome.model, "labels": len(rows)} if rows else {}
    return LabelReport(
        scale=default,
        levels=levels,
        figures=_figures(people, scores, groups, levels),
        calibrated={} if mapped is None else _figures(people, mapped, groups, levels),
        confusion=agreement.confusion_matrix(
            agreement.nearest_levels(people, levels), agreement.nearest_levels(scores, levels), len(levels)
        ),
        calibration=fit_calibration(scores, people, about) if rows else None,
        label_worth=_label_worth(scores, people, groups),
        worst=tuple(
            _disagreement(rows[i][0], rows[i][1], people[i], scores[i]) for i in furthest if scores[i] != people[i]
        ),
    )


def _figures(
    people: Sequence[float], scores: Sequence[float], groups: Sequence[str], levels: Sequence[float]
) -> dict[str, Estimate]:
    human, judged = agreement.nearest_levels(people, levels), agreement.nearest_levels(scores, levels)
    errors = [score - person for score, person in zip(scores, people, strict=True)]
    size = len(levels)
    return {
        "kappa_quadratic": agreement.cohen_kappa(human, judged, groups, size, weights="quadratic"),
        "kappa": agreement.cohen_kappa(human, judged, groups, size),
        "krippendorff_alpha": agreement.interval_alpha(people, scores, groups),
        "spearman": agreement.pooled_spearman(people, scores, groups),
        "exact": mean([float(a == b) for a, b in zip(human, judged, strict=True)], groups, bounds=SHARE),
        "mae": mean([abs(error) for error in errors], groups, bounds=(0.0, 4.0)),
        "bias": mean(errors, groups, bounds=(-4.0, 4.0)),
    }


def _labelled(row: Mapping[str, Any], where: str, stem: str, *, required: bool) -> BenchItem:
    number = where.rpartition(" ")[2]
    about: dict[str, Any] = {"id": str(row.get("id", f"{stem}/{number}")), "source": stem}
    prompt = row.get("prompt")
    about["group"] = row.get("group") or (prompt if isinstance(prompt, str) else str(prompt))
    if row.get("response") is not None:
        about["responses"] = {"response": row["response"]}
        about["human_scores"] = None if row.get("score") is None else {"response": row["score"]}
    if row.get("winner") is not None:
        names = row.get("responses") or {}
        others = [str(name) for name in (names if isinstance(names, Mapping) else range(len(names)))]
        winner = str(row["winner"])
        ties = winner.lower() in ("tie", "both", "none") and winner not in others
        about["pairs"] = [] if ties else [[winner, other] for other in others if other != winner]
    item = read_item({**row, **about}, where)
    if required and not (item.human or item.pairs or item.criteria) and row.get("winner") is None:
        raise ConfigError(
            f"{where} has no label.",
            hint=LABEL_FIELDS,
        )
    return item


def _label_worth(scores: Sequence[float], people: Sequence[float], groups: Sequence[str]) -> float | None:
    if len(people) < 2:
        return None
    sample = LabelledSample(judged=scores, labels=people, bounds=(MIN_SCORE, MAX_SCORE), clusters=groups)
    return corrected_mean(sample).label_worth


def _has_label(row: Mapping[str, Any]) -> bool:
    """Whether a row has any label that is not null."""
    given = [row.get(name) for name in ("score", "winner", "pairs", "ranking")]
    scores = [row.get("human_scores"), *(labels.values() if isinstance(labels := row.get("labels"), Mapping) else ())]
    nested = [each.values() if isinstance(each, Mapping) else each or () for each in scores]
    return any(value is not None for value in [*given, *(value for values in nested for value in values)])


def _given(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def default_scale(human: Sequence[float]) -> ScoreRange:
    """1..5 if all scores lie within it, otherwise the lowest and the highest score."""
    if not human or (min(human) >= MIN_SCORE and max(human) <= MAX_SCORE):
        return MIN_SCORE, MAX_SCORE
    return (min(human), max(human)) if min(human) < max(human) else (min(human), min(human) + 1.0)


def _levels(people: Sequence[float], scales: set[ScoreRange]) -> tuple[float, ...]:
    distinct = sorted(set(people))
    whole_scores = scales == {(MIN_SCORE, MAX_SCORE)} and all(score == round(score) for score in distinct)
    if whole_scores or not 2 <= len(distinct) <= MAX_LEVELS:
        return 1.0, 2.0, 3.0, 4.0, 5.0
    return tuple(distinct)


def _disagreement(one: JudgedItem, label: str, human: float, score: float) -> Disagreement:
    verdict, prompt = one.verdict, one.item.prompt
    assert verdict is not None
    return Disagreement(
        id=one.item.id,
        label=label,
        prompt=prompt if isinstance(prompt, str) else "\n".join(str(turn.get("content", "")) for turn in prompt),
        response=one.item.responses[label],
        human=human,
        judged=score,
        reasoning=verdict.explanation,
        record_id=verdict.record_id,
    )
