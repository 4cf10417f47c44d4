"""Row formats for files that grow row by row, can be cut off anywhere, and can be continued."""

from __future__ import annotations

import csv
import json
import math
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from rewardanything_core.cli._row_readers import STANDARD, record_ends
from rewardanything_core.cli._stdout import stdout
from rewardanything_core.errors import ConfigError
from rewardanything_core.tables.arrow_types import as_text
from rewardanything_core.tables.csv_limits import lift_csv_field_limit

_FORMULA = re.compile(r"[=+\-@\t\r]")
"""How a cell begins that a spreadsheet may evaluate."""

_NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?")


class RowCodec(ABC):
    """A format of rows in a file that is written from front to back."""

    @abstractmethod
    def head(self) -> bytes:
        """The bytes at the beginning of the file."""

    @abstractmethod
    def encode(self, row: Mapping[str, Any]) -> bytes:
        """A row, with the line end that completes it."""

    @abstractmethod
    def ends(self, file: BinaryIO) -> Iterator[int]:
        """The offsets at which the head or a complete row ends."""

    @abstractmethod
    def decode(self, file: BinaryIO) -> Iterator[dict[str, Any]]:
        """The rows of a file that ends with a complete row.

        Raises:
            ValueError: this codec did not write them.
        """

    @abstractmethod
    def plain(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """A row as `decode` would return it."""


class JsonLines(RowCodec):
    """One JSON object per line."""

    has_nan = False
    """Whether numbers that JSON does not have are written as Python reads them. Otherwise NaN becomes null, as data
    frames have it for a missing value, and an infinity its name."""

    def head(self) -> bytes:
        """Nothing."""
        return b""

    def encode(self, row: Mapping[str, Any]) -> bytes:
        """A line. A value for which JSON has no type, such as a date from Parquet, is written as text."""
        try:
            text = json.dumps(row, ensure_ascii=False, default=str, allow_nan=self.has_nan)
        except ValueError:
            row = _without_nan(row)
            text = json.dumps(row, ensure_ascii=False, default=str)
        try:
            return text.encode() + b"\n"
        except UnicodeEncodeError:  # a lone surrogate, which only an escape can express
            return json.dumps(row, default=str).encode() + b"\n"

    def ends(self, file: BinaryIO) -> Iterator[int]:
        """Every line end."""
        offset = 0
        for line in file:
            offset += len(line)
            if line.endswith(b"\n"):
                yield offset

    def decode(self, file: BinaryIO) -> Iterator[dict[str, Any]]:
        """The object of every line."""
        for line in file:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("a line is not a JSON object")
            yield row

    def plain(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """The row after encoding and decoding."""
        return cast("dict[str, Any]", json.loads(self.encode(columns)))


class ParquetRows(JsonLines):
    """Rows that will become Parquet: JSON lines whose column names are valid UTF-8, as Parquet requires."""

    has_nan = True

    def encode(self, row: Mapping[str, Any]) -> bytes:
        """A line, with escapes for lone surrogates in the names of columns."""
        if all(map(str.isascii, row)):
            return super().encode(row)
        renamed: dict[str, Any] = {}
        for name, value in row.items():
            text = as_text(name)
            while text in renamed:
                text += "_"
            renamed[text] = value
        return super().encode(renamed)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list | tuple) else value


class Csv(RowCodec):
    """Comma-separated values under a header. Lists and mappings are written in JSON, None as an empty cell.

    Args:
        header: The names of the columns.
        excel_safe: Put an apostrophe before cells that a spreadsheet would evaluate as a formula.
    """

    def __init__(self, header: Sequence[str], *, excel_safe: bool = False) -> None:
        self.header = list(header)
        self.excel_safe = excel_safe

    def head(self) -> bytes:
        """The names of the columns."""
        return self._line([self._cell(name) for name in self.header])

    def encode(self, row: Mapping[str, Any]) -> bytes:
        """A record, which spans several lines if its texts do.

        Raises:
            ConfigError: the row has a column that the header does not have.
        """
        if unknown := [name for name in row if name not in self.header]:
            raise ConfigError(
                f"A row has a column {unknown[0]!r} that the first row does not have; CSV needs the same columns in "
                f"all rows.",
                hint="Write JSON lines instead (-o with .jsonl).",
            )
        return self._line([self._cell(row.get(name)) for name in self.header])

    def ends(self, file: BinaryIO) -> Iterator[int]:
        """Every line end outside quotes."""
        return record_ends(file)

    def decode(self, file: BinaryIO) -> Iterator[dict[str, Any]]:
        """Every record, with texts as values."""
        lift_csv_field_limit()
        reader = csv.reader((line.decode() for line in file), strict=True)
        if next(reader, None) != [self._cell(name) for name in self.header]:
            raise ValueError("it has other columns")
        try:
            for cells in reader:
                yield dict(zip(self.header, cells, strict=True))
        except csv.Error as error:
            raise ValueError(str(error)) from error

    def plain(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """The row with every value as text."""
        return {name: self._cell(value) for name, value in columns.items()}

    def _line(self, cells: Sequence[str]) -> bytes:
        """Quote by hand, because `csv` does not quote a lone carriage return when lines end in a line feed."""
        quoted = ['"' + cell.replace('"', '""') + '"' if set(cell) & set(',"\r\n') else cell for cell in cells]
        return (",".join(quoted) + "\n").encode()

    def _cell(self, value: Any) -> str:
        text = "" if value is None else as_text(value)
        if self.excel_safe and _FORMULA.match(text) and not _NUMBER.fullmatch(text):
            return f"'{text}"
        return text


class RowFile:
    """A file of rows, or standard output.

    Every row is passed to the operating system as soon as it is added, in one piece, so that a killed process loses at
    most the row being written.

    Args:
        path: The file, or ``-`` for standard output.
        codec: The format.
    """

    def __init__(self, path: str | Path, codec: RowCodec) -> None:
        self.path = path
        self.codec = codec
        self._file: BinaryIO | None = None

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows in the file; an incomplete last row is removed first.

        Raises:
            ConfigError: the rows were not written by a `RowFile` with this codec.
        """
        if self.path == STANDARD or not Path(self.path).exists():
            return
        with Path(self.path).open("r+b") as file:
            end = 0
            for end in self.codec.ends(file):  # noqa: B007 (the last one is used)
                pass
            file.truncate(end)
        with Path(self.path).open("rb") as file:
            try:
                if end:
                    yield from self.codec.decode(file)
            except ValueError as error:
                raise ConfigError(
                    f"Cannot continue {self.path}: {error}.", hint="Choose another file, or give --overwrite."
                ) from error

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row."""
        if self._file is None:
            self._file = self._open()
        self._file.write(self.codec.encode(row))
        self._file.flush()

    def close(self) -> None:
        """Close the file. It exists from now on, even if it has no rows."""
        file = self._file or self._open()
        if self.path != STANDARD:
            file.close()

    def _open(self) -> BinaryIO:
        standard = self.path == STANDARD
        file = cast(Any, stdout()).buffer if standard else Path(self.path).open("ab")  # noqa: SIM115
        if standard or os.fstat(file.fileno()).st_size == 0:
            file.write(self.codec.head())
            file.flush()
        return cast(BinaryIO, file)
