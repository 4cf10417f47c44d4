"""Outputs kept as they are made, so that a run that was stopped goes on where it stopped."""

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

_LASTS = 7 * 24 * 3600  # seconds: what a provider serves under a model's name changes in time


def digest(value: Any) -> str:
    """A short hash of plain JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


class KeptOutputs:
    """Outputs of one maker (a model with its settings, or a version of a function), by what was asked of it.

    They are lines of a file in the user's cache folder, each written in one piece; a torn last line is passed over.
    What is older than a week does not count.

    Args:
        maker: All that determines an output beside its key, as plain JSON.
        fresh: Begin anew, and forget what an earlier run kept.

    Raises:
        ConfigError: the folder cannot be used.
    """

    def __init__(self, maker: Any, *, fresh: bool = False) -> None:
        self.path: Path = home() / "outputs" / f"{digest(maker)}.jsonl"
        self._file: BinaryIO | None = None
        try:
            if fresh:
                self.path.unlink(missing_ok=True)
            self._found = dict(self._lines())
        except OSError as error:
            raise self._unusable(error) from error

    def get(self, key: str) -> dict[str, Any] | None:
        """What was kept under a key: ``response``, and whatever else was given to `add`. None: nothing."""
        return self._found.get(key)

    def add(self, key: str, response: str, **about: Any) -> dict[str, Any]:
        """Keep an output, and return it as `get` would.

        Raises:
            ConfigError: it cannot be written.
        """
        line = {"key": key, "made": round(time.time()), "response": response, **about}
        try:
            if self._file is None:
                self._file = self._opened()
            self._file.write(json.dumps(line).encode() + b"\n")
        except OSError as error:
            raise self._unusable(error) from error
        self._found[key] = line
        return line

    def close(self) -> None:
        """Close the file; it is opened again if need be."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _lines(self) -> Iterator[tuple[str, dict[str, Any]]]:
        if not self.path.exists():
            return
        oldest = time.time() - _LASTS
        for text in self.path.read_bytes().splitlines():
            try:
                line = json.loads(text)
                usable = isinstance(line["key"], str) and isinstance(line["response"], str) and line["made"] >= oldest
            except (ValueError, KeyError, TypeError):
                continue
            if usable:
                yield line["key"], line

    def _opened(self) -> BinaryIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = self.path.open("ab", buffering=0)
        if file.tell():
            with self.path.open("rb") as whole:
                whole.seek(-1, 2)
                if whole.read() != b"\n":
                    file.write(b"\n")
        return file

    def _unusable(self, error: OSError) -> ConfigError:
        return ConfigError(
            f"Outputs cannot be kept in {self.path.parent}: {error.strerror or error}.",
            hint="Name another folder in RA_JUDGE_HOME.",
        )
