"""A cache of application outputs, filled as they are made, so that an interrupted run can continue."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from rewardanything_core.errors import ConfigError
from rewardanything_core.weights.fetch import home

_MAX_AGE = 7 * 24 * 3600  # seconds; providers change what they serve under a model's name


def digest(value: Any) -> str:
    """A short hash of a plain JSON value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


class OutputCache:
    """The outputs of one producer (a model with its settings, or a version of a function), by a hash of their input.

    Outputs are lines of a file in the user's cache folder. Each is written in one piece; an incomplete last line is
    skipped. Outputs older than a week are ignored.

    Args:
        producer: Everything besides the key that determines an output, as plain JSON.
        fresh: Delete the outputs of earlier runs first.

    Raises:
        ConfigError: the folder cannot be used.
    """

    def __init__(self, producer: Any, *, fresh: bool = False) -> None:
        self.path: Path = home() / "outputs" / f"{digest(producer)}.jsonl"
        self._file: BinaryIO | None = None
        try:
            if fresh:
                self.path.unlink(missing_ok=True)
            self._entries = dict(self._read())
        except OSError as error:
            raise self._unusable(error) from error

    def get(self, key: str) -> dict[str, Any] | None:
        """The entry of a key: ``response``, and what else was passed to `add`. None: there is none."""
        return self._entries.get(key)

    def add(self, key: str, response: Any, **details: Any) -> dict[str, Any]:
        """Store an output.

        Args:
            key: The hash of its input.
            response: The output, as plain JSON.
            **details: Further fields of the entry, as plain JSON.

        Returns:
            The entry, as `get` returns it.

        Raises:
            ConfigError: it cannot be written.
        """
        entry = {"key": key, "made": round(time.time()), "response": response, **details}
        try:
            if self._file is None:
                self._file = self._open()
            self._file.write(json.dumps(entry).encode() + b"\n")
        except OSError as error:
            raise self._unusable(error) from error
        self._entries[key] = entry
        return entry

    def close(self) -> None:
        """Close the file; `add` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if not self.path.exists():
            return
        oldest = time.time() - _MAX_AGE
        for line in self.path.read_bytes().splitlines():
            try:
                entry = json.loads(line)
                is_text = isinstance(entry["key"], str) and isinstance(entry["response"], str)
                usable = is_text and entry["made"] >= oldest
            except (ValueError, KeyError, TypeError):
                continue
            if usable:
                yield entry["key"], entry

    def _open(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("ab", buffering=0)
        if file.tell():
            with self.path.open("rb") as existing:
                existing.seek(-1, 2)
                if existing.read() != b"\n":
                    file.write(b"\n")
        return file

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"Outputs cannot be stored in {self.path.parent}: {error.strerror or error}.",
            hint="Set RA_JUDGE_HOME to another folder.",
        )
