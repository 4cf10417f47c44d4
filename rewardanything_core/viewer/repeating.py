"""How a stored case is judged again: a command, and Python."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path

from rewardanything_core.principles import Rubric
from rewardanything_core.store.verdict_store import Record

_MAX_COMMAND = 4_000  # characters


def command(record: Record) -> str:
    """A command that judges a case of short texts again; empty if it is long or has conversations.

    Args:
        record: The record.
    """
    case = record.case
    parts = [case.prompt, *case.responses.values(), case.principle.text]
    if not all(isinstance(part, str) for part in parts) or isinstance(case.principle, Rubric):
        return ""
    optional = [("--reference", case.reference), ("--context", case.context), *_judge_options(record)]
    words = ["ra-judge", "judge", "--cache", "off"]
    words += itertools.chain.from_iterable((name, value) for name, value in optional if value is not None)
    words += [
        "--principle",
        case.principle.text,
        "--prompt",
        str(case.prompt),
        "--",
        *map(str, case.responses.values()),
    ]
    line = shlex.join(words)
    return line if len(line) <= _MAX_COMMAND and line.isprintable() else ""


def file_command(record: Record, file: str) -> str:
    """A command that judges the case again from a file.

    Args:
        record: The record.
        file: The file, as `case_row` describes its row.
    """
    chosen = itertools.chain.from_iterable((name, value) for name, value in _judge_options(record) if value is not None)
    words = ["ra-judge", "grade", file, "-o", "judged.jsonl", "--principle-column", "principle", "--cache", "off"]
    return shlex.join([*words, *chosen])


def python_line(record: Record, path: Path) -> str:
    """Python that judges the case of a stored record again.

    Args:
        record: The record.
        path: Its store.
    """
    options = [repr(record.model), 'cache="off"']
    options += [f"{name[2:]}={value}" for name, value in _judge_options(record) if name != "--model" and value]
    found = f"VerdictStore({path.name!r}).find({record.record_id!r}).case"
    return (
        "from rewardanything_core import load_judge; from rewardanything_core.store.verdict_store import VerdictStore\n"
        f"verdict = load_judge({', '.join(options)}).judge({found})"
    )


def _judge_options(record: Record) -> list[tuple[str, str | None]]:
    settings = record.settings
    return [
        ("--model", record.model or None),
        *((f"--{name}", str(settings[name])) for name in ("passes", "seed") if isinstance(settings.get(name), int)),
    ]
