"""Rows that an earlier run has written, left out by their ids."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy
import ray
from ray.data import Dataset

from rewardanything_core import ConfigError

if TYPE_CHECKING:
    import pyarrow

Done: TypeAlias = Dataset | str | Path | Sequence[str | Path]
"""Rows already written: a dataset, or folders and files of Parquet."""

_Halves: TypeAlias = tuple[numpy.ndarray[Any, Any], numpy.ndarray[Any, Any]]


def without(ds: Dataset, done: Done, id_column: str, error_column: str | None) -> Dataset:
    """The rows of a dataset whose ids are not among those that are done.

    Of each id 16 bytes are kept here and on each machine, 160 MB for ten million; nothing is shuffled.

    Args:
        ds: The rows.
        done: What is there; it is read now.
        id_column: In both. A row without an id is never left out.
        error_column: In ``done``: rows with one are not done. None: all are.

    Raises:
        ConfigError: what is there has no such columns.
    """
    parts = [_digests(table, id_column, error_column) for table in _tables(done, [id_column, error_column])]
    if not sum(len(high) for high, _ in parts):
        return ds
    high, low = (numpy.concatenate(half) for half in zip(*parts, strict=True))
    order = numpy.argsort(high)
    seen = ray.put((high[order], low[order]))
    unseen: Any = _unseen  # Ray's types know of no further arguments
    return ds.map_batches(unseen, fn_args=(id_column, [seen]), batch_format="pyarrow", batch_size=None)


def _unseen(table: pyarrow.Table, id_column: str, seen: list[ray.ObjectRef[_Halves]]) -> pyarrow.Table:
    import pyarrow

    highs, lows = ray.get(seen[0])
    high, low, known = _hashed(table[id_column])
    at = numpy.minimum(numpy.searchsorted(highs, high), len(highs) - 1)
    return table.filter(pyarrow.array(~((highs[at] == high) & (lows[at] == low) & known)))


def _digests(table: pyarrow.Table, id_column: str, error_column: str | None) -> _Halves:
    if missing := [name for name in (id_column, error_column) if name is not None and name not in table.column_names]:
        raise ConfigError(f"What is done has no column {missing[0]!r}; it has {', '.join(table.column_names)}.")
    if error_column is not None:
        table = table.filter(table[error_column].is_null())
    high, low, known = _hashed(table[id_column])
    return high[known], low[known]


def _hashed(ids: pyarrow.ChunkedArray) -> tuple[numpy.ndarray[Any, Any], ...]:
    """Two numbers for each id, and which rows have one. Ids are compared as text: 7 is the same as "7"."""
    texts = [None if value in (None, "") else str(value) for value in ids.to_pylist()]
    digests = (hashlib.blake2b((text or "").encode(), digest_size=16).digest() for text in texts)
    numbers = numpy.frombuffer(b"".join(digests), dtype=numpy.uint64).reshape(-1, 2)
    return numbers[:, 0], numbers[:, 1], numpy.array([text is not None for text in texts], dtype=bool)


def _tables(done: Done, columns: Sequence[str | None]) -> Iterator[pyarrow.Table]:
    """What is done, a part at a time, without the columns that do not matter."""
    if isinstance(done, Dataset):
        yield from done.iter_batches(batch_size=None, batch_format="pyarrow")
        return
    for name in [done] if isinstance(done, str | Path) else done:
        yield from _files(str(name), columns)


def _files(name: str, columns: Sequence[str | None]) -> Iterator[pyarrow.Table]:
    """The files of a folder, but for those that were not written to their end when a run was stopped."""
    import pyarrow.fs
    import pyarrow.parquet

    if "://" in name:
        system, path = pyarrow.fs.FileSystem.from_uri(name)
    else:
        system, path = pyarrow.fs.LocalFileSystem(), str(Path(name).absolute())
    found = [system.get_file_info(path)]
    if found[0].type == pyarrow.fs.FileType.Directory:
        found = system.get_file_info(pyarrow.fs.FileSelector(path, recursive=True))

    def read(path: str) -> pyarrow.Table | None:
        try:
            with system.open_input_file(path) as file:
                return pyarrow.parquet.ParquetFile(file).read(columns=columns)
        except pyarrow.ArrowInvalid:
            return None

    paths = [file.path for file in found if file.is_file and (file.path.endswith(".parquet") or len(found) == 1)]
    with ThreadPoolExecutor(16) as pool:
        for path, table in zip(paths, pool.map(read, paths), strict=True):
            if table is None:
                told = (
                    f"{path} is not whole, as when a run is killed while it writes; its rows are not done. Delete it."
                )
                warnings.warn(told, stacklevel=6)
            else:
                yield table
