"""Files of cases and of outputs, read strictly: a row that cannot be used stops the command before anything is paid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from rewardanything_core.cli._rows import STANDARD, format_of, read_rows
from rewardanything_core.errors import ConfigError
from rewardanything_core.tables.columns import Row, load_json

Cells: TypeAlias = dict[str, Any]

_NAMED = ("id", "prompt", "response")

KNOWN = ("id", "prompt", "response", "context", "reference", "group", "min_score", "worse")
"""The columns that mean something to a check; all others are inputs that prompts and applications may use."""


@dataclass(frozen=True, kw_only=True)
class Names:
    """What the columns are called in the user's files. None: as here."""

    id: str | None = None
    """The case's id."""

    prompt: str | None = None
    """What was asked."""

    response: str | None = None
    """The answer."""

    def of(self, column: str) -> str:
        """The name of a column in the files."""
        return getattr(self, column, None) or column


def read_outputs(path: str, names: Names, *, recorded: bool = False) -> list[Cells]:
    """The rows of a file of outputs, with ``prompt`` and ``response``.

    Args:
        path: The file.
        names: What its columns are called.
        recorded: Whether `baseline` may have written it, with the names that are known here whatever others have.

    Raises:
        ConfigError: the file or a row cannot be used; the message says which line.
    """
    return _read(path, names, needed=("prompt", "response"), recorded=recorded)


def read_cases(path: str, names: Names) -> list[Cells]:
    """The rows of a data set: of any columns, ``prompt`` among them or not.

    Raises:
        ConfigError: the file or a row cannot be used; the message says which line.
    """
    return _read(path, names, needed=tuple(c for c in ("id", "prompt") if getattr(names, c) is not None))


def case_name(row: Mapping[str, Any], number: int) -> str:
    """How a message speaks of a case: by its id, else by its number from 1."""
    return f"case {number}" if row.get("id") is None else f"case {row['id']!r}"


def key_of(row: Mapping[str, Any], number: int) -> str:
    """What pairs a row with its like: its id as text, else its number from 1."""
    return str(number) if row.get("id") is None else str(row["id"])


def prompt_of(row: Mapping[str, Any]) -> Any:
    """What the judge is shown as the question: the row's own ``prompt``, else its inputs laid out as text."""
    if row.get("prompt") is not None:
        return row["prompt"]
    inputs = {name: as_text(value) for name, value in row.items() if name not in KNOWN and value is not None}
    if len(inputs) == 1:
        return next(iter(inputs.values()))
    return "\n\n".join(f"{name}: {text}" for name, text in inputs.items())


def as_text(value: Any) -> str:
    """A field's value as it stands in a prompt: text as it is, anything else in JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _read(path: str, names: Names, *, needed: tuple[str, ...], recorded: bool = False) -> list[Cells]:
    kind = format_of(path) or ("jsonl" if path == STANDARD else None)
    if kind is None:
        raise ConfigError(
            f"The name of {path} does not say its format.", hint="Files end in .jsonl, .ndjson, .csv, .parquet or .pq."
        )
    raw = [_readable(row, path) for row in read_rows(path, kind)]
    if not raw:
        raise ConfigError(f"{path} has no rows.")
    columns = dict.fromkeys(column for row in raw for column in row.columns)
    for column in needed:
        if names.of(column) not in columns and not (recorded and column in columns):
            raise ConfigError(
                f"{path} has no column {names.of(column)!r}; it has {', '.join(map(repr, columns)) or 'none'}.",
                hint=f"Say which it is with --{column}-column.",
            )
    own = {column: name for column in _NAMED if (name := names.of(column)) != column and name in columns}
    rows = []
    for row in raw:
        where = f"{path}, {row.place}"
        cells = _known(row.columns, own)
        rows.append((row.place, _from_csv(cells, where) if kind == "csv" else cells))
        for column in needed:
            if rows[-1][1].get(column) is None:
                raise ConfigError(f"{where} has no {own.get(column, column)!r}.")
    _refuse_duplicates(path, rows)
    return [cells for _, cells in rows]


def _readable(row: Row, path: str) -> Row:
    if row.problem is not None:
        raise ConfigError(f"{path}, {row.place}: {row.problem}.")
    return row


def _known(columns: Mapping[str, Any], own: Mapping[str, str]) -> Cells:
    """A row with the columns that are known here beside the user's own; an id need not be there twice."""
    cells = {name: value for name, value in columns.items() if name not in own and name != own.get("id")}
    return cells | {column: columns.get(name) for column, name in own.items()}


def _from_csv(cells: Cells, where: str) -> Cells:
    """What text-only cells mean: an empty one is none (but for an answer), a prompt may be messages in JSON."""
    found = {name: None if value == "" and name != "response" else value for name, value in cells.items()}
    if found.get("min_score") is not None:
        try:
            found["min_score"] = float(str(found["min_score"]))
        except ValueError:
            raise ConfigError(f"{where}: min_score must be a number, not {found['min_score']!r}.") from None
    prompt = found.get("prompt")
    if prompt is not None and prompt.lstrip().startswith("["):
        try:
            messages = load_json(prompt)
        except (ValueError, RecursionError):
            return found
        if isinstance(messages, list) and all(isinstance(m, dict) and "role" in m for m in messages):
            found["prompt"] = messages
    return found


def _refuse_duplicates(path: str, rows: list[tuple[str, Cells]]) -> None:
    places: dict[str, str] = {}
    for place, cells in rows:
        if cells.get("id") is None:
            continue
        key = str(cells["id"])
        if key in places:
            raise ConfigError(f"{path}, {place}: the id {key!r} is already in {places[key]}; ids must be unique.")
        places[key] = place
