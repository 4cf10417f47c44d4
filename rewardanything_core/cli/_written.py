"""Rows out: a file that grows by whole rows, survives being cut off anywhere, and can be gone on with."""

from __future__ import annotations

import csv
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from rewardanything_core.cli._rows import STANDARD, record_ends
from rewardanything_core.errors import ConfigError


class Codec(ABC):
    """How rows stand in a file that is written from front to back."""

    @abstractmethod
    def head(self) -> bytes:
        """What the file begins with."""

    @abstractmethod
    def encode(self, row: Mapping[str, Any]) -> bytes:
        """A row, with the line end that makes it complete."""

    @abstractmethod
    def ends(self, file: BinaryIO) -> Iterator[int]:
        """The offsets at which the head or a complete row ends."""

    @abstractmethod
    def decode(self, file: BinaryIO) -> Iterator[dict[str, Any]]:
        """The rows of a file without a torn end.

        Raises:
            ValueError: they were not written by this codec.
        """

    @abstractmethod
    def plain(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """A row as it would come back from `decode`."""


class JsonLines(Codec):
    """One JSON object a line."""

    def head(self) -> bytes:
        """Nothing."""
        return b""

    def encode(self, row: Mapping[str, Any]) -> bytes:
        """A line. What JSON has no type for, such as a date from Parquet, is written as text."""
        try:
            return json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n"
        except UnicodeEncodeError:  # half of a surrogate pair: only its escape can be written
            return json.dumps(row, default=str).encode() + b"\n"

    def ends(self, file: BinaryIO) -> Iterator[int]:
        """Each line end."""
        offset = 0
        for line in file:
            offset += len(line)
            if line.endswith(b"\n"):
                yield offset

    def decode(self, file: BinaryIO) -> Iterator[dict[str, Any]]:
        """Each line's object."""
        for line in file:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("a line is not a JSON object")
            yield row

    def plain(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """There and back."""
        return cast("dict[str, Any]", json.loads(self.encode(columns)))


class Csv(Codec):
    """Comma-separated values under a header; lists and mappings are spelled in JSON, None is empty."""

    def __init__(self, header: Sequence[str]) -> None:
        self.header = list(header)

    def head(self) -> bytes:
        """The names of the columns."""
        return self._line(self.header)

    def encode(self, row: Mapping[str, Any]) -> bytes:
        """A record, of as many lines as its texts have.

        Raises:
            ConfigError: the row has a column that the header has not.
        """
        if unknown := [name for name in row if name not in self.header]:
            raise ConfigError(
                f"A row has a column {unknown[0]!r}, which the first row had not; CSV needs the same columns in all.",
                hint="Write JSON lines instead (-o with .jsonl).",
            )
        return self._line([self._cell(row.get(name)) for name in self.header])

    def ends(self, file: BinaryIO) -> Iterator[int]:
        """Line ends outside quotes."""
        return record_ends(file)

    def decode(self, file: BinaryIO) -> Iterator[dict[str, Any]]:
        """Each record, as texts."""
        csv.field_size_limit(sys.maxsize)
        reader = csv.reader((line.decode() for line in file), strict=True)
        if next(reader, None) != self.header:
            raise ValueError("its columns are others")
        try:
            for cells in reader:
                yield dict(zip(self.header, cells, strict=True))
        except csv.Error as error:
            raise ValueError(str(error)) from error

    def plain(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """Every column as text."""
        return {name: self._cell(value) for name, value in columns.items()}

    def _line(self, cells: Sequence[str]) -> bytes:
        """By hand, because `csv` leaves a lone carriage return without quotes when lines end in a line feed."""
        quoted = ['"' + cell.replace('"', '""') + '"' if set(cell) & set(',"\r\n') else cell for cell in cells]
        return (",".join(quoted) + "\n").encode()

    def _cell(self, value: Any) -> str:
        if value is None:
            return ""
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        return text.encode(errors="backslashreplace").decode()


class RowFile:
    """A file of rows, or standard output.

    Every row is handed to the system as soon as it is added, in one piece, so that whatever ends this process costs at
    most the row under way.
    """

    def __init__(self, path: str | Path, codec: Codec) -> None:
        self.path = path
        self.codec = codec
        self._file: BinaryIO | None = None

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows that are there, after a torn last one has been cut off.

        Raises:
            ConfigError: these are not rows that a RowFile wrote.
        """
        if self.path == STANDARD or not Path(self.path).exists():
            return
        with Path(self.path).open("r+b") as file:
            end = 0
            for end in self.codec.ends(file):  # noqa: B007 (the last one is wanted)
                pass
            file.truncate(end)
        with Path(self.path).open("rb") as file:
            try:
                if end:
                    yield from self.codec.decode(file)
            except ValueError as error:
                raise ConfigError(
                    f"Cannot go on with {self.path}: {error}.", hint="Choose another file, or give --overwrite."
                ) from error

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a row at the end."""
        if self._file is None:
            self._file = self._begin()
        self._file.write(self.codec.encode(row))
        self._file.flush()

    def close(self) -> None:
        """Let go of the file, which is there from now on even if it has no rows."""
        file = self._file or self._begin()
        if self.path != STANDARD:
            file.close()

    def _begin(self) -> BinaryIO:
        standard = self.path == STANDARD
        file = cast(BinaryIO, sys.stdout.buffer) if standard else Path(self.path).open("ab")  # noqa: SIM115
        if standard or os.fstat(file.fileno()).st_size == 0:
            file.write(self.codec.head())
            file.flush()
        return file
