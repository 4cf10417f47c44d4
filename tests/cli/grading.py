"""Helpers for tests of ``ra-judge grade``."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from checks import Invocation, invoke, read_jsonl

JUDGE = {"RA_JUDGE_MODEL": "scripted:scripts:counted"}


def grade(*arguments: object, principle: bool = True, **how: Any) -> Invocation:
    """Run the command in this process, with `scripts.counted` as the judge and a principle unless there is one."""
    named = ["--principle-name", "concise"] if principle else []
    return invoke("grade", *arguments, *named, **{**JUDGE, **how})


def record(record_id: str) -> dict[str, Any]:
    """A record of the verdict store."""
    return json.loads(invoke("log", record_id, "--json").stdout)


def calls() -> list[str]:
    """The prompts that the judge received in this folder."""
    return read_jsonl("calls") if Path("calls").exists() else []


def rows(n: int, **more: Any) -> list[dict[str, Any]]:
    """Rows of two responses."""
    return [
        {"id": i, "prompt": f"question {i}", "responses": {"a": "x" * (i % 7), "b": "yy"}, **more} for i in range(n)
    ]


def read_csv(path: str | Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
