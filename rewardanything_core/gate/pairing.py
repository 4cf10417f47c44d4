"""Pairing: rows of outputs, checked and brought together by id, so that every side answers the same prompt."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardanything_core.cases import Case
from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.gate.results import BASELINE
from rewardanything_core.types import MAX_SCORE, MIN_SCORE, Message

Row = Mapping[str, Any]

_SHOWN = 5  # ids in a message


@dataclass(frozen=True, kw_only=True)
class Item:
    """One input with every side's answer to it."""

    id: str
    """The case's id; where rows have none, its number among the rows, from 1."""

    prompt: str | tuple[Message, ...]
    """What was asked."""

    responses: dict[str, str]
    """Side -> its answer; the baseline first."""

    context: str | None
    """Background for the judge. None: there is none."""

    reference: str | None
    """A good answer. None: there is none."""

    group: str
    """What ties it to items with the same input: the row's ``group``, else the prompt itself."""

    min_score: float | None
    """The score that candidates must reach in this case. None: any."""

    worse: str | None = None
    """An answer that is known to be worse than the baseline's. None: there is none."""

    @property
    def prompt_text(self) -> str:
        """The prompt as one text."""
        if isinstance(self.prompt, str):
            return self.prompt
        return "\n\n".join(f"{message['role']}: {message['content']}" for message in self.prompt)


def pair(baseline: Iterable[Row], candidates: Mapping[str, Iterable[Row]], *, common_only: bool) -> Paired:
    """Bring the baseline's rows and the candidates' together.

    Args:
        baseline: Rows with ``prompt`` and ``response``; where rows have an ``id``, all must, each its own. ``context``,
            ``reference``, ``group``, ``min_score`` and ``worse`` may be given on any side.
        candidates: Name -> its rows.
        common_only: Leave out ids that not every side has, instead of refusing.

    Raises:
        ConfigError: a row is invalid, an id stands twice, sides differ in a case's prompt, or in their ids.
    """
    if not candidates or BASELINE in candidates:
        raise ConfigError(f"Give one candidate or more, none of them named {BASELINE!r}.")
    sides = {BASELINE: _indexed(baseline, "the baseline")}
    for name, rows in candidates.items():
        sides[name] = _indexed(rows, "the candidate" if len(candidates) == 1 else f"candidate {name!r}")
    missing = _missing(sides)
    if missing and not common_only:
        told = "; ".join(f"{_some(ids)} not in {side}" for side, ids in missing.items())
        raise ConfigError(
            f"The sides do not have the same cases: {told}.",
            hint="Record the missing outputs, or leave such cases out with common_only (--common-only).",
        )
    left_out = {key for ids in missing.values() for key in ids}
    items = [
        _item(key, {side: rows[key] for side, rows in sides.items()}) for key in sides[BASELINE] if key not in left_out
    ]
    if not items:
        raise ConfigError("There are no cases to compare.", hint="Check that both sides use the same ids.")
    return Paired(items=items, missing=tuple(sorted(left_out)))


@dataclass(frozen=True, kw_only=True)
class Paired:
    """What `pair` gives."""

    items: list[Item]
    """The cases that every side has, in the baseline's order."""

    missing: tuple[str, ...]
    """Ids left out."""


def _indexed(rows: Iterable[Row], side: str) -> dict[str, Row]:
    indexed: dict[str, Row] = {}
    named: bool | None = None
    for number, row in enumerate(rows, start=1):
        where = f"Row {number} of {side}"
        if not isinstance(row, Mapping):
            raise ConfigError(f"{where} must be a mapping, not {type(row).__name__}.")
        if (row.get("id") is not None) != (number == 1 if named is None else named) and named is not None:
            raise ConfigError(f"{where} has {'no' if named else 'an'} id, unlike those before it; give all or none.")
        named = row.get("id") is not None
        key = str(row["id"]) if named else str(number)
        if key in indexed:
            raise ConfigError(f"{where} has the id {key!r}, which another row has too; ids must be unique.")
        _check(row, f"{where} (id {key!r})" if named else where)
        indexed[key] = row
    if not indexed:
        raise ConfigError(f"There are no rows in {side}.")
    return indexed


def _check(row: Row, where: str) -> None:
    for field in ("prompt", "response"):
        if row.get(field) is None:
            raise ConfigError(f"{where} has no {field!r}; there are: {', '.join(map(str, row)) or 'no fields'}.")
    if not isinstance(row["response"], str):
        raise ConfigError(f"{where}: the response must be text, not {type(row['response']).__name__}.")
    if row.get("worse") is not None and not isinstance(row["worse"], str):
        raise ConfigError(f"{where}: 'worse' must be the text of an answer, not {type(row['worse']).__name__}.")
    floor = row.get("min_score")
    if floor is not None and (isinstance(floor, bool) or not isinstance(floor, int | float)):
        raise ConfigError(f"{where}: min_score must be a number, not {floor!r}.")
    if floor is not None and not MIN_SCORE <= floor <= MAX_SCORE:
        raise ConfigError(f"{where}: min_score must be within 1..5, not {floor!r}.")
    try:
        _case_of(row)
    except InvalidCaseError as error:
        raise ConfigError(f"{where} cannot be judged: {error.message}") from error


def _case_of(row: Row) -> Case:
    return Case("-", row["prompt"], [row["response"]], row.get("reference"), row.get("context"))


def _missing(sides: Mapping[str, Mapping[str, Row]]) -> dict[str, list[str]]:
    """Side -> ids that it lacks and another has."""
    everything = dict.fromkeys(key for rows in sides.values() for key in rows)
    lacking = {side: [key for key in everything if key not in rows] for side, rows in sides.items()}
    return {side: ids for side, ids in lacking.items() if ids}


def _some(ids: Sequence[str]) -> str:
    shown = ", ".join(map(repr, ids[:_SHOWN]))
    return shown if len(ids) <= _SHOWN else f"{shown} and {len(ids) - _SHOWN} more are"


def _item(key: str, rows: Mapping[str, Row]) -> Item:
    cases = {side: _case_of(row) for side, row in rows.items()}
    prompt = cases[BASELINE].prompt
    for side, case in cases.items():
        if case.prompt != prompt:
            raise ConfigError(
                f"Case {key!r} has another prompt in {side!r} than in the baseline; answers to different questions "
                f"cannot be compared.",
                hint="Give every row an id if rows were paired by their number." if "id" not in rows[side] else "",
            )
    common = {field: _agreed(key, field, rows) for field in ("context", "reference", "group", "min_score", "worse")}
    return Item(
        id=key,
        prompt=prompt,
        responses={side: row["response"] for side, row in rows.items()},
        context=common["context"],
        reference=common["reference"],
        group=str(common["group"]) if common["group"] is not None else json.dumps(prompt, ensure_ascii=False),
        min_score=common["min_score"],
        worse=common["worse"],
    )


def _agreed(key: str, field: str, rows: Mapping[str, Row]) -> Any:
    given = {side: row[field] for side, row in rows.items() if row.get(field) is not None}
    values = list(given.values())
    if any(value != values[0] for value in values):
        raise ConfigError(f"Case {key!r} has another {field} in {' than in '.join(map(repr, given))}.")
    return values[0] if values else None
