"""Reading benchmark files from a path or the hub, with detection of the layout and sampling of groups."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardanything_core.bench.items import BenchItem, Flip, flip
from rewardanything_core.bench.layouts import LAYOUTS, detect
from rewardanything_core.conversations.json_values import unique_keys
from rewardanything_core.errors import ConfigError, MissingExtraError
from rewardanything_core.tables.csv_limits import lift_csv_field_limit

HUB = "hf:"
"""Prefix of a dataset on the Hugging Face hub: ``hf:owner/name`` or ``hf:owner/name:part-of-a-file-name``."""

_SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet")
# Files with all rows, in folders that also hold the same rows in parts, or other files.
_COMPLETE = ("total_dataset.json", "dataset.json")
_HUB_PARTS = {"allenai/reward-bench": "filtered"}


def read_items(
    sources: Sequence[str],
    *,
    layout: str = "auto",
    principle: str | Mapping[str, Any] | None = None,
    limit_groups: int | None = None,
) -> list[BenchItem]:
    """Read the items of benchmark files.

    Args:
        sources: Files (JSON lines, JSON, Parquet), folders of such files, or datasets on the hub (see `HUB`).
        layout: A name from `LAYOUTS`, or ``auto`` to detect it from the fields of each file's first row.
        principle: The principle of rows that have none; a rubric's as `Rubric.to_json` gives it.
        limit_groups: Maximum number of groups from each source. Groups are drawn by a hash of their names, so a larger
            limit includes the groups of a smaller one and stored verdicts are reused. None: all.

    Raises:
        ConfigError: a source cannot be read, has no known layout, or repeats an id.
        MissingExtraError: reading a source needs an optional package.
    """
    if layout not in ("auto", *LAYOUTS):
        raise ConfigError(f"There is no layout {layout!r}; choose from: auto, {', '.join(LAYOUTS)}.")
    items: dict[str, BenchItem] = {}
    for source in sources:
        for item in _limited(list(_items(source, layout, principle)), limit_groups):
            if item.id in items:
                raise ConfigError(
                    f"{source} has a second item with the id {item.id!r}.",
                    hint="Give each file once. If a folder or dataset holds rows twice, name one of its files.",
                )
            items[item.id] = item
    if not items:
        raise ConfigError(f"There is nothing to judge in {', '.join(sources) or 'no file'}.")
    return list(items.values())


def read_flips(sources: Sequence[str]) -> list[Flip]:
    """Read flip pairs from files with one pair on each line.

    Raises:
        ConfigError: a file cannot be read, or a line is not a flip pair.
    """
    return [flip(row, where) for source in sources for path in _files(source) for where, row in read_rows(path)]


def holds_flips(source: str) -> bool:
    """Whether the first row of a file is a flip pair."""
    path = Path(source)
    if not path.is_file():
        return False
    _, row = next(read_rows(path), ("", {}))
    return "better_under_a" in row


def _items(source: str, layout: str, principle: str | Mapping[str, Any] | None) -> Iterator[BenchItem]:
    for path in _files(source):
        kind = layout
        for where, row in read_rows(path):
            full = row if principle is None or row.get("principle") else {**row, "principle": principle}
            if kind == "auto":
                kind = detect(row) or detect(full) or "auto"
            if kind == "auto":
                raise ConfigError(
                    f"{where} has no known layout; its fields are {', '.join(sorted(row))}.",
                    hint=f"Give --format, one of {', '.join(LAYOUTS)}, and --principle if rows have no principle.",
                )
            yield LAYOUTS[kind](full, where, path.parent.name)


def _limited(items: list[BenchItem], limit: int | None) -> list[BenchItem]:
    if limit is None:
        return items
    drawn = sorted({item.group for item in items}, key=lambda group: hashlib.sha256(group.encode()).digest())
    sampled = frozenset(drawn[:limit])
    return [item for item in items if item.group in sampled]


def read_rows(path: Path, *, spreadsheet: bool = False) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a file, each with its file name and number for messages.

    Args:
        path: The file (CSV, Parquet, JSON or JSON lines).
        spreadsheet: Whether CSV may be as spreadsheets of some countries save it: separated by semicolons or tabs, and
            without the empty cells at the end of a row.

    Raises:
        ConfigError: the file cannot be read.
        MissingExtraError: it is a Parquet file and pyarrow is not installed.
    """
    if path.suffix.lower() == ".parquet":
        rows = _parquet(path)
    else:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise ConfigError(f"Cannot read {path}: {error.strerror or error}.") from error
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"Cannot read {path}: it is not UTF-8 ({error}).", hint="Spreadsheets save it as 'CSV UTF-8'."
            ) from error
        rows = _csv(path, text, spreadsheet) if path.suffix.lower() == ".csv" else _json(path, text)
    for number, row in rows:
        where = f"{path.name}, row {number}"
        if not isinstance(row, dict):
            raise ConfigError(f"{where} is not a JSON object but a {type(row).__name__}.")
        yield where, row


def _csv(path: Path, text: str, spreadsheet: bool) -> Iterator[tuple[int, Any]]:
    """Rows of CSV; empty cells are left out, and scores are numbers."""
    lift_csv_field_limit()
    separator = max(",;\t", key=text.partition("\n")[0].count) if spreadsheet else ","
    reader = csv.DictReader(
        io.StringIO(text, newline=""), strict=True, delimiter=separator, restval="" if spreadsheet else None
    )
    try:
        names = reader.fieldnames or []
        rows = list(reader)
    except csv.Error as error:
        raise ConfigError(f"Cannot read {path} beyond line {reader.line_num}: {error}.") from error
    if len(set(names)) < len(names):
        raise ConfigError(f"{path} has columns of one name: {', '.join(map(repr, names))}.", hint="Rename one of them.")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise ConfigError(f"Row {number} of {path} has more or fewer fields than the header.")
        filled = {name: value for name, value in row.items() if value not in (None, "")}
        try:
            yield number, filled | ({"score": float(filled["score"])} if "score" in filled else {})
        except ValueError as error:
            raise ConfigError(f"Row {number} of {path} has the score {filled['score']!r}, no number.") from error


def _json(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    if text.lstrip().startswith("["):
        try:
            yield from enumerate(json.loads(text, object_pairs_hook=unique_keys), start=1)
        except ValueError as error:
            raise ConfigError(f"Cannot read {path} as JSON: {error}.") from error
        return
    # Not splitlines(), which also splits at separators that JSON strings may contain unescaped.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line, object_pairs_hook=unique_keys)
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
        raise ConfigError(
            f"There is no file or folder {source}.", hint=f"Name a dataset on the hub as {HUB}owner/name."
        )
    return _of_folder(path, source)


def _of_folder(folder: Path, source: str, part: str = "") -> list[Path]:
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in _SUFFIXES and f.is_file() and part in f.name)
    complete = [path for path in files if path.name in _COMPLETE]
    if not files:
        raise ConfigError(f"There is no {', '.join(_SUFFIXES)} file{f' named *{part}*' if part else ''} in {source}.")
    return complete or files


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
