"""A run of ``grade``: what it was begun with, and what of it is done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from rewardanything_core.cli import _parquet
from rewardanything_core.cli._rows import STANDARD
from rewardanything_core.cli._written import Codec, Csv, JsonLines, RowFile
from rewardanything_core.errors import ConfigError
from rewardanything_core.tables.columns import Format, Row, own


class Run:
    """The output of a run and the note beside it, ``OUT.run.json``, of the settings that it was begun with.

    The note stays when the run is over: it is how the same command later finds that nothing is left to do, and how a
    command with another principle or judge is kept from mixing its verdicts in. Rows for Parquet gather in
    ``OUT.partial`` until all are there.

    Raises:
        ConfigError: the output exists and cannot be gone on with.
    """

    def __init__(
        self, out: str, kind: Format, header: list[str], *, prefix: str, settings: Mapping[str, Any], overwrite: bool
    ) -> None:
        self.out = out
        self.prefix = prefix
        self._parquet = kind == "parquet"
        self._note: TextIO | None = None
        self._codec: Codec = Csv(header) if kind == "csv" else JsonLines()
        self._path = Path(out)
        self._gathers = self._beside(".partial") if self._parquet else self._path
        self._added = False
        if out == STANDARD:
            self.file = RowFile(STANDARD, self._codec)
            return
        if self._parquet:
            _parquet.require_parquet()
        try:
            self._note = self._beside(".run.json").open("a+", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"Cannot write beside {out}: {error.strerror or error}.") from error
        _lock(self._note, out)
        if overwrite:
            self._path.unlink(missing_ok=True)
            self._beside(".partial").unlink(missing_ok=True)
        for suffix in (".retry", ".unpacked", ".tmp"):  # of a process that was killed
            self._beside(suffix).unlink(missing_ok=True)
        self._compare(json.loads(json.dumps(settings, default=str)))
        if self._parquet and self._path.exists() and not self._gathers.exists():
            self._unpack()
        self.file = RowFile(self._gathers, self._codec)

    def done(self) -> Iterator[dict[str, Any]]:
        """The rows that an earlier process wrote, in order."""
        return self.file.rows()

    def retry(self) -> None:
        """Write all rows anew to a second file, which takes the place of the first when the run is finished."""
        self.file = RowFile(self._beside(".retry"), self._codec)

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a row."""
        self._added = True
        self.file.add(row)

    def check(self, row: Row, written: Mapping[str, Any]) -> None:
        """Compare a row of the input with the one that was written for it.

        Raises:
            ConfigError: they have nothing to do with each other.
        """
        expected = own(self._codec.plain(row.columns), self.prefix)
        if not _alike(expected, own(written, self.prefix)):
            raise ConfigError(
                f"Cannot go on with {self.out}: its rows were made from other input; {row.place} differs.",
                hint="Choose another -o, or give --overwrite to begin again.",
            )

    def finish(self) -> None:
        """Bring the output into its final form."""
        self.file.close()
        if self.file.path != STANDARD and self.file.path != self._gathers:
            Path(self.file.path).replace(self._gathers)

    def convert(self, source: str | None) -> None:
        """For Parquet: make the file itself of the rows gathered. ``source`` is the input if that is Parquet too."""
        if not self._parquet:
            return
        if self._added or not self._path.exists():
            _parquet.convert(RowFile(self._gathers, self._codec), self._path, self.prefix, source)
        self._gathers.unlink()

    def close(self) -> None:
        """Let other processes at the output."""
        if self._note is not None:
            self._note.close()

    def _beside(self, suffix: str) -> Path:
        return self._path.with_name(self._path.name + suffix)

    def _compare(self, settings: dict[str, Any]) -> None:
        assert self._note is not None
        begun = self._path.exists() or (self._parquet and self._gathers.exists())
        self._note.seek(0)
        noted = self._note.read()
        if not begun:
            self._note.truncate(0)
            self._note.write(json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
            self._note.flush()
            return
        if not noted:
            self._beside(".run.json").unlink()
            raise ConfigError(
                f"{self.out} exists and was not written by grade.", hint="Choose another -o, or give --overwrite."
            )
        try:
            before = json.loads(noted)
            differing = sorted(name for name in before.keys() | settings if before.get(name) != settings.get(name))
        except (ValueError, AttributeError):
            raise ConfigError(f"{self._beside('.run.json')} is damaged.", hint="Give --overwrite.") from None
        if differing:
            raise ConfigError(
                f"{self.out} was begun with another {', '.join(differing)}.",
                hint="Use the same settings to go on with it, choose another -o, or give --overwrite to begin again.",
            )

    def _unpack(self) -> None:
        """Turn a finished Parquet file back into rows that can be added to."""
        unfinished = RowFile(self._beside(".unpacked"), self._codec)
        for row in _parquet.unpack(self._path):
            unfinished.add(row)
        unfinished.close()
        shutil.move(unfinished.path, self._gathers)


def _alike(given: Any, written: Any) -> bool:
    """Whether a value may have been written for one that was given: CSV and Parquet change types and fill up gaps."""
    if given == written or (given is None and written == ""):
        return True
    if isinstance(given, dict) and isinstance(written, dict):
        gaps = [value for name, value in written.items() if name not in given]
        return all(name in written and _alike(value, written[name]) for name, value in given.items()) and not any(gaps)
    if isinstance(given, list) and isinstance(written, list):
        return len(given) == len(written) and all(map(_alike, given, written))
    as_text = json.dumps(given, ensure_ascii=False).encode(errors="backslashreplace").decode()
    return bool(as_text == (written if isinstance(written, str) else json.dumps(written)))  # NaN is not NaN


def _lock(file: TextIO, out: str) -> None:
    """Keep a second process from writing to the same output; the lock ends with the process, however it ends."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise ConfigError(f"Another process is writing {out}.", hint="Wait for it, or choose another -o.") from None
