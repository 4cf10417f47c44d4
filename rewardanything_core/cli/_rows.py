"""Rows in: JSON lines, CSV or Parquet, one at a time, the bad ones marked and not fatal."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from rewardanything_core.errors import ConfigError, MissingExtraError
from rewardanything_core.tables.columns import Format, Row, load_json

if TYPE_CHECKING:
    import pyarrow.parquet

FORMATS: tuple[Format, ...] = ("jsonl", "csv", "parquet")
_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
STANDARD = "-"


def format_of(path: str) -> Format | None:
    """What the name of a file says about its format; None where it says nothing."""
    return _SUFFIXES.get(Path(path).suffix.lower())


def told_format(told: str) -> Format | None:
    """What ``--format`` says; None for ``auto``.

    Raises:
        ConfigError: it is no format.
    """
    if told not in ("auto", *FORMATS):
        raise ConfigError(f"--format must be auto, {', '.join(FORMATS)}, not {told!r}.")
    return None if told == "auto" else cast(Format, told)


def read_rows(path: str, kind: Format) -> Iterator[Row]:
    """The rows of a file, read as they are asked for.

    Raises:
        ConfigError: the file cannot be read at all.
        MissingExtraError: it is Parquet and pyarrow is not installed.
    """
    try:
        if kind == "parquet":
            yield from _parquet_rows(path)
            return
        with _opened(path) as file:
            yield from _json_rows(file) if kind == "jsonl" else _csv_rows(path, file)
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror or error}.") from error


def count_rows(path: str, kind: Format) -> int | None:
    """About how many rows there are, for a progress bar. None: not known without reading a pipe."""
    if path == STANDARD:
        return None
    if kind == "parquet":
        return int(open_parquet(path).metadata.num_rows)
    with Path(path).open("rb") as file:
        if kind == "jsonl":
            return sum(1 for line in file if line.strip())
        return max(0, sum(1 for _ in record_ends(file)) - 1)


def record_ends(file: BinaryIO) -> Iterator[int]:
    """The offsets at which complete CSV records end; line ends within quotes are not ends."""
    offset, quoted = 0, False
    for line in file:
        offset += len(line)
        quoted ^= line.count(b'"') % 2 == 1
        if not quoted and line.endswith(b"\n"):
            yield offset


def open_parquet(path: str) -> pyarrow.parquet.ParquetFile:
    """Open a Parquet file.

    Raises:
        ConfigError: it is none, or a pipe.
        MissingExtraError: pyarrow is not installed.
    """
    if path == STANDARD:
        raise ConfigError("Parquet cannot be read from or written to a pipe; give a file.")
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("Parquet", extra="parquet") from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"Cannot read {path}: {' '.join(str(error).split())}.") from error


def _opened(path: str) -> BinaryIO:
    return cast(BinaryIO, sys.stdin.buffer) if path == STANDARD else Path(path).open("rb")


def _json_rows(file: BinaryIO) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        place = f"line {number}"
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if not text.strip():
                continue
            columns = load_json(text)
        except (ValueError, RecursionError) as error:
            yield Row(place=place, problem=f"it cannot be read as JSON: {error}")
            continue
        if isinstance(columns, dict):
            yield Row(place=place, columns=columns)
        else:
            yield Row(place=place, problem=f"it is not a JSON object but a {type(columns).__name__}")


def _csv_rows(path: str, file: BinaryIO) -> Iterator[Row]:
    csv.field_size_limit(sys.maxsize)  # responses are longer than the 128 KiB that csv is ready for
    reader = csv.reader(_decoded(file), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            raise ConfigError(f"{path} is empty; a CSV file begins with the names of its columns.")
        if len(set(header)) < len(header):
            twice = sorted({name for name in header if header.count(name) > 1})
            raise ConfigError(f"{path} has more than one column named {', '.join(map(repr, twice))}.")
        begins = reader.line_num + 1
        for cells in reader:
            place, begins = f"line {begins}", reader.line_num + 1
            if not cells:
                continue
            problem = None
            if len(cells) != len(header):
                problem = f"it has {len(cells)} fields where the header has {len(header)}"
            elif any(map(_stray_bytes, cells)):
                problem = "it is not UTF-8"
                cells = [cell.encode(errors="surrogateescape").decode(errors="replace") for cell in cells]
            yield Row(place=place, columns=dict(zip(header, cells, strict=False)), problem=problem)
    except csv.Error as error:
        raise ConfigError(f"Cannot read {path} beyond line {reader.line_num}: {error}.") from error


def _decoded(file: BinaryIO) -> Iterator[str]:
    for number, line in enumerate(file):
        yield line.decode("utf-8" if number else "utf-8-sig", errors="surrogateescape")


def _stray_bytes(cell: str) -> bool:
    return not cell.isascii() and any("\udc80" <= character <= "\udcff" for character in cell)


def _parquet_rows(path: str) -> Iterator[Row]:
    file = open_parquet(path)
    number = 0
    for batch in file.iter_batches(batch_size=64):
        for columns in _cells(batch):
            number += 1
            problem = columns if isinstance(columns, str) else None
            yield Row(place=f"row {number}", columns={} if isinstance(columns, str) else columns, problem=problem)


def _cells(batch: pyarrow.RecordBatch) -> Iterator[dict[str, object] | str]:
    try:
        yield from batch.to_pylist(maps_as_pydicts="strict")
    except (KeyError, ValueError):  # a map with a key given twice: find out in which row
        if batch.num_rows == 1:
            yield "it has a map with a key that is there twice"
        else:
            for place in range(batch.num_rows):
                yield from _cells(batch.slice(place, 1))
