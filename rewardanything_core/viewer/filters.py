"""Filters of the list of verdicts: from a URL's query to SQL and back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias
from urllib.parse import urlencode

from rewardanything_core.errors import ConfigError

Sort: TypeAlias = Literal["newest", "spread", "low", "tension", "random"]

SORTS: dict[str, tuple[str, str]] = {
    "newest": ("id", "DESC"),
    "spread": ("spread", "DESC"),
    "low": ("low", "ASC"),
    "tension": ("tension", "DESC"),
    "random": ("material", "ASC"),
}
"""Order -> the column and direction by which it sorts; ties by id."""

DISAGREEMENTS = {"jurors": "jurors", "passes": "passes", "label": "gap"}
"""Disagreement -> the column with the difference in points."""

MAX_NUMBER = 1e6
_DAY = 86_400_000  # milliseconds


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What to list. Fields that are empty or None do not restrict the list; the others all apply."""

    principle: str = ""
    """Key of a principle in the index."""

    criterion: str = ""
    """Name of a criterion. The range of scores is then about it."""

    model: str = ""
    """The judge model's name."""

    template: str = ""
    """Key of a judging prompt in the index."""

    source: str = ""
    """Name of a file."""

    min: float | None = None
    max: float | None = None
    """The range of the lowest score of a response, 1..5."""

    spread: float | None = None
    """The smallest spread, in points."""

    agreement: float | None = None
    """The largest agreement, 0..1."""

    failure: str = ""
    """``any``, ``none``, or the name of an error class."""

    disagree: str = ""
    """One of `DISAGREEMENTS`."""

    by: float | None = None
    """The smallest disagreement, in points. None: 1."""

    label: str = ""
    """``yes`` or ``no``: whether people labelled it."""

    since: str = ""
    until: str = ""
    """The first and the last day, such as 2026-11-29, local time."""

    q: str = ""
    """Words that the texts must have; text in quotation marks is a phrase."""

    sort: str = "newest"
    """One of `SORTS`."""

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filters:
        """The filters in a URL's query; other parameters are ignored.

        Raises:
            ConfigError: a value is invalid; the message names the parameter.
        """
        given: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if value := query.get(field.name, "").strip():
                given[field.name] = _number(field.name, value) if "float" in str(field.type) else value
        if given.get("sort", "newest") not in SORTS:
            raise ConfigError(f"sort must be one of {', '.join(SORTS)}, not {given['sort']!r}.")
        if given.get("disagree", "label") not in DISAGREEMENTS:
            raise ConfigError(f"disagree must be one of {', '.join(DISAGREEMENTS)}, not {given['disagree']!r}.")
        for name in ("since", "until"):
            if name in given:
                _day(name, given[name])
        return cls(**given)

    @property
    def given(self) -> dict[str, str]:
        """Name -> value, as in a URL, of those that differ from the defaults."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: f"{value:g}" if isinstance(value, float) else value
            for name, value in values.items()
            if value not in ("", None) and (name, value) != ("sort", "newest")
        }

    @property
    def restrictions(self) -> dict[str, str]:
        """`given` without the order."""
        return {name: value for name, value in self.given.items() if name != "sort"}

    def query(self, **changes: Any) -> str:
        """The query of a URL with these filters, with a ``?`` if there is any.

        Args:
            changes: Parameters to add or, with None, to leave out.
        """
        values = {name: value for name, value in {**self.given, **changes}.items() if value not in (None, "")}
        return f"?{urlencode(values, errors='replace')}" if values else ""

    @property
    def match(self) -> str:
        """The words to search for as an expression of FTS5; empty if there are none."""
        parts = re.findall(r'"([^"]+)"|(\S+)', self.q)
        texts = [" ".join(re.findall(r"\w+", phrase or word)) for phrase, word in parts]
        # Every word is quoted, so that nothing in it is an operator.
        return " ".join(f'"{text}"' for text in texts if text)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A condition in SQL on an entry ``e``."""

    sql: str
    """The condition; its column is ``{}`` if it is a range."""

    values: tuple[Any, ...]
    """Its parameters."""

    column: str = ""
    """The indexed column of a range. Empty: it is not a range, or has no index."""


def conditions(filters: Filters, sources: Mapping[str, int], bits: int) -> Iterator[Condition]:
    """The conditions of filters; search is not among them.

    Args:
        filters: The filters.
        sources: Name of a file -> its number in the index.
        bits: See `index.BITS`.
    """
    for kind in ("principle", "model", "template"):
        if key := getattr(filters, kind):
            named = "(SELECT id FROM names WHERE kind = ? AND key = ?)"
            yield Condition(sql=f"e.{kind} = {named}", values=(kind, key))
    if filters.source:
        number = sources.get(filters.source, -1)
        yield Condition(sql="e.id BETWEEN ? AND ?", values=(number << bits, (number + 1) << bits))
    yield from _scores(filters)
    if filters.spread is not None:
        yield Condition(sql="{} >= ?", values=(filters.spread,), column="spread" if filters.spread > 0 else "")
    if filters.agreement is not None:
        yield Condition(sql="{} <= ?", values=(filters.agreement,), column="agreement")
    if filters.failure == "none":
        yield Condition(sql="e.failure IS NULL", values=())
    elif filters.failure == "any":
        yield Condition(sql="{} > 0", values=(), column="failure")
    elif filters.failure:
        named = "(SELECT id FROM names WHERE kind = 'failure' AND key = ?)"
        yield Condition(sql=f"{{}} = {named}", values=(filters.failure,), column="failure")
    yield from _disagreement(filters)
    if filters.label:
        is_labelled = "e.id IN (SELECT id FROM labelled)"
        yield Condition(sql=f"NOT {is_labelled}" if filters.label == "no" else is_labelled, values=())
    if filters.since:
        yield Condition(sql="e.created >= ?", values=(_milliseconds(_day("since", filters.since)),))
    if filters.until:
        yield Condition(sql="e.created < ?", values=(_milliseconds(_day("until", filters.until)) + _DAY,))


def _scores(filters: Filters) -> Iterator[Condition]:
    low, high = filters.min, filters.max
    if filters.criterion:
        yield Condition(
            sql="EXISTS (SELECT 1 FROM criteria c WHERE c.id = e.id AND c.low BETWEEN ? AND ? AND c.criterion ="
            " (SELECT id FROM names WHERE kind = 'criterion' AND key = ?))",
            values=(-MAX_NUMBER if low is None else low, MAX_NUMBER if high is None else high, filters.criterion),
        )
    elif low is not None or high is not None:
        values = (-MAX_NUMBER if low is None else low, MAX_NUMBER if high is None else high)
        yield Condition(sql="{} BETWEEN ? AND ?", values=values, column="low")


def _disagreement(filters: Filters) -> Iterator[Condition]:
    least = 1.0 if filters.by is None else filters.by
    if filters.disagree == "label":
        yield Condition(sql="e.id IN (SELECT id FROM labelled WHERE gap >= ?)", values=(least,))
    elif filters.disagree:
        column = DISAGREEMENTS[filters.disagree]
        yield Condition(sql="{} >= ?", values=(max(least, 1e-9),), column=column)


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise ConfigError(f"{name} must be a number, not {value!r}.") from None
    if not abs(number) <= MAX_NUMBER:
        raise ConfigError(f"{name} must be a number from {-MAX_NUMBER:g} to {MAX_NUMBER:g}, not {value}.")
    return number


def _day(name: str, value: str) -> datetime:
    try:
        return datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError):
        raise ConfigError(f"{name} must be a day such as 2026-11-29, not {value!r}.") from None


def _milliseconds(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp() * 1000)
