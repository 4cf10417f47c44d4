"""Two judges, principles or judging prompts over the same cases: which response is best, and how far scores shift."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from rewardanything_core.gate.reports.figures import Bar, histogram
from rewardanything_core.viewer.index import Index
from rewardanything_core.viewer.listing import PAGE

Kind: TypeAlias = Literal["model", "principle", "template"]

KINDS: tuple[Kind, ...] = ("model", "principle", "template")

MAX_VERDICTS = 100_000
"""Of each side, so many of the newest verdicts are compared."""

_MIDDLE = 3.0

# What is the same on both sides. Prompts of two judges may differ, since their wording is often chosen for the model.
_SAME = {"model": "judged", "principle": "material, model, template", "template": "judged, model"}


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
    with index.read() as connection:
        sides = [_newest(connection, kind, key) for key in (a, b)]
        pairs = [(one, sides[1][same]) for same, one in sides[0].items() if same in sides[1]]
        shifts = [(_flipped(one, other), other.mean - one.mean, one, other) for one, other in pairs]
        shifts.sort(key=lambda shift: (not shift[0], -abs(shift[1])))
        shown = _shown(connection, [entry for *_, one, other in shifts[:limit] for entry in (one.id, other.id)])
    differences = [difference for _, difference, *_ in shifts]
    return ComparedVerdicts(
        rows=[
            Shift(
                title=shown[one.id][1],
                a=shown[one.id][0],
                b=shown[other.id][0],
                a_mean=one.mean,
                b_mean=other.mean,
                flipped=flipped,
            )
            for flipped, _, one, other in shifts[:limit]
        ],
        cases=len(shifts),
        flips=sum(flipped for flipped, *_ in shifts),
        mean=sum(differences) / len(differences) if differences else 0.0,
        shifts=histogram([difference for difference in differences if difference]),
    )


class _Verdict(NamedTuple):
    id: int
    mean: float
    winner: int | None
    responses: int


def _newest(connection: sqlite3.Connection, kind: Kind, key: str) -> dict[tuple[int, ...], _Verdict]:
    """The newest verdict of each case on one side, by what is the same on the other."""
    rows = connection.execute(
        f"SELECT id, mean, winner, responses, {_SAME[kind]} FROM entries"  # noqa: S608
        f" WHERE {kind} = (SELECT id FROM names WHERE kind = ? AND key = ?) AND +mean IS NOT NULL"
        " ORDER BY id DESC LIMIT ?",
        (kind, key, MAX_VERDICTS),
    )
    found: dict[tuple[int, ...], _Verdict] = {}
    for entry, mean, winner, responses, *same in rows:
        found.setdefault(tuple(same), _Verdict(entry, mean, winner, responses))
    return found


def _flipped(one: _Verdict, other: _Verdict) -> bool:
    if one.responses > 1:
        return one.winner != other.winner
    return (one.mean > _MIDDLE) != (other.mean > _MIDDLE)


def _shown(connection: sqlite3.Connection, entries: Sequence[int]) -> dict[int, tuple[str, str]]:
    """Entry -> record and title."""
    marks = ",".join("?" * len(entries))
    rows = connection.execute(f"SELECT id, record_id, title FROM shown WHERE id IN ({marks})", list(entries))  # noqa: S608
    return {entry: (record, title) for entry, record, title in rows}
