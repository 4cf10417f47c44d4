"""Pairing: validates the rows of every side and joins them by id."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardanything_core.cases import Case
from rewardanything_core.conversations import Response, transcript
from rewardanything_core.conversations.trajectory import is_plain
from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.gate.results import BASELINE
from rewardanything_core.types import MAX_SCORE, MIN_SCORE, Message

Row = Mapping[str, Any]

_MAX_IDS_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class PairedCase:
    """One input with every side's answer to it."""

    id: str
    """The case's id; its row number, from 1, if rows have no ids."""

    prompt: str | tuple[Message, ...]
    """The prompt: a text or chat messages."""

    responses: dict[str, Response]
    """Side -> answer, a text or an agent's run; the baseline comes first."""

    context: str | None
    """Background for the judge. None: there is none."""

    reference: str | None
    """A good answer. None: there is none."""

    group: str
    """Identifies cases with the same input: the row's ``group``, else the prompt itself."""

    min_score: float | None
    """The score that candidates must reach in this case. None: no minimum."""

    worse: Response | None = None
    """An answer known to be worse than the baseline's. None: there is none."""

    @property
    def prompt_text(self) -> str:
        """The prompt as one text."""
        return prompt_text(self.prompt)


@dataclass(frozen=True, kw_only=True)
class PairedCases:
    """The result of `pair`."""

    items: list[PairedCase]
    """The cases that every side has, in the baseline's order."""

    missing: tuple[str, ...]
    """Ids left out because some side lacks them."""


def pair(baseline: Iterable[Row], candidates: Mapping[str, Iterable[Row]], *, common_only: bool) -> PairedCases:
    """Join the rows of the baseline and of the candidates by id.

    Args:
        baseline: Rows with ``prompt`` and ``response``, a text or a list of messages. Either every row has a unique
            ``id`` or none has one. ``context``, ``reference``, ``group``, ``min_score`` and ``worse`` may be given on
            any side.
        candidates: Name -> rows.
        common_only: Leave out ids that some side lacks, instead of raising.

    Raises:
        ConfigError: a row is invalid, an id occurs twice, or the sides differ in their ids or in a case's prompt.
    """
    if not candidates or BASELINE in candidates:
        raise ConfigError(f"Give at least one candidate, and name none of them {BASELINE!r}.")
    titles = {name: "the candidate" if len(candidates) == 1 else f"candidate {name!r}" for name in candidates} | {
        BASELINE: "the baseline"
    }
    return join({BASELINE: baseline, **candidates}, common_only=common_only, titles=titles)


def join(
    sides: Mapping[str, Iterable[Row]], *, common_only: bool, titles: Mapping[str, str] | None = None
) -> PairedCases:
    """Join the rows of several sides by id, in the order of the first side.

    Args:
        sides: Name -> rows, as for `pair`.
        common_only: Leave out ids that some side lacks, instead of raising.
        titles: Name -> what messages call the side. None: its name in quotation marks.

    Raises:
        ConfigError: as for `pair`.
    """
    titles = titles or {name: repr(name) for name in sides}
    indexed = {name: _indexed(rows, titles[name]) for name, rows in sides.items()}
    missing = _missing(indexed)
    if missing and not common_only:
        problems = "; ".join(f"{_id_list(ids)} not in {side}" for side, ids in missing.items())
        raise ConfigError(
            f"The sides do not have the same cases: {problems}.",
            hint="Record the missing outputs, or leave these cases out with common_only (--common-only).",
        )
    left_out = {key for ids in missing.values() for key in ids}
    items = [
        _paired_case(key, {side: rows[key] for side, rows in indexed.items()}, titles)
        for key in next(iter(indexed.values()))
        if key not in left_out
    ]
    if not items:
        raise ConfigError("There are no cases to compare.", hint="Check that all sides use the same ids.")
    return PairedCases(items=items, missing=tuple(sorted(left_out)))


def prompt_text(prompt: str | Sequence[Message]) -> str:
    """A prompt as one text.

    Args:
        prompt: The prompt of a `Case`.
    """
    if isinstance(prompt, str):
        return prompt
    if not all(map(is_plain, prompt)):
        return transcript(prompt)
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in prompt)


def _indexed(rows: Iterable[Row], side: str) -> dict[str, Row]:
    indexed: dict[str, Row] = {}
    rows_have_ids: bool | None = None
    for number, row in enumerate(rows, start=1):
        where = f"Row {number} of {side}"
        if not isinstance(row, Mapping):
            raise ConfigError(f"{where} must be a mapping, not {type(row).__name__}.")
        has_id = row.get("id") is not None
        if rows_have_ids is not None and has_id != rows_have_ids:
            article = "no" if rows_have_ids else "an"
            raise ConfigError(f"{where} has {article} id, unlike the rows before it; give all rows an id or none.")
        rows_have_ids = has_id
        key = str(row["id"]) if has_id else str(number)
        if key in indexed:
            raise ConfigError(f"{where} has the id {key!r}, which another row has too; ids must be unique.")
        _validate(row, f"{where} (id {key!r})" if has_id else where)
        indexed[key] = row
    if not indexed:
        raise ConfigError(f"There are no rows in {side}.")
    return indexed


def _validate(row: Row, where: str) -> None:
    for field in ("prompt", "response"):
        if row.get(field) is None:
            raise ConfigError(f"{where} has no {field!r}; it has: {', '.join(map(str, row)) or 'no fields'}.")
    minimum = row.get("min_score")
    if minimum is not None and (isinstance(minimum, bool) or not isinstance(minimum, int | float)):
        raise ConfigError(f"{where}: min_score must be a number, not {minimum!r}.")
    if minimum is not None and not MIN_SCORE <= minimum <= MAX_SCORE:
        raise ConfigError(f"{where}: min_score must be within 1..5, not {minimum!r}.")
    try:
        _case_of(row)
    except InvalidCaseError as error:
        problem = error.message.removeprefix("The case: ")
        raise ConfigError(f"{where} cannot be judged: {problem}") from error


def _case_of(row: Row) -> Case:
    answers = {name: row[name] for name in ("response", "worse") if row.get(name) is not None}
    return Case("-", row["prompt"], answers, row.get("reference"), row.get("context"))


def _missing(sides: Mapping[str, Mapping[str, Row]]) -> dict[str, list[str]]:
    """Side -> the ids that it lacks and another side has."""
    all_ids = dict.fromkeys(key for rows in sides.values() for key in rows)
    lacking = {side: [key for key in all_ids if key not in rows] for side, rows in sides.items()}
    return {side: ids for side, ids in lacking.items() if ids}


def _id_list(ids: Sequence[str]) -> str:
    shown = ", ".join(map(repr, ids[:_MAX_IDS_SHOWN]))
    return shown if len(ids) <= _MAX_IDS_SHOWN else f"{shown} and {len(ids) - _MAX_IDS_SHOWN} more are"


def _paired_case(key: str, rows: Mapping[str, Row], titles: Mapping[str, str]) -> PairedCase:
    cases = {side: _case_of(row) for side, row in rows.items()}
    first = next(iter(cases))
    prompt = cases[first].prompt
    for side, case in cases.items():
        if case.prompt != prompt:
            raise ConfigError(
                f"Case {key!r} has a different prompt in {side!r} than in {titles[first]}; answers to different "
                f"questions cannot be compared.",
                hint="Give every row an id if rows were paired by their number." if "id" not in rows[side] else "",
            )
    shared = {
        field: _shared_value(key, field, rows) for field in ("context", "reference", "group", "min_score", "worse")
    }
    return PairedCase(
        id=key,
        prompt=prompt,
        responses={side: case.responses["response"] for side, case in cases.items()},
        context=shared["context"],
        reference=shared["reference"],
        group=str(shared["group"]) if shared["group"] is not None else json.dumps(prompt, ensure_ascii=False),
        min_score=shared["min_score"],
        worse=next((case.responses["worse"] for case in cases.values() if "worse" in case.responses), None),
    )


def _shared_value(key: str, field: str, rows: Mapping[str, Row]) -> Any:
    given = {side: row[field] for side, row in rows.items() if row.get(field) is not None}
    values = list(given.values())
    if any(value != values[0] for value in values):
        raise ConfigError(f"Case {key!r} has different values of {field} in {' and '.join(map(repr, given))}.")
    return values[0] if values else None
