"""Krippendorff's alpha: how far several raters agree over many responses."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rewardanything_core.types import JudgeFailure, Verdict

Level = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(ratings: Iterable[Sequence[Any]], level: Level = "interval") -> float | None:
    """Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").

    1 is perfect agreement, 0 agreement by chance, and below 0 systematic disagreement.

    Args:
        ratings: For each rater, the rating of each unit in the same order; None or NaN where there is none. Units with
            fewer than two ratings are ignored.
        level: Level of measurement: ``nominal`` for names (of any type), ``ordinal`` for ranks, ``interval`` for
            numbers with meaningful differences.

    Returns:
        At most 1. None where alpha is undefined: no unit has two ratings, or all ratings are equal.

    Raises:
        ValueError: the level is unknown, or raters have different numbers of ratings.
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
        # The ordinal difference of two ranks is the difference of their mid-ranks among all ratings.
        rank = _mid_ranks(pooled)
        units, pooled = [[rank[value] for value in unit] for unit in units], [rank[value] for value in pooled]
    differences = _unlike_pairs if level == "nominal" else _squared_differences
    observed = math.fsum(differences(unit) / (len(unit) - 1) for unit in units)
    return 1 - observed / (differences(pooled) / (len(pooled) - 1))


def juror_ratings(outcomes: Iterable[Verdict | JudgeFailure]) -> list[list[float | None]]:
    """The scores of a jury's jurors, for `krippendorff_alpha`.

    Args:
        outcomes: The outcomes of one `Jury`. A case without a verdict has no ratings.

    Returns:
        For each juror, its scores of all responses of all cases; None where the juror failed.

    Raises:
        ValueError: a verdict is not a jury's, or the jury has another number of jurors.
    """
    columns: list[list[float | None]] = []
    for outcome in outcomes:
        if isinstance(outcome, JudgeFailure):
            continue
        if not outcome.jurors:
            raise ValueError(f"The verdict of {outcome.model!r} is not a jury's and has no jurors' ratings.")
        columns += (
            [juror.scores[label] if isinstance(juror, Verdict) else None for juror in outcome.jurors]
            for label in outcome.scores
        )
    return [list(row) for row in zip(*columns, strict=True)]


def _missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _unlike_pairs(values: Sequence[Any]) -> float:
    """Number of ordered pairs of different values."""
    return len(values) ** 2 - sum(count**2 for count in Counter(values).values())


def _squared_differences(values: Sequence[Any]) -> float:
    """Sum of the squared differences of all ordered pairs."""
    mean = math.fsum(values) / len(values)
    return 2 * len(values) * math.fsum((value - mean) ** 2 for value in values)


def _mid_ranks(values: Sequence[float]) -> dict[float, float]:
    ranks, below = {}, 0
    for value, count in sorted(Counter(values).items()):
        ranks[value] = below + (count + 1) / 2
        below += count
    return ranks
