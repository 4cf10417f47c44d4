"""Files of cases and of outputs. A row that cannot be used stops the command before any model is called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from rewardanything_core.cli._row_readers import STANDARD, format_of, read_rows
from rewardanything_core.errors import ConfigError
from rewardanything_core.tables.columns import OPTIONAL_PARTS, FileFormat, InputRow, plain_cell

Cells: TypeAlias = dict[str, Any]

_NAMED = ("id", "prompt", "response")

_MESSAGES = ("prompt", "response", "worse")
"""Columns that may hold messages."""

KNOWN = (*_NAMED, *OPTIONAL_PARTS, "group", "min_score", "worse")
"""The columns that a check uses; all others are inputs for prompts and applications."""


@dataclass(frozen=True, kw_only=True)
class ColumnNames:
    """The names of columns in the user's files. None: the default name."""

    id: str | None = None
    """The case's id."""

    prompt: str | None = None
    """The prompt."""

    response: str | None = None
    """The answer."""

    def of(self, column: str) -> str:
        """The name of a column in the files."""
        return getattr(self, column, None) or column


def read_outputs(path: str, names: ColumnNames, *, recorded: bool = False) -> list[Cells]:
    """Read a file of outputs: rows with ``prompt`` and ``response``.

    Args:
        path: The file.
        names: The names of its columns.
        recorded: Whether `baseline` may have written the file, which uses the default names.

    Raises:
        ConfigError: the file or a row cannot be used; the message names the line.
    """
    return _read(path, names, needed=("prompt", "response"), recorded=recorded)


def read_cases(path: str, names: ColumnNames) -> list[Cells]:
    """Read a data set, whose rows may have any columns.

    Args:
        path: The file.
        names: The names of its columns.

    Raises:
        ConfigError: the file or a row cannot be used; the message names the line.
    """
    return _read(path, names, needed=tuple(c for c in ("id", "prompt") if getattr(names, c) is not None))


def case_name(row: Mapping[str, Any], number: int) -> str:
    """The name of a case in messages: its id, or else its number.

    Args:
        row: The case.
        number: Its number, from 1.
    """
    return f"case {number}" if row.get("id") is None else f"case {row['id']!r}"


def key_of(row: Mapping[str, Any], number: int) -> str:
    """The key that pairs a row with those of other files: its id as text, or else its number.

    Args:
        row: The row.
        number: Its number, from 1.
    """
    return str(number) if row.get("id") is None else str(row["id"])


def prompt_of(row: Mapping[str, Any]) -> Any:
    """The question that the judge sees: the row's ``prompt``, or else its inputs as text."""
    if row.get("prompt") is not None:
        return row["prompt"]
    inputs = {name: field_text(value) for name, value in row.items() if name not in KNOWN and value is not None}
    if len(inputs) == 1:
        return next(iter(inputs.values()))
    return "\n\n".join(f"{name}: {text}" for name, text in inputs.items())


def field_text(value: Any) -> str:
    """A field's value in a prompt: text as it is, anything else in JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _read(path: str, names: ColumnNames, *, needed: tuple[str, ...], recorded: bool = False) -> list[Cells]:
    file_format = format_of(path) or ("jsonl" if path == STANDARD else None)
    if file_format is None:
        raise ConfigError(
            f"The name of {path} does not imply a format.", hint="Files end in .jsonl, .ndjson, .csv, .parquet or .pq."
        )
    raw = [_readable(row, path) for row in read_rows(path, file_format)]
    if not raw:
        raise ConfigError(f"{path} has no rows.")
    columns = dict.fromkeys(column for row in raw for column in row.columns)
    for column in needed:
        if names.of(column) not in columns and not (recorded and column in columns):
            raise ConfigError(
                f"{path} has no column {names.of(column)!r}; it has {', '.join(map(repr, columns)) or 'none'}.",
                hint=f"Name the column to use with --{column}-column.",
            )
    renamed = {column: name for column in _NAMED if (name := names.of(column)) != column and name in columns}
    rows = []
    for row in raw:
        where = f"{path}, {row.place}"
        cells = _with_known_names(row.columns, renamed)
        _refuse_unreadable(row, cells, renamed, where)
        cells = _with_plain_cells(cells, file_format, where)
        for column in needed:
            if cells.get(column) is None:
                name = renamed.get(column, column)
                empty = ' An empty answer cannot be written in CSV; use JSON lines ("response": "").'
                raise ConfigError(
                    f"{where} has no {name!r}.{empty if file_format == 'csv' and column == 'response' else ''}"
                )
        rows.append((row.place, cells))
    _refuse_duplicate_ids(path, rows)
    return [cells for _, cells in rows]


def _readable(row: InputRow, path: str) -> InputRow:
    if row.problem is not None:
        raise ConfigError(f"{path}, {row.place}: {row.problem}.")
    return row


def _refuse_unreadable(row: InputRow, cells: Cells, renamed: Mapping[str, str], where: str) -> None:
    """Refuse a cell without a Python value in a column that the judge sees; other columns have text in its place."""
    for column in KNOWN if cells.get("prompt") is not None else cells:
        name = renamed.get(column, column)
        if name in row.unreadable:
            raise ConfigError(f"{where}: the column {name!r} {row.unreadable[name]}.")


def _with_known_names(columns: Mapping[str, Any], renamed: Mapping[str, str]) -> Cells:
    """A row with the default names added for renamed columns. The id is kept under the default name only."""
    cells = {name: value for name, value in columns.items() if name not in renamed and name != renamed.get("id")}
    return cells | {column: columns.get(name) for column, name in renamed.items()}


def _with_plain_cells(cells: Cells, file_format: FileFormat, where: str) -> Cells:
    """The values of a row. In CSV an empty cell is None, and prompts and answers may be messages in JSON."""
    is_csv = file_format == "csv"
    values: Cells = {name: None if is_csv and value == "" else value for name, value in cells.items()}
    if is_csv and values.get("min_score") is not None:
        try:
            values["min_score"] = float(str(values["min_score"]))
        except ValueError:
            raise ConfigError(f"{where}: min_score must be a number, not {values['min_score']!r}.") from None
    for column in _MESSAGES:
        if values.get(column) is not None:
            try:
                values[column] = plain_cell(column, values[column], file_format)
            except ValueError as error:
                raise ConfigError(f"{where}: {str(error).rstrip('.')}.") from error
    return values


def _refuse_duplicate_ids(path: str, rows: list[tuple[str, Cells]]) -> None:
    places: dict[str, str] = {}
    for place, cells in rows:
        if cells.get("id") is None:
            continue
        key = str(cells["id"])
        if key in places:
            raise ConfigError(f"{path}, {place}: the id {key!r} is already in {places[key]}; ids must be unique.")
        places[key] = place
