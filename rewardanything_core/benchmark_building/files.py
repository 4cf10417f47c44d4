"""The folder of a benchmark: written as a whole after building, and with people's agreement later."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rewardanything_core.bench.reading import read_rows
from rewardanything_core.benchmark_building.benchmark import FORMAT, HALVES, BuiltBenchmark
from rewardanything_core.benchmark_building.card import card
from rewardanything_core.benchmark_building.people import human_agreement, read_decisions
from rewardanything_core.benchmark_building.ranked import flips_between
from rewardanything_core.benchmark_building.sheet import sheet_csv, sheet_page
from rewardanything_core.errors import ConfigError

SUMMARY, CARD, TABLE, PAGE, DISPUTED = "build.json", "card.md", "sheet.csv", "sheet.html", "disputed.jsonl"

_WRITTEN = (SUMMARY, CARD, TABLE, PAGE, DISPUTED, *(f"{half}{end}.jsonl" for half in HALVES for end in ("", "-flips")))


def check_folder(folder: str | Path, files: Sequence[str | Path] = ()) -> Path:
    """Make a folder for a benchmark, or check that what it has may be replaced.

    Args:
        folder: The folder.
        files: Files that are read, which must not be among those that are written.

    Raises:
        ConfigError: it cannot be used, has such files of something else, has a table in which people have decided, or a
            card that cannot be read.
    """
    path = Path(folder)
    table = path / TABLE
    try:
        path.mkdir(parents=True, exist_ok=True)
        present = [path / name for name in _WRITTEN if (path / name).exists()]
        read = {Path(file).resolve() for file in files}
        foreign = present if not (path / SUMMARY).exists() else [file for file in present if file.resolve() in read]
    except OSError as error:
        raise ConfigError(f"Cannot write to {folder}: {error.strerror or error}.") from error
    if foreign:
        raise ConfigError(
            f"{foreign[0]} is not of a benchmark that was built here, and would be overwritten.",
            hint="Give another folder: -o.",
        )
    _read_card(path)
    filled = table.exists() and any(row.get("better") for _, row in read_rows(table, spreadsheet=True))
    if filled:
        raise ConfigError(
            f"{table} has decisions of people, which would be overwritten.",
            hint="Rename it; give it with --human once the benchmark is built.",
        )
    return path


def write_benchmark(built: BuiltBenchmark, folder: str | Path, *, files: Sequence[str | Path] = ()) -> dict[str, Any]:
    """Write a benchmark: both halves, flip pairs, disputed lists, the sheet for people, the card and all figures.

    Args:
        built: The benchmark.
        folder: The folder, which is made if need be.
        files: The files that prompts and principles were read from, whose hashes are recorded.

    Returns:
        `BuiltBenchmark.summary`, as it is in ``build.json``.

    Raises:
        ConfigError: see `check_folder`.
    """
    path = check_folder(folder, files)
    summary = built.summary(files)
    with suppress(ConfigError):
        before = _read_summary(path)
        if "human" in before and before["sheet"] == summary["sheet"]:
            summary["human"] = before["human"]
    disputed = [each.row(built.name) for each in built.lists if each.status == "disputed"]
    rows: dict[str, list[dict[str, Any]]] = {DISPUTED: disputed}
    for half in HALVES:
        kept = built.kept(half)
        rows[f"{half}.jsonl"] = [each.row(built.name) for each in kept]
        rows[f"{half}-flips.jsonl"] = list(flips_between(kept, built.name))
    _write_summary(path, summary)  # first: it marks the folder as one that may be written again
    for name, content in rows.items():
        if content:
            _write(path / name, _json_lines(content))
        else:
            (path / name).unlink(missing_ok=True)
    _write(path / TABLE, sheet_csv(built.sheet), encoding="utf-8-sig")  # spreadsheets take it for another code without
    _write(path / PAGE, sheet_page(built.sheet, name=built.name))
    return summary


def add_people(folder: str | Path, sheets: Sequence[str | Path]) -> dict[str, Any]:
    """Read what people decided, and add their agreement with the consensus to the card.

    Args:
        folder: The folder of a benchmark.
        sheets: The filled sheets of all people: tables, or what the page downloads.

    Returns:
        `BuiltBenchmark.summary` with ``human``; see `human_agreement`.

    Raises:
        ConfigError: the folder has no benchmark, or a sheet cannot be used.
    """
    path = Path(folder)
    summary = _read_summary(path)
    cases = {each["case"]: each for each in summary["sheet"]}
    summary["human"] = human_agreement(read_decisions(sheets, cases), summary["sheet"])
    _write_summary(path, summary)
    return summary


def _read_summary(path: Path) -> dict[str, Any]:
    try:
        summary = json.loads((path / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path} has no benchmark: {SUMMARY} cannot be read ({reason}).") from error
    if not isinstance(summary, dict) or summary.get("format") != FORMAT or "sheet" not in summary:
        raise ConfigError(f"{path / SUMMARY} is not of a benchmark, or of another version of this package.")
    return summary


def _read_card(path: Path) -> str:
    """The card so far, of which a section is kept. Empty: there is none."""
    try:
        return (path / CARD).read_text(encoding="utf-8") if (path / CARD).exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"Cannot read {path / CARD}: {reason}.", hint="Save it as UTF-8, since its last section is kept."
        ) from error


def _write_summary(path: Path, summary: Mapping[str, Any]) -> None:
    before = _read_card(path)
    _write(path / SUMMARY, json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    _write(path / CARD, card(summary, before))


def _json_lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write(path: Path, text: str, *, encoding: str = "utf-8") -> None:
    whole = path.with_name(f"{path.name}.part")  # a full disk or a killed process leaves the former file as it is
    try:
        whole.write_text(text, encoding=encoding, errors="backslashreplace", newline="")
        whole.replace(path)
    except OSError as error:
        raise ConfigError(f"Cannot write {path}: {error.strerror or error}.") from error
