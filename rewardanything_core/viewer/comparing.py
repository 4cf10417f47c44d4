"""Two judges, principles or judging prompts over the same cases: who is best, and how far scores shift."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rewardanything_core.gate.reports.figures import Bar, histogram
from rewardanything_core.viewer.index import Index
from rewardanything_core.viewer.listing import PAGE

Kind: TypeAlias = Literal["model", "principle", "template"]

KINDS: tuple[Kind, ...] = ("model", "principle", "template")

_MAX_CASES = 200_000
_MIDDLE = 3.0

# The newest verdict of each case under A and under B. What else could differ is the same on both sides, except the
# judging prompt of two models, which is often worded for the model.
_SAME = {
    "model": "x.judged = y.judged",
    "principle": "x.model = y.model AND x.template = y.template",
    "template": "x.judged = y.judged AND x.model = y.model",
}
_PAIRS = """
    WITH x AS (SELECT max(id) AS id, material, judged, model, template FROM entries
               WHERE {kind} = (SELECT id FROM names WHERE kind = :kind AND key = :a) AND failure IS NULL
               GROUP BY judged, model, template),
         y AS (SELECT max(id) AS id, material, judged, model, template FROM entries
               WHERE {kind} = (SELECT id FROM names WHERE kind = :kind AND key = :b) AND failure IS NULL
               GROUP BY judged, model, template)
    SELECT s.title, s.record_id, t.record_id, one.mean, other.mean, one.winner, other.winner,
           json_array_length(s.scores)
    FROM x JOIN y ON x.material = y.material AND {same}
    JOIN entries one ON one.id = x.id JOIN entries other ON other.id = y.id
    JOIN shown s ON s.id = x.id JOIN shown t ON t.id = y.id
    ORDER BY x.id DESC LIMIT :limit
"""


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A case with both verdicts."""

    title: str
    """The beginning of the prompt."""

    a: str
    b: str
    """The records."""

    a_mean: float
    b_mean: float
    """Mean scores of the responses, 1..5."""

    flipped: bool
    """Whether another response is best, or with one response the score is on the other side of 3."""


@dataclass(frozen=True, kw_only=True)
class ComparedVerdicts:
    """The result of a comparison."""

    rows: Sequence[Shift]
    """The first cases: flips first, then the largest shifts."""

    cases: int
    """Number of cases."""

    flips: int
    """How many flipped."""

    mean: float
    """Mean difference of B and A, in points."""

    shifts: Sequence[Bar]
    """The distribution of the differences. Empty: no case has one."""


def compare(index: Index, kind: Kind, a: str, b: str, *, limit: int = 2 * PAGE) -> ComparedVerdicts:
    """Compare the verdicts of two judges, principles or judging prompts on the cases that have both.

    Args:
        index: The index.
        kind: What ``a`` and ``b`` are.
        a: Key of one of them in the index.
        b: Key of the other.
        limit: Maximum number of rows.
    """
    sql = _PAIRS.format(kind=kind, same=_SAME[kind])
    with index.read() as connection:
        found = connection.execute(sql, {"kind": kind, "a": a, "b": b, "limit": _MAX_CASES}).fetchall()
    shifts = [
        Shift(
            title=title,
            a=one,
            b=other,
            a_mean=a_mean,
            b_mean=b_mean,
            flipped=a_winner != b_winner if responses > 1 else (a_mean > _MIDDLE) != (b_mean > _MIDDLE),
        )
        for title, one, other, a_mean, b_mean, a_winner, b_winner, responses in found
    ]
    shifts.sort(key=lambda shift: (not shift.flipped, -abs(shift.b_mean - shift.a_mean)))
    differences = [shift.b_mean - shift.a_mean for shift in shifts]
    return ComparedVerdicts(
        rows=shifts[:limit],
        cases=len(shifts),
        flips=sum(shift.flipped for shift in shifts),
        mean=sum(differences) / len(differences) if differences else 0.0,
        shifts=histogram([difference for difference in differences if difference]),
    )
