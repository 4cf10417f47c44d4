"""Rows of a table: which columns make a case, and which a verdict adds. Files and data frames alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from rewardanything_core.cases import Case
from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.principles import Principle
from rewardanything_core.types import JudgeFailure, Verdict

Format: TypeAlias = Literal["jsonl", "csv", "parquet"]

RESULTS = ("scores", "ranking", "best", "agreement", "spread", "reasoning", "record_id", "error")
"""What `grade` adds to each row. ``error`` is None for a judged row, and all else is None for a failed one."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of the input."""

    place: str
    """Where it stands, for messages: ``line 7`` or ``row 7``."""

    columns: dict[str, Any] = field(default_factory=dict)
    """Its cells; text only if it came from CSV. Empty where it could not be read."""

    problem: str | None = None
    """Why it cannot be judged. None: it was read."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where in a row to find the parts of a case."""

    prompt: str
    """A text, or a list of chat messages."""

    responses: str | None
    """A mapping, a list, or a single text. None: see ``each_response``."""

    each_response: tuple[str, ...] = ()
    """Columns that hold one response each, labelled with the column's name."""

    principle: str | None = None
    """A principle for each row. None: one for all."""

    reference: str | None = None
    """None: there are no reference answers."""

    context: str | None = None
    """None: there is no context."""

    id: str | None = None
    """None: the cases have no ids."""

    @property
    def names(self) -> list[str]:
        """All of them."""
        names = [self.prompt, self.responses, *self.each_response, self.principle]
        return [name for name in (*names, self.reference, self.context, self.id) if name is not None]

    def check(self, seen: Iterable[str], prefix: str, where: str, *, option: str = "--{}-column") -> None:
        """Compare with the columns that there are.

        Args:
            seen: Their names.
            prefix: Of the columns that will be added.
            where: What has them, for messages.
            option: How the caller says which column to use, with the part of the case to be put in.

        Raises:
            ConfigError: one is missing, or has the name of one that will be added.
        """
        there = list(dict.fromkeys(seen))
        if missing := [name for name in self.names if name not in there]:
            raise ConfigError(
                f"{where} has no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, there))}.",
                hint=f"Say which to use with {option.format('prompt')}, {option.format('responses')} and the like.",
            )
        if clashes := [name for name in there if name in added(prefix)]:
            raise ConfigError(
                f"{where} already has a column {', '.join(map(repr, clashes))}, which would be written.",
                hint="Give the new columns other names with a prefix, such as judge_.",
            )

    def case(self, row: Row, principle: Principle | None, kind: Format) -> Case:
        """The case in a row.

        Args:
            row: A row that could be read.
            principle: For all rows. None: each has its own.
            kind: Where the row is from. In CSV lists and mappings are spelled in JSON, and an empty cell means none; in
                Parquet a mapping has every key, and null for those that it lacks.

        Raises:
            InvalidCaseError: there is none; the message says where.
        """
        texts_only = kind == "csv"
        try:
            return Case(
                principle=principle or Principle.of(self._of(row, self.principle, "principle")),
                prompt=self._prompt(row, texts_only),
                responses=self._responses(row, kind),
                reference=self._optional(row, self.reference, texts_only),
                context=self._optional(row, self.context, texts_only),
                id=self.case_id(row),
            )
        except (InvalidCaseError, ValueError) as error:
            field = getattr(error, "field", "responses")
            raise InvalidCaseError(f"In {row.place}: {error}", field=field, case_id=self.case_id(row)) from error

    def case_id(self, row: Row) -> str | None:
        """The row's id as text, or None."""
        value = None if self.id is None else row.columns.get(self.id)
        return None if value in (None, "") else str(value)

    def _of(self, row: Row, column: str | None, field: str) -> Any:
        assert column is not None
        if row.columns.get(column) is None:
            problem = "is null" if column in row.columns else "is not there"
            raise InvalidCaseError(f"the column {column!r} {problem}.", field=field)
        return row.columns[column]

    def _optional(self, row: Row, column: str | None, texts_only: bool) -> Any:
        value = None if column is None else row.columns.get(column)
        return None if texts_only and value == "" else value

    def _prompt(self, row: Row, texts_only: bool) -> Any:
        prompt = self._of(row, self.prompt, "prompt")
        if texts_only and prompt.lstrip().startswith("["):
            messages = _maybe_json(prompt)
            if isinstance(messages, list) and all(isinstance(m, dict) and "role" in m for m in messages):
                return messages
        return prompt

    def _responses(self, row: Row, kind: Format) -> Any:
        if self.each_response:
            return {column: self._of(row, column, "responses") for column in self.each_response}
        responses = self._of(row, self.responses, "responses")
        if kind == "parquet" and isinstance(responses, dict):
            return {label: text for label, text in responses.items() if text is not None}
        if kind == "csv" and responses.lstrip().startswith(("{", "[")):
            spelled = _maybe_json(responses)
            texts = spelled.values() if isinstance(spelled, dict) else spelled
            if isinstance(spelled, list | dict) and texts and all(isinstance(text, str) for text in texts):
                return spelled
        return [responses] if isinstance(responses, str) else responses


def _maybe_json(text: str) -> Any:
    """What a cell spells in JSON; None if it is just text. A key given twice is an error, not a text."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    return load_json(text)


def load_json(text: str) -> Any:
    """JSON, but strict about keys that are given twice, of which `json` would keep the last.

    Raises:
        ValueError: it is no JSON, or has a key twice.
    """
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return found


def added(prefix: str) -> list[str]:
    """The names of the columns that `grade` writes."""
    return [prefix + name for name in RESULTS]


def results(outcome: Verdict | JudgeFailure, prefix: str) -> dict[str, Any]:
    """What to write beside a row: every column, whatever the outcome."""
    found: dict[str, Any] = dict.fromkeys(RESULTS)
    if isinstance(outcome, Verdict):
        found |= {name: getattr(outcome, name) for name in RESULTS if name != "error"}
        found["record_id"] = " ".join(outcome.record_ids) or None
        found["reasoning"] = outcome.explanation  # a row has no room to say which response was model-1
    else:
        found |= {"record_id": outcome.record_id, "error": f"{outcome.error_type}: {outcome.message}"}
    return {prefix + name: value for name, value in found.items()}


def own(row: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The columns of a written row that came from the input."""
    results = set(added(prefix))
    return {name: value for name, value in row.items() if name not in results}
