"""Rows of a table as cases. Files and data frames share this module."""

from __future__ import annotations

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from rewardanything_core.cases import Case, as_responses
from rewardanything_core.conversations import is_conversation
from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.principles import Principle
from rewardanything_core.tables.results import ResultColumns

FileFormat: TypeAlias = Literal["jsonl", "csv", "parquet"]

OPTIONAL_PARTS = ("context", "reference")
"""Parts of a case that are read from the columns of these names, in rows that have them, unless others are named."""

_PYTHON_CONTAINER = re.compile(r"""\s*[\[{]\s*(?:[\[{(]\s*)*['"]""")
"""The start of a list or mapping of strings as Python prints it."""

_PYTHON_MESSAGES = re.compile(r"\s*\[\s*\{\s*'(?:role|content)'\s*:")
"""The start of a list of chat messages as Python prints it."""


@dataclass(frozen=True, kw_only=True)
class InputRow:
    """One row of the input."""

    place: str
    """Where the row is, for messages: ``line 7`` or ``row 7``."""

    columns: dict[str, Any] = field(default_factory=dict)
    """Column -> cell. All cells of a CSV file are text. Empty if the row could not be read."""

    problem: str | None = None
    """Why the row cannot be judged. None: it was read."""

    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Column -> why Python has no value for its cell; ``columns`` has a text in its place."""


@dataclass(frozen=True, kw_only=True)
class CaseColumns:
    """The columns that hold the parts of a case."""

    prompt: str
    """A text, or a list of chat messages."""

    responses: str | None
    """A mapping label -> response, a list of responses, or a single response. A response is a text or a list of
    messages. None: see ``each_response``."""

    each_response: tuple[str, ...] = ()
    """Columns that hold one response each, a text or a list of messages, labelled with the column's name."""

    principle: str | None = None
    """The principle of each row: a text, or a rubric as a mapping or in JSON. None: one principle applies to all
    rows."""

    reference: str | None = None
    """A reference answer. None: the column ``reference``, in rows that have it. Empty: there are no references."""

    context: str | None = None
    """Background for the judge. None: the column ``context``, in rows that have it. Empty: there is no context."""

    id: str | None = None
    """The ids of the cases. None: the cases have no ids."""

    @property
    def names(self) -> list[str]:
        """The columns that a table must have."""
        optional = (self.reference or None, self.context or None, self.id)
        names = (self.prompt, self.responses, *self.each_response, self.principle, *optional)
        return [name for name in names if name is not None]

    def present(self, available: Container[str]) -> list[str]:
        """The columns that are read: all of `names`, and those of `OPTIONAL_PARTS` that a table has.

        Args:
            available: The names of the table's columns.
        """
        by_default = [part for part in OPTIONAL_PARTS if self._optional(part) == part and part in available]
        return list(dict.fromkeys([*self.names, *by_default]))

    def _optional(self, part: str) -> str | None:
        """The column of one of `OPTIONAL_PARTS`; None: there is none."""
        named: str | None = getattr(self, part)
        if named is None:
            return None if part in self.names else part
        return named or None

    def check(self, seen: Iterable[str], added: ResultColumns, where: str, *, option: str = "--{}-column") -> None:
        """Compare these columns with those of a table.

        Args:
            seen: The names of the table's columns.
            added: The columns that will be added.
            where: The table, for messages.
            option: How the caller names a column, with ``{}`` for the part of the case.

        Raises:
            ConfigError: a column is missing or ambiguous, or has the name of a column that will be added.
        """
        available = Counter(iter(seen))
        if missing := [name for name in self.names if name not in available]:
            raise ConfigError(
                f"{where} has no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, available))}.",
                hint=f"Name the column to use with {option.format('prompt')}, {option.format('responses')} and so on.",
            )
        if ambiguous := [name for name in self.present(available) if available[name] > 1]:
            raise duplicate_columns(where, ambiguous)
        if clashes := [name for name in available if name in added.names]:
            raise ConfigError(
                f"{where} already has a column {', '.join(map(repr, clashes))}, which would be overwritten.",
                hint="Give the new columns other names with a prefix, such as judge_.",
            )

    def case(self, row: InputRow, principle: Principle | None, file_format: FileFormat) -> Case:
        """The case in a row.

        Nothing is guessed: a cell that is not one of the accepted forms is refused.

        - A response column of its own (``each_response``) holds a text, which is judged as it is, or the messages of a
          conversation or agent run. In CSV a JSON list of messages is read as such, and any other text that looks
          like JSON is text; elsewhere another mapping or list or a number is refused.
        - ``responses`` holds a mapping label -> response, a list of responses, or one response; a list of messages is
          one. In CSV all but a text are written in JSON, and any other cell that begins with ``{`` or ``[`` is
          refused. Elsewhere a text that itself spells a list or a mapping is refused.
        - ``principle`` holds a text, or a rubric as a mapping or in JSON; a text that begins with ``{`` and is not a
          rubric in JSON is refused.
        - An empty CSV cell and NaN, as data frames have it for a missing value, mean the same as a null.
        - In Parquet and in data frames, a null in a mapping is a label, a criterion, a setting, or a part or argument
          of a message that the row does not have, since the mappings of all rows have the same keys there.

        Args:
            row: The row.
            principle: The principle for all rows. None: each row has its own.
            file_format: Where the row comes from; data frames count as Parquet.

        Raises:
            InvalidCaseError: the row makes no valid case; the message names the place and the column.
        """
        try:
            if row.problem is not None:
                raise ValueError(f"{row.problem}.")
            cells = self._cells(row, file_format)
            for column, problem in row.unreadable.items():
                if column in cells:
                    raise ValueError(f"the column {column!r} {problem}.")
            fields = {
                "principle": principle or self._principle(cells, file_format),
                "prompt": plain_cell(self.prompt, self._required(cells, self.prompt, "prompt"), file_format),
                "responses": self._responses(cells, file_format),
                **{part: cells.get(name) for part in OPTIONAL_PARTS if (name := self._optional(part)) is not None},
            }
            return self._case(fields, self.case_id(row))
        except (InvalidCaseError, ValueError) as error:
            part = getattr(error, "field", "row")
            raise InvalidCaseError(f"In {row.place}: {error}", field=part, case_id=self.case_id(row)) from error

    def _case(self, fields: Mapping[str, Any], case_id: str | None) -> Case:
        try:
            return Case(**fields, id=case_id)
        except InvalidCaseError as error:
            column = {"prompt": self.prompt, "responses": self.responses}.get(error.field)
            where = "" if column is None else f"the column {column!r}: "
            problem = str(error).removeprefix("The case: ")
            raise InvalidCaseError(f"{where}{problem}", field=error.field, case_id=case_id) from error

    def case_id(self, row: InputRow) -> str | None:
        """The row's id as text, or None."""
        value = None if self.id is None else row.columns.get(self.id)
        return None if value in (None, "") or _is_nan(value) else str(value)

    def _cells(self, row: InputRow, file_format: FileFormat) -> dict[str, Any]:
        cells = {name: row.columns[name] for name in self.present(row.columns) if name in row.columns}
        empty = "" if file_format == "csv" else None
        return {name: None if value == empty or _is_nan(value) else value for name, value in cells.items()}

    def _required(self, cells: Mapping[str, Any], column: str | None, part: str) -> Any:
        assert column is not None
        if cells.get(column) is None:
            problem = "is null or empty" if column in cells else "is missing"
            raise InvalidCaseError(f"the column {column!r} {problem}.", field=part)
        return cells[column]

    def _principle(self, cells: Mapping[str, Any], file_format: FileFormat) -> Principle:
        value = self._required(cells, self.principle, "principle")
        if isinstance(value, str) and value.lstrip().startswith("{"):
            value = _json_or_none(value)
            if not isinstance(value, dict):
                raise InvalidCaseError(
                    f"the column {self.principle!r} begins with {{ and is not valid JSON. Write a principle in plain "
                    'words, or a rubric as {"criteria": {"name": "text"}}.',
                    field="principle",
                )
        return Principle.of(_without_nulls(value) if file_format == "parquet" else value)

    def _responses(self, cells: Mapping[str, Any], file_format: FileFormat) -> Any:
        if self.each_response:
            given = {column: self._required(cells, column, "responses") for column in self.each_response}
            return {name: _single_response(name, plain_cell(name, cell, file_format)) for name, cell in given.items()}
        assert self.responses is not None
        value = self._required(cells, self.responses, "responses")
        if isinstance(value, str):
            return _responses_in_text(self.responses, value, decode=file_format == "csv")
        return as_responses(_without_nulls(value) if file_format == "parquet" else value)


def plain_cell(column: str, value: Any, file_format: FileFormat) -> Any:
    """A prompt or a response, which in CSV may be messages in JSON, and in Parquet has nulls for what it lacks.

    Args:
        column: Its column.
        value: The cell.
        file_format: Where it comes from.

    Raises:
        ValueError: as for `messages_from_csv`.
    """
    if file_format == "csv":
        return messages_from_csv(column, value)
    return _without_nulls(value) if file_format == "parquet" else value


def _single_response(column: str, value: Any) -> Any:
    if _is_response(value):
        return value
    raise InvalidCaseError(
        f"the column {column!r} holds {_described(value)}, neither text nor messages. Write it as text to judge it as "
        f"it is, or use --responses-column (responses_column) for a mapping or a list of responses.",
        field="responses",
    )


def _is_response(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, dict | list) and is_conversation(value))


def _responses_in_text(column: str, text: str, *, decode: bool) -> Any:
    """The responses in a cell that is text: one response, or several in JSON if ``decode`` is set."""
    is_tuple = _is_python_tuple(text)
    if not text.lstrip().startswith(("{", "[")) and not is_tuple:
        return [text]
    value = _json_or_none(text)
    advice = (
        f"Write {'the cell in JSON' if decode else 'a list or a mapping'}: label -> response, a list of responses, or "
        f"a list of messages. If this text is one response, use --response-column {column} (response_columns)."
    )
    if decode:
        if value is None:
            spelled = " but as Python prints it" if is_tuple or _PYTHON_CONTAINER.match(text) else ""
            problem = f"is neither plain text nor valid JSON{spelled}"
        elif not value:
            problem = "has no responses"
        elif odd := [item for item in _items(as_responses(value)) if not _is_response(item[1])]:
            problem = f"has {_described(odd[0][1])} at {odd[0][0]!r}, neither text nor messages"
        else:
            return as_responses(value)
    elif value is not None or is_tuple or _is_python_container(text):
        problem = "holds a text that spells a list or a mapping"
    else:
        return [text]
    raise InvalidCaseError(f"the column {column!r} {problem}. {advice}", field="responses")


def _json_or_none(text: str) -> dict[str, Any] | list[Any] | None:
    """The mapping or list that a text spells in JSON; None if it is not JSON. A repeated key raises ValueError."""
    try:
        value = load_json(text)
    except DuplicateKeyError:
        raise
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _without_nulls(value: Any) -> Any:
    """The value without the nulls in its mappings."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {key: _without_nulls(item) for key, item in value.items() if item is not None}


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _is_python_container(text: str) -> bool:
    return _PYTHON_CONTAINER.match(text) is not None and text.rstrip().endswith(("]", "}"))


def _is_python_tuple(text: str) -> bool:
    """Whether a text is a tuple of texts as Python prints it; other texts may begin with a parenthesis."""
    if not (text.strip().startswith(("('", '("')) and text.rstrip().endswith(")")):
        return False
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False
    return isinstance(value, tuple) and all(isinstance(item, str) for item in value)


def _items(value: dict[str, Any] | list[Any]) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value)


def _described(value: Any) -> str:
    """A value that is not text, for messages, in the words of JSON."""
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, bool):
        return str(value).lower()
    return f"the number {value}" if isinstance(value, int | float) else f"a {type(value).__name__}"


def messages_from_csv(column: str, text: str) -> Any:
    """A prompt or response in a CSV cell: messages if the cell spells a JSON list of them, otherwise the text itself.

    Args:
        column: The name of the column, for the error message.
        text: The cell.

    Raises:
        ValueError: the cell spells chat messages as Python prints them, or in JSON with a repeated key.
    """
    if not text.lstrip().startswith("["):
        return text
    value = _json_or_none(text)
    if value is None and _PYTHON_MESSAGES.match(text):
        raise ValueError(f"the column {column!r} holds messages as Python prints them; write them in JSON.")
    are_messages = isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    return value if are_messages and any("role" in item for item in value or ()) else text


class DuplicateKeyError(ValueError):
    """A JSON object has a key twice."""


def load_json(text: str) -> Any:
    """Parse JSON, refusing objects that have a key twice, of which `json` would keep the last.

    Raises:
        DuplicateKeyError: a key appears twice.
        ValueError: the text is not valid JSON.
    """
    return json.loads(text, object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) < len(pairs):
        raise DuplicateKeyError(f"the key {next(iter(repeated(key for key, _ in pairs)))!r} appears twice")
    return parsed


def repeated(names: Iterable[str]) -> list[str]:
    """The names that appear more than once, each once, in order. Takes linear time."""
    return [name for name, count in Counter(iter(names)).items() if count > 1]


def duplicate_columns(where: str, names: Iterable[str]) -> ConfigError:
    """The error for a table with several columns of one name.

    Args:
        where: The table, for messages.
        names: The names in question.
    """
    return ConfigError(
        f"{where} has more than one column named {', '.join(map(repr, names))}.",
        hint="Rename or remove the others, so that each name means one column.",
    )
