"""Measures whether `ra-judge grade` stays fast, and its memory small, to the end of a long file.

A JSONL file goes through the command with a scripted judge that answers at once, so that only reading, rendering,
parsing, storing and writing are measured. A second run writes another file with every verdict from the store. Rows per
second are counted in the growing output; memory is read from /proc (Linux).

    python benchmarks/grade_scale.py --rows 1000000 --json grade.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rewardanything_core.backends import verdict_reply
from rewardanything_core.backends.base import Request

INTERVAL = 0.5  # seconds between measurements
PARTS = 10  # parts of the file that are reported separately


def reply(request: Request) -> str:
    """The scripted judge: a score from the length of each response."""
    responses = json.loads(request.messages[-1]["content"])["responses"]
    return verdict_reply({name: 1 + len(text) % 5 for name, text in responses.items()})


def write_rows(path: Path, rows: int) -> None:
    """Write different rows of about 400 bytes, with two responses each.

    Args:
        path: The file.
        rows: The number of rows.
    """
    with path.open("w") as file:
        for i in range(rows):
            responses = {
                "a": f"Answer {i}: " + "George Eliot. " * 8,
                "b": f"In {i} it was " + "Jane Austen. " * (i % 9),
            }
            file.write(json.dumps({"id": i, "prompt": f"Question {i}: who wrote it?", "responses": responses}) + "\n")


def grade(source: Path, out: Path, rows: int) -> dict[str, Any]:
    """Run the command and measure its output and its memory.

    Args:
        source: The input.
        out: The output.
        rows: The number of rows in the input.

    Returns:
        ``rows_per_second`` over all; ``by_part``, in rows per second, and ``peak_mb_by_part`` for each part.
    """
    here = Path(__file__).resolve().parent
    command = [str(Path(sys.executable).with_name("ra-judge")), "grade", str(source), "-o", str(out), "--json"]
    command += ["--model", "scripted:grade_scale:reply", "--principle", "The longer, the better.", "--id-column", "id"]
    environment = {**os.environ, "PYTHONPATH": str(here), "RA_JUDGE_STORE": str(source.parent / "verdicts.sqlite3")}
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, cwd=source.parent, stdout=subprocess.PIPE)
    progress: list[tuple[float, int]] = []
    memory: list[tuple[int, float]] = []
    written, position = 0, 0
    while process.poll() is None:
        time.sleep(INTERVAL)
        if out.exists():
            with out.open("rb") as file:
                file.seek(position)
                while chunk := file.read(1 << 20):
                    position += len(chunk)
                    written += chunk.count(b"\n")
        progress.append((time.perf_counter() - began, written))
        memory.append((written, resident(process.pid)))
    assert process.stdout is not None
    summary = json.loads(process.stdout.read())
    assert process.returncode == 0 and summary["rows"] == rows, summary
    seconds = time.perf_counter() - began
    return {
        "rows": rows,
        "from_store": summary["from_store"],
        "seconds": round(seconds, 1),
        "rows_per_second": round(rows / seconds),
        "by_part": rates(progress, rows),
        "peak_mb_by_part": peaks(memory, rows),
    }


def resident(pid: int) -> float:
    """Resident memory of a process in megabytes; 0 where it cannot be read."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0.0)


def rates(progress: list[tuple[float, int]], rows: int) -> list[int]:
    """Rows per second in each part of the file.

    Args:
        progress: (seconds, rows written) over time.
        rows: The number of rows in the file.
    """
    speeds = []
    for part in range(PARTS):
        inside = [(when, count) for when, count in progress if part * rows <= count * PARTS <= (part + 1) * rows]
        if len(inside) > 1 and inside[-1][0] > inside[0][0]:
            speeds.append(round((inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])))
    return speeds


def peaks(memory: list[tuple[int, float]], rows: int) -> list[int]:
    """Peak memory in each part of the file, in megabytes.

    Args:
        memory: (rows written, megabytes) over time.
        rows: The number of rows in the file.
    """
    return [
        round(max((used for count, used in memory if part * rows <= count * PARTS <= (part + 1) * rows), default=0))
        for part in range(PARTS)
    ]


def main() -> None:
    """Measure and print; with ``--json``, also write the figures to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.jsonl"
        write_rows(source, options.rows)
        figures: dict[str, Any] = {}
        for name in ("judged", "from the store"):
            figures[name] = grade(source, Path(folder) / f"{name.replace(' ', '-')}.jsonl", options.rows)
            speed = f"{figures[name]['seconds']} s, {figures[name]['rows_per_second']:,} a second"
            print(f"{name}: {options.rows:,} rows in {speed}")
            print(f"  rows per second in each {100 // PARTS}%: {figures[name]['by_part']}")
            print(f"  peak memory in each, MB: {figures[name]['peak_mb_by_part']}", flush=True)
        figures["store_bytes_per_row"] = (Path(folder) / "verdicts.sqlite3").stat().st_size // options.rows
        print(f"store: {figures['store_bytes_per_row']:,} bytes per row")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
