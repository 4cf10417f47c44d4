"""The output of ``grade``: it records the settings it was begun with, and a later run continues it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from rewardanything_core.cli import _parquet
from rewardanything_core.cli._row_codecs import Csv, JsonLines, ParquetRows, RowCodec, RowFile
from rewardanything_core.cli._row_readers import STANDARD
from rewardanything_core.errors import ConfigError
from rewardanything_core.tables.arrow_types import as_text
from rewardanything_core.tables.columns import FileFormat, InputRow
from rewardanything_core.tables.results import ResultColumns

SIDE_FILES = (".run.json", ".partial", ".retry", ".unpacked", ".tmp")
"""What is appended to the name of the output for the files next to it."""


class ResumableOutput:
    """An output file, with ``OUT.run.json``, which records the settings of the run.

    The record stays when the run is over: it lets the same command find that nothing is left to do, and keeps a command
    with other settings from mixing its verdicts in. Rows for Parquet are collected in ``OUT.partial`` until all are
    there.

    Args:
        out: The file, or ``-`` for standard output.
        file_format: Its format.
        header: The names of its columns; used for CSV.
        added: The result columns.
        settings: What must be the same for two runs to write to one file, as plain JSON.
        overwrite: Whether to begin again if the file exists.
        excel_safe: See `Csv`.

    Raises:
        ConfigError: the file exists and cannot be continued, or cannot be written.
        MissingExtraError: it is Parquet and pyarrow is not installed.
    """

    def __init__(
        self,
        out: str,
        file_format: FileFormat,
        header: list[str],
        *,
        added: ResultColumns,
        settings: Mapping[str, Any],
        overwrite: bool,
        excel_safe: bool = False,
    ) -> None:
        self.out = out
        self.added = added
        self._is_parquet = file_format == "parquet"
        self._record: TextIO | None = None
        self._codec: RowCodec = ParquetRows() if self._is_parquet else JsonLines()
        if file_format == "csv":
            self._codec = Csv(header, excel_safe=excel_safe)
        self._path = Path(out)
        self._collected = self._sibling(".partial") if self._is_parquet else self._path
        self._has_new_rows = False
        if out == STANDARD:
            self.file = RowFile(STANDARD, self._codec)
            return
        if self._path.exists() and not self._path.is_file():
            raise ConfigError(
                f"{out} is not a regular file.", hint="Give -o the name of one, or - for standard output."
            )
        if self._is_parquet:
            _parquet.require_parquet()
        try:
            self._record = self._sibling(".run.json").open("a+", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"Cannot write next to {out}: {error.strerror or error}.") from error
        _lock(self._record, out)
        if overwrite:
            self._path.unlink(missing_ok=True)
            self._sibling(".partial").unlink(missing_ok=True)
        for suffix in (".retry", ".unpacked", ".tmp"):  # left by a killed process
            self._sibling(suffix).unlink(missing_ok=True)
        self._compare_settings(json.loads(json.dumps(settings, default=str)))
        if self._is_parquet and self._path.exists() and not self._collected.exists():
            self._unpack()
        self.file = RowFile(self._collected, self._codec)

    def existing_rows(self) -> Iterator[dict[str, Any]]:
        """The rows that an earlier run wrote, in order."""
        return self.file.rows()

    def rewrite(self) -> None:
        """Write all rows again, to a second file that replaces the first when the run is finished."""
        self.file = RowFile(self._sibling(".retry"), self._codec)

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a row."""
        self._has_new_rows = True
        self.file.add(row)

    def check(self, row: InputRow, written: Mapping[str, Any]) -> None:
        """Check that a row of the output belongs to a row of the input.

        Args:
            row: The row of the input.
            written: The row of the output.

        Raises:
            ConfigError: it does not.
        """
        expected = self.added.input_cells(self._codec.plain(row.columns))
        if not _could_be_written_for(expected, self.added.input_cells(written)):
            raise ConfigError(
                f"Cannot continue {self.out}: its rows were made from other input; {row.place} differs.",
                hint="Choose another -o, or give --overwrite to begin again.",
            )

    def finish(self) -> None:
        """Put the written rows in their final place."""
        self.file.close()
        if self.file.path != STANDARD and self.file.path != self._collected:
            Path(self.file.path).replace(self._collected)

    def convert(self, source: str | None) -> None:
        """For Parquet, make the file from the collected rows.

        Args:
            source: The input, if it is Parquet too.
        """
        if not self._is_parquet:
            return
        if self._has_new_rows or not self._path.exists():
            _parquet.convert(RowFile(self._collected, self._codec), self._path, self.added, source)
        self._collected.unlink()

    def close(self) -> None:
        """Release the lock on the output."""
        if self._record is not None:
            self._record.close()

    def _sibling(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _compare_settings(self, settings: dict[str, Any]) -> None:
        assert self._record is not None
        exists = self._path.exists() or (self._is_parquet and self._collected.exists())
        self._record.seek(0)
        recorded = self._record.read()
        if not exists:
            self._record.truncate(0)
            self._record.write(json.dumps(settings, indent=2) + "\n")
            self._record.flush()
            return
        if not recorded:
            self._sibling(".run.json").unlink()
            raise ConfigError(
                f"{self.out} exists and was not written by grade.", hint="Choose another -o, or give --overwrite."
            )
        try:
            before = json.loads(recorded)
            differing = sorted(name for name in before.keys() | settings if before.get(name) != settings.get(name))
        except (ValueError, AttributeError):
            raise ConfigError(f"{self._sibling('.run.json')} is damaged.", hint="Give --overwrite.") from None
        if differing:
            raise ConfigError(
                f"{self.out} was begun with another {', '.join(differing)}.",
                hint="Use the same settings to continue it, choose another -o, or give --overwrite to begin again.",
            )

    def _unpack(self) -> None:
        """Turn a finished Parquet file back into rows that can be appended to."""
        unfinished = RowFile(self._sibling(".unpacked"), self._codec)
        for row in _parquet.unpack(self._path):
            unfinished.add(row)
        unfinished.close()
        shutil.move(unfinished.path, self._collected)


def _could_be_written_for(given: Any, written: Any) -> bool:
    """Whether a value may have been written for a given one.

    CSV and Parquet change types, add nulls to mappings, and escape lone surrogates.

    Args:
        given: The value in the input.
        written: The value in the output.
    """
    if given == written or (given is None and written == ""):
        return True
    if isinstance(given, dict) and isinstance(written, dict):
        added = [item for name, item in written.items() if name not in given]
        same = all(name in written and _could_be_written_for(item, written[name]) for name, item in given.items())
        return same and not any(added)
    if isinstance(given, list) and isinstance(written, list):
        return len(given) == len(written) and all(map(_could_be_written_for, given, written))
    if isinstance(given, str):
        return isinstance(written, str) and as_text(given) == written
    return as_text(given) == (written if isinstance(written, str) else as_text(written))  # NaN is not equal to NaN


def _lock(file: TextIO, out: str) -> None:
    """Keep a second process from writing to the same output; the lock ends with the process."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ConfigError(f"Another process is writing {out}.", hint="Wait for it, or choose another -o.") from None
