"""Parquet output. Such a file cannot grow row by row: rows are collected as JSON lines and converted at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardanything_core.cli._row_codecs import RowFile
from rewardanything_core.cli._row_readers import open_parquet, read_rows
from rewardanything_core.errors import MissingExtraError
from rewardanything_core.tables.arrow_types import array, can_be_stored, result_fields
from rewardanything_core.tables.results import ResultColumns

if TYPE_CHECKING:
    import pyarrow

_GROUP = 512
"""Rows converted at a time."""


def require_parquet() -> None:
    """Check whether Parquet can be written.

    Raises:
        MissingExtraError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Parquet", extra="parquet") from error


def unpack(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file that `convert` wrote."""
    for row in read_rows(str(path), "parquet"):
        yield row.columns


def convert(collected: RowFile, target: Path, added: ResultColumns, source: str | None) -> None:
    """Write rows as Parquet, atomically.

    Args:
        collected: The rows as JSON lines.
        target: The Parquet file.
        added: The result columns.
        source: The Parquet file whose columns are copied unchanged. None: types are inferred, and a column whose values
            have no common type that Parquet can store becomes text, with its values in JSON.
    """
    import pyarrow.parquet

    unfinished = target.with_name(f"{target.name}.tmp")
    if source:
        own = list(open_parquet(source).schema_arrow)
        schema = pyarrow.schema([*own, *result_fields(added)])
        with pyarrow.parquet.ParquetWriter(unfinished, schema) as writer:
            rows = collected.rows()
            for batch in open_parquet(source).iter_batches(batch_size=_GROUP):
                group = list(islice(rows, batch.num_rows))
                copied = batch.slice(0, len(group)).columns
                made = _columns(group, {field.name: field.type for field in result_fields(added)})
                writer.write_batch(pyarrow.record_batch([*copied, *made], schema=schema))
    else:
        types = _inferred_types(collected.rows(), added)
        while (misfit := _write_typed(collected, unfinished, types, added)) is not None:
            types[misfit] = pyarrow.string()
    unfinished.replace(target)


def _write_typed(
    collected: RowFile, target: Path, types: Mapping[str, pyarrow.DataType], added: ResultColumns
) -> str | None:
    """Write all rows with these types for their own columns; or return the name of a column that its type does not fit.

    Args:
        collected: The rows.
        target: The Parquet file.
        types: Own column -> type.
        added: The result columns.
    """
    import pyarrow.parquet

    fields = [pyarrow.field(name, kind) for name, kind in types.items()]
    schema = pyarrow.schema([*fields, *result_fields(added)])
    all_types = {**types, **{field.name: field.type for field in result_fields(added)}}
    rows = collected.rows()
    with pyarrow.parquet.ParquetWriter(target, schema) as writer:
        while group := list(islice(rows, _GROUP)):
            try:
                writer.write_batch(pyarrow.record_batch(_columns(group, all_types), schema=schema))
            except _MisfitError as error:
                if pyarrow.types.is_string(all_types[error.column]):
                    raise
                return error.column
    return None


class _MisfitError(Exception):
    """A column has a value that its type cannot hold."""

    def __init__(self, column: str) -> None:
        super().__init__(f"the column {column!r} has a value that does not fit its type")
        self.column = column


def _columns(rows: Sequence[Mapping[str, Any]], types: Mapping[str, pyarrow.DataType]) -> list[pyarrow.Array]:
    import pyarrow

    columns = []
    for name, kind in types.items():
        try:
            columns.append(array([row.get(name) for row in rows], kind))
        except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError) as error:
            raise _MisfitError(name) from error
    return columns


def _inferred_types(rows: Iterable[Mapping[str, Any]], added: ResultColumns) -> dict[str, pyarrow.DataType]:
    """Own column -> a type for all its values; text where there is none, or none that Parquet can store."""
    import pyarrow

    types: dict[str, pyarrow.DataType] = {}
    remaining = iter(rows)
    while group := [added.input_cells(row) for row in islice(remaining, _GROUP)]:
        for name in dict.fromkeys(name for row in group for name in row):
            try:
                group_type = pyarrow.array([row.get(name) for row in group]).type
                types[name] = _common(types.get(name, group_type), group_type)
            except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError):
                types[name] = pyarrow.string()
    unusable = [name for name, kind in types.items() if pyarrow.types.is_null(kind) or not can_be_stored(kind)]
    return types | dict.fromkeys(unusable, pyarrow.string())


def _common(one: pyarrow.DataType, other: pyarrow.DataType) -> pyarrow.DataType:
    import pyarrow

    if one == other or pyarrow.types.is_string(one):
        return one  # text takes every value, in JSON
    schemas = [pyarrow.schema([pyarrow.field("x", kind)]) for kind in (one, other)]
    return pyarrow.unify_schemas(schemas, promote_options="permissive").field("x").type
