"""Parquet out: it cannot grow row by row, so rows gather as JSON lines beside it and are converted at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardanything_core.cli._rows import open_parquet, read_rows
from rewardanything_core.cli._written import RowFile
from rewardanything_core.errors import MissingExtraError
from rewardanything_core.tables.arrow_types import array, result_fields
from rewardanything_core.tables.columns import own

if TYPE_CHECKING:
    import pyarrow

_GROUP = 512


def require_parquet() -> None:
    """Find out early whether Parquet can be written.

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


def convert(gathered: RowFile, target: Path, prefix: str, source: str | None) -> None:
    """Write rows as Parquet, in one step that is done or not done.

    Args:
        gathered: The rows as JSON lines.
        target: The Parquet file.
        prefix: Of the result columns.
        source: The Parquet file that the rows' own columns came from, to keep their types. None: find types for them.
    """
    import pyarrow.parquet

    fields = list(open_parquet(source).schema_arrow) if source else _inferred(gathered.rows(), prefix)
    schema = pyarrow.schema([*fields, *result_fields(prefix)])
    unfinished = target.with_name(f"{target.name}.tmp")
    with pyarrow.parquet.ParquetWriter(unfinished, schema) as writer:
        rows = gathered.rows()
        if source:
            for batch in open_parquet(source).iter_batches(batch_size=_GROUP):
                group = list(islice(rows, batch.num_rows))
                kept = batch.slice(0, len(group)).columns
                writer.write_batch(_batch(schema, group, kept))
        else:
            while group := list(islice(rows, _GROUP)):
                writer.write_batch(_batch(schema, group, []))
    unfinished.replace(target)


def _batch(
    schema: pyarrow.Schema, rows: Sequence[Mapping[str, Any]], kept: Sequence[pyarrow.Array]
) -> pyarrow.RecordBatch:
    import pyarrow

    made = [array([row.get(field.name) for row in rows], field.type) for field in list(schema)[len(kept) :]]
    return pyarrow.record_batch([*kept, *made], schema=schema)


def _inferred(rows: Iterable[Mapping[str, Any]], prefix: str) -> list[pyarrow.Field]:
    """A type for each column that fits all its values; for a column of mixed types it is text, the values in JSON."""
    import pyarrow

    kinds: dict[str, pyarrow.DataType] = {}
    rest = iter(rows)
    while group := [own(row, prefix) for row in islice(rest, _GROUP)]:
        for name in dict.fromkeys(name for row in group for name in row):
            try:
                found = pyarrow.array([row.get(name) for row in group]).type
                kinds[name] = _common(kinds.get(name, found), found)
            except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError):
                kinds[name] = pyarrow.string()
    return [
        pyarrow.field(name, pyarrow.string() if pyarrow.types.is_null(kind) else kind) for name, kind in kinds.items()
    ]


def _common(one: pyarrow.DataType, other: pyarrow.DataType) -> pyarrow.DataType:
    import pyarrow

    if one == other or pyarrow.types.is_string(one):
        return one  # text takes everything, as JSON
    schemas = [pyarrow.schema([pyarrow.field("x", kind)]) for kind in (one, other)]
    return pyarrow.unify_schemas(schemas, promote_options="permissive").field("x").type
