"""Rows from JSON lines, CSV or Parquet files, read one at a time; a bad row is marked and does not end the file."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from rewardanything_core.errors import ConfigError, MissingExtraError
from rewardanything_core.tables.arrow_types import python_rows
from rewardanything_core.tables.columns import FileFormat, InputRow, duplicate_columns, load_json, repeated
from rewardanything_core.tables.csv_limits import lift_csv_field_limit

if TYPE_CHECKING:
    import pyarrow.parquet

FORMATS: tuple[FileFormat, ...] = ("jsonl", "csv", "parquet")
_SUFFIXES: dict[str, FileFormat] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
STANDARD = "-"


def format_of(path: str) -> FileFormat | None:
    """The format that a file's name implies; None if it implies none."""
    return _SUFFIXES.get(Path(path).suffix.lower())


def format_option(value: str) -> FileFormat | None:
    """The value of ``--format``; None for ``auto``.

    Raises:
        ConfigError: there is no such format.
    """
    if value not in ("auto", *FORMATS):
        raise ConfigError(f"--format must be auto, {', '.join(FORMATS)}, not {value!r}.")
    return None if value == "auto" else cast(FileFormat, value)


def is_stream(path: str) -> bool:
    """Whether a file can be read only once, as standard input, a pipe or ``<(command)``.

    Args:
        path: The file, or ``-`` for standard input.
    """
    return path == STANDARD or (Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir())


def read_rows(path: str, file_format: FileFormat) -> Iterator[InputRow]:
    """Read the rows of a file lazily.

    Args:
        path: The file, or ``-`` for standard input.
        file_format: Its format.

    Raises:
        ConfigError: the file cannot be read, or is not of this format.
        MissingExtraError: it is Parquet and pyarrow is not installed.
    """
    try:
        if file_format == "parquet":
            yield from _parquet_rows(path)
            return
        with _opened(path) as file:
            lines = _checked(path, file)
            yield from _json_rows(path, lines) if file_format == "jsonl" else _csv_rows(path, lines)
    except OSError as error:
        raise ConfigError(f"Cannot read {path}: {error.strerror or error}.") from error


def count_rows(path: str, file_format: FileFormat) -> int | None:
    """Roughly how many rows a file has, for a progress bar. None: unknown, since it can be read only once.

    Args:
        path: The file, or ``-`` for standard input.
        file_format: Its format.
    """
    if is_stream(path):
        return None
    if file_format == "parquet":
        return int(open_parquet(path).metadata.num_rows)
    with Path(path).open("rb") as file:
        if file_format == "jsonl":
            return sum(1 for line in file if line.strip())
        return max(0, sum(1 for _ in record_ends(file)) - 1)


def record_ends(file: BinaryIO) -> Iterator[int]:
    """The offsets at which complete CSV records end; a line end within quotes does not end a record."""
    offset, quoted = 0, False
    for line in file:
        offset += len(line)
        quoted ^= line.count(b'"') % 2 == 1
        if not quoted and line.endswith(b"\n"):
            yield offset


def open_parquet(path: str) -> pyarrow.parquet.ParquetFile:
    """Open a Parquet file.

    Raises:
        ConfigError: it is not a Parquet file, it is a pipe, or two of its columns have one name.
        MissingExtraError: pyarrow is not installed.
    """
    if is_stream(path):
        raise ConfigError("Parquet cannot be read from or written to a pipe; give a file.")
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("Parquet", extra="parquet") from error
    try:
        file = pyarrow.parquet.ParquetFile(path)
        names = file.schema_arrow.names
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"Cannot read {path}: {' '.join(str(error).split()).rstrip('.')}.") from error
    if duplicates := repeated(names):
        raise duplicate_columns(path, duplicates)
    return file


def _opened(path: str) -> BinaryIO:
    return cast(BinaryIO, sys.stdin.buffer) if path == STANDARD else Path(path).open("rb")


_OTHER_CONTENT = {
    b"\xff\xfe\x00\x00": ("UTF-32", "Save it as UTF-8."),
    b"\xff\xfe": ("UTF-16", "Save it as UTF-8."),
    b"\xfe\xff": ("UTF-16", "Save it as UTF-8."),
    b"\x00\x00\xfe\xff": ("UTF-32", "Save it as UTF-8."),
    b"\x1f\x8b": ("compressed by gzip", "Decompress it: gunzip FILE, or --format jsonl <(zcat FILE)."),
    b"BZh": ("compressed by bzip2", "Decompress it: bunzip2 FILE."),
    b"\x28\xb5\x2f\xfd": ("compressed by zstd", "Decompress it: zstd -d FILE."),
    b"\xfd7zXZ": ("compressed by xz", "Decompress it: unxz FILE."),
    b"PK\x03\x04": ("a ZIP archive or an Excel workbook", "Save it as CSV or JSON lines."),
    b"PAR1": ("a Parquet file", "Give --format parquet, or a name that ends in .parquet."),
}
"""How files of other kinds begin -> what they are, and what to do."""


def _checked(path: str, file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file that is text in UTF-8 as far as its beginning tells."""
    lines = iter(file)
    first = next(lines, b"")
    for beginning, (kind, hint) in _OTHER_CONTENT.items():
        if first.startswith(beginning):
            raise ConfigError(f"{path} is {kind}.", hint=hint.replace("FILE", path))
    if len(first) > 2 and not (any(first[1:100:2]) and any(first[:100:2])):
        raise ConfigError(f"{path} is UTF-16.", hint="Save it as UTF-8.")
    return chain([first] if first else [], lines)


def _json_rows(path: str, lines: Iterator[bytes]) -> Iterator[InputRow]:
    numbered = ((number, line) for number, line in enumerate(lines, start=1) if line.strip(b"\xef\xbb\xbf \t\r\n"))
    opening = list(islice(numbered, 1))
    if opening and _is_unfinished(opening[0][1]):
        opening += islice(numbered, 1)
    _refuse_other_json(path, [line for _, line in opening])
    for number, line in chain(opening, numbered):
        yield _json_row(f"line {number}", line, first=number == 1)


def _json_row(place: str, line: bytes, *, first: bool) -> InputRow:
    try:
        columns = load_json(line.decode("utf-8-sig" if first else "utf-8"))
    except (ValueError, RecursionError) as error:
        return InputRow(place=place, problem=f"it cannot be read as JSON: {error}")
    if isinstance(columns, dict):
        return InputRow(place=place, columns=columns)
    return InputRow(place=place, problem=f"it is not a JSON object but a {type(columns).__name__}")


def _refuse_other_json(path: str, opening: list[bytes]) -> None:
    """Refuse a file that is one JSON array, or JSON laid out over several lines, of which no line would be a row.

    Args:
        path: The file, for messages.
        opening: Its first line that is not blank; also the second, if the first breaks off within a JSON value.
    """
    text = b"".join(opening).removeprefix(b"\xef\xbb\xbf")
    is_array = text.lstrip().startswith(b"[")
    spread = len(opening) > 1 and (is_array or not _is_object(opening[1]))  # else the first line is merely cut off
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value, spread = None, spread and _is_unfinished(text)
    name, shown = ("Standard input", "") if path == STANDARD else (path, f" {path}")
    if (spread and is_array) or (isinstance(value, list) and all(isinstance(item, dict) for item in value)):
        raise ConfigError(
            f"{name} is a JSON array, not JSON lines.",
            hint=f"Write each object on a line of its own: jq -c '.[]'{shown} > rows.jsonl",
        )
    if spread:
        raise ConfigError(
            f"{name} has JSON that is spread over several lines, not JSON lines.",
            hint=f"Write each object on one line: jq -c .{shown} > rows.jsonl",
        )


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _is_unfinished(line: bytes) -> bool:
    """Whether a text breaks off within a JSON value: it is valid up to its end."""
    text = line.decode("utf-8-sig", errors="replace").rstrip()
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text)
    except (ValueError, RecursionError):
        pass
    return False


def _csv_rows(path: str, lines: Iterator[bytes]) -> Iterator[InputRow]:
    lift_csv_field_limit()
    reader = csv.reader(_decoded(lines), strict=True)
    try:
        header = next(filter(None, reader), None)
        if header is None:
            raise ConfigError(f"{path} is empty; a CSV file begins with the names of its columns.")
        if duplicates := repeated(header):
            raise duplicate_columns(path, duplicates)
        if len(header) == 1 and (separator := re.search("[;\t|]", header[0])):
            raise ConfigError(
                f"The columns of {path} are separated by {separator[0]!r}, not by commas: {header[0]!r:.200}."
            )
        begins = reader.line_num + 1
        for cells in reader:
            place, begins = f"line {begins}", reader.line_num + 1
            if not cells:
                continue
            problem = None
            if len(cells) != len(header):
                problem = f"it has {len(cells)} fields where the header has {len(header)}"
            elif any(map(_has_stray_bytes, cells)):
                problem = "it is not UTF-8"
                cells = [cell.encode(errors="surrogateescape").decode(errors="replace") for cell in cells]
            yield InputRow(place=place, columns=dict(zip(header, cells, strict=False)), problem=problem)
    except csv.Error as error:
        raise ConfigError(f"Cannot read {path} beyond line {reader.line_num}: {error}.") from error


def _decoded(lines: Iterator[bytes]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield line.decode("utf-8" if number else "utf-8-sig", errors="surrogateescape")


def _has_stray_bytes(cell: str) -> bool:
    return not cell.isascii() and any("\udc80" <= character <= "\udcff" for character in cell)


def _parquet_rows(path: str) -> Iterator[InputRow]:
    number = 0
    for batch in open_parquet(path).iter_batches(batch_size=64):
        for columns, unreadable in python_rows(batch):
            number += 1
            yield InputRow(place=f"row {number}", columns=columns, unreadable=unreadable)
