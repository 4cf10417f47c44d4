"""How far several raters agree over many responses: Krippendorff's alpha."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rewardanything_core.types import JudgeFailure, Verdict

Level = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(ratings: Iterable[Sequence[Any]], level: Level = "interval") -> float | None:
    """Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").

    1 where all raters agree, 0 where they agree as they would by chance, below 0 where they disagree on purpose.

    Args:
        ratings: For each rater, the rating of each unit in the same order; None or NaN where there is none. A unit
            with fewer than two ratings does not count.
        level: What the ratings are: ``nominal`` for names (of any type), ``ordinal`` for places in an order,
            ``interval`` for numbers whose differences mean something.

    Returns:
        At most 1. None if nothing can be said: no unit has two ratings, or all ratings are the same.
    """
    if level not in ("nominal", "ordinal", "interval"):
        raise ValueError(f"level must be nominal, ordinal or interval, not {level!r}")
    rows = list(ratings)
    if len(set(map(len, rows))) > 1:
        raise ValueError("each rater needs a rating of every unit, or None in its place")
    rated = [[value for value in unit if not _missing(value)] for unit in zip(*rows, strict=True)]
    units = [unit for unit in rated if len(unit) > 1]
    pooled = [value for unit in units for value in unit]
    if len(set(pooled)) < 2:
        return None
    if level == "ordinal":
        # Krippendorff's ordinal difference of two ranks is that of their mean places among all ratings.
        place = _mean_places(pooled)
        units, pooled = [[place[value] for value in unit] for unit in units], [place[value] for value in pooled]
    differences = _unlike_pairs if level == "nominal" else _squared_differences
    observed = math.fsum(differences(unit) / (len(unit) - 1) for unit in units)
    return 1 - observed / (differences(pooled) / (len(pooled) - 1))


def juror_ratings(outcomes: Iterable[Verdict | JudgeFailure]) -> list[list[float | None]]:
    """The scores of a jury's jurors, for `krippendorff_alpha`.

    Args:
        outcomes: What one `Jury` said of many cases. A case without a verdict has no ratings.

    Returns:
        For each juror its score of each response of each case, None where the juror failed.

    Raises:
        ValueError: a verdict is not that of a jury, or of one with another number of jurors.
    """
    columns: list[list[float | None]] = []
    for outcome in outcomes:
        if isinstance(outcome, JudgeFailure):
            continue
        if not outcome.jurors:
            raise ValueError(f"The verdict of {outcome.model!r} is that of one judge; ratings are those of a jury.")
        columns += (
            [juror.scores[label] if isinstance(juror, Verdict) else None for juror in outcome.jurors]
            for label in outcome.scores
        )
    return [list(row) for row in zip(*columns, strict=True)]


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _unlike_pairs(values: Sequence[Any]) -> float:
    """How many ordered pairs of values differ."""
    return len(values) ** 2 - sum(count**2 for count in Counter(values).values())


def _squared_differences(values: Sequence[Any]) -> float:
    """The sum of the squared differences of all ordered pairs."""
    mean = math.fsum(values) / len(values)
    return 2 * len(values) * math.fsum((value - mean) ** 2 for value in values)


def _mean_places(values: Sequence[float]) -> dict[float, float]:
    places, below = {}, 0
    for value, count in sorted(Counter(values).items()):
        places[value] = below + (count + 1) / 2
        below += count
    return places
