"""Benchmark files: read from a path or the hub, recognised by their fields, and cut down to some groups."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rewardanything_core.bench.items import Flip, Item, flip
from rewardanything_core.bench.layouts import LAYOUTS, detect
from rewardanything_core.errors import ConfigError, MissingExtraError

HUB = "hf:"
"""Begins the name of a dataset on the Hugging Face hub: ``hf:owner/name`` or ``hf:owner/name:part-of-a-file-name``."""

_SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")
# Files that hold all there is, where a folder has the same rows again in parts, or beside other things.
_WHOLE = ("total_dataset.json", "dataset.json")
_HUB_PARTS = {"allenai/reward-bench": "filtered"}


def read_items(
    sources: Sequence[str], *, layout: str = "auto", principle: str | None = None, limit_groups: int | None = None
) -> list[Item]:
    """The items of benchmark files.

    Args:
        sources: Files (JSON lines, JSON, Parquet), folders of such, or datasets on the hub (see `HUB`).
        layout: A name from `LAYOUTS`, or ``auto``: recognised by the fields of each file's first row.
        principle: For rows that bring none.
        limit_groups: Most groups of each source. The groups are drawn by a hash of their names, so that a larger limit
            keeps those of a smaller one, and verdicts already stored are used again. None: all.

    Raises:
        ConfigError: a source cannot be read, is in no known layout, or has an id that another has too.
        MissingExtraError: reading it needs an optional package.
    """
    if layout not in ("auto", *LAYOUTS):
        raise ConfigError(f"There is no layout {layout!r}; there are: auto, {', '.join(LAYOUTS)}.")
    items: dict[str, Item] = {}
    for source in sources:
        found = _limited(list(_items(source, layout, principle)), limit_groups)
        for item in found:
            if item.id in items:
                raise ConfigError(
                    f"{source} has a second item with the id {item.id!r}.",
                    hint="Give each file once; of a folder or dataset that holds rows twice, name one file.",
                )
            items[item.id] = item
    if not items:
        raise ConfigError(f"There is nothing to judge in {', '.join(sources) or 'no file'}.")
    return list(items.values())


def read_flips(sources: Sequence[str]) -> list[Flip]:
    """The flip pairs of files with one on each line.

    Raises:
        ConfigError: a file cannot be read or a line is no flip pair.
    """
    return [flip(row, where) for source in sources for path in _files(source) for where, row in read_rows(path)]


def holds_flips(source: str) -> bool:
    """Whether a file holds flip pairs and not items, by its first row."""
    path = Path(source)
    if not path.is_file():
        return False
    _, row = next(read_rows(path), ("", {}))
    return "better_under_a" in row


def _items(source: str, layout: str, principle: str | None) -> Iterator[Item]:
    for path in _files(source):
        kind = layout
        for where, row in read_rows(path):
            full = row if principle is None or row.get("principle") else {**row, "principle": principle}
            if kind == "auto":
                kind = detect(row) or detect(full) or "auto"
            if kind == "auto":
                raise ConfigError(
                    f"{where} is in no layout that is known: it has {', '.join(sorted(row))}.",
                    hint=f"Give --format, one of {', '.join(LAYOUTS)}, and --principle if rows have none.",
                )
            yield LAYOUTS[kind](full, where, path.parent.name)


def _limited(items: list[Item], limit: int | None) -> list[Item]:
    if limit is None:
        return items
    drawn = sorted({item.group for item in items}, key=lambda group: hashlib.sha256(group.encode()).digest())
    kept = frozenset(drawn[:limit])
    return [item for item in items if item.group in kept]


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a file, each with where it stands.

    Raises:
        ConfigError: it cannot be read.
        MissingExtraError: it is Parquet and pyarrow is not installed.
    """
    if path.suffix.lower() == ".parquet":
        rows = _parquet(path)
    else:
        try:
            rows = _json(path, path.read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"Cannot read {path}: {getattr(error, 'strerror', None) or error}.") from error
    for number, row in rows:
        where = f"{path.name}, row {number}"
        if not isinstance(row, dict):
            raise ConfigError(f"{where} is not a JSON object but a {type(row).__name__}.")
        yield where, row


def _json(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    if text.lstrip().startswith("["):
        try:
            yield from enumerate(json.loads(text), start=1)
        except ValueError as error:
            raise ConfigError(f"Cannot read {path} as JSON: {error}.") from error
        return
    # Not splitlines(): it would also split at the odd separators that JSON texts may hold as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise ConfigError(f"Cannot read line {number} of {path} as JSON: {error}.") from error


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("Parquet", extra="parquet") from error
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError(f"Cannot read {path}: {' '.join(str(error).split())}.") from error
    yield from enumerate(rows, start=1)


def _files(source: str) -> list[Path]:
    if source.startswith(HUB):
        return _from_hub(source.removeprefix(HUB))
    path = Path(source)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ConfigError(f"There is no file or folder {source}.", hint=f"A dataset on the hub is {HUB}owner/name.")
    return _of_folder(path, source)


def _of_folder(folder: Path, source: str, part: str = "") -> list[Path]:
    found = sorted(f for f in folder.rglob("*") if f.suffix.lower() in _SUFFIXES and f.is_file() and part in f.name)
    whole = [path for path in found if path.name in _WHOLE]
    if not found:
        raise ConfigError(f"There is no {', '.join(_SUFFIXES)} file{f' named *{part}*' if part else ''} in {source}.")
    return whole or found


def _from_hub(name: str) -> list[Path]:
    name, _, part = name.partition(":")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingExtraError("Reading datasets from the hub", extra="local") from error
    try:
        folder = snapshot_download(name, repo_type="dataset", allow_patterns=[f"*{suffix}" for suffix in _SUFFIXES])
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"Cannot get the dataset {name} from the hub: {reason}") from error
    return _of_folder(Path(folder), f"{HUB}{name}", part or _HUB_PARTS.get(name, ""))
