"""Does `ra-judge grade` stay as fast and as small to the end of a long file?

A JSONL file of many rows goes through the command with a scripted judge, which answers at once, so that all that is
measured is ours: reading, rendering, parsing, storing, writing. Then once more into another file, with every verdict
from the store. Rows per second are counted from the growing output, memory is read from /proc (Linux).

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

STEP = 0.5
PARTS = 10


def reply(request: Request) -> str:
    """The scripted judge: a score from the length of each response."""
    responses = json.loads(request.messages[-1]["content"])["responses"]
    return verdict_reply({name: 1 + len(text) % 5 for name, text in responses.items()})


def write_rows(path: Path, rows: int) -> None:
    """Rows of two responses, each of its own, some 400 bytes long."""
    with path.open("w") as file:
        for i in range(rows):
            responses = {
                "a": f"Answer {i}: " + "George Eliot. " * 8,
                "b": f"In {i} it was " + "Jane Austen. " * (i % 9),
            }
            file.write(json.dumps({"id": i, "prompt": f"Question {i}: who wrote it?", "responses": responses}) + "\n")


def grade(source: Path, out: Path, rows: int) -> dict[str, Any]:
    """Run the command, and watch its output and its memory."""
    here = Path(__file__).resolve().parent
    command = [str(Path(sys.executable).with_name("ra-judge")), "grade", str(source), "-o", str(out), "--json"]
    command += ["--model", "scripted:grade_scale:reply", "--principle", "The longer, the better.", "--id-column", "id"]
    environment = {**os.environ, "PYTHONPATH": str(here), "RA_JUDGE_STORE": str(source.parent / "verdicts.sqlite3")}
    began = time.perf_counter()
    process = subprocess.Popen(command, env=environment, cwd=source.parent, stdout=subprocess.PIPE)
    seen: list[tuple[float, int]] = []
    memory: list[tuple[int, float]] = []
    written, at = 0, 0
    while process.poll() is None:
        time.sleep(STEP)
        if out.exists():
            with out.open("rb") as file:
                file.seek(at)
                while chunk := file.read(1 << 20):
                    at += len(chunk)
                    written += chunk.count(b"\n")
        seen.append((time.perf_counter() - began, written))
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
        "by_part": rates(seen, rows),
        "peak_mb_by_part": peaks(memory, rows),
    }


def resident(pid: int) -> float:
    """Megabytes of memory of a process; 0 where it cannot be read."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:")), 0.0)


def rates(seen: list[tuple[float, int]], rows: int) -> list[int]:
    """Rows per second in each part of the file."""
    found = []
    for part in range(PARTS):
        inside = [(when, count) for when, count in seen if part * rows <= count * PARTS <= (part + 1) * rows]
        if len(inside) > 1 and inside[-1][0] > inside[0][0]:
            found.append(round((inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])))
    return found


def peaks(memory: list[tuple[int, float]], rows: int) -> list[int]:
    """The most megabytes in each part of the file."""
    return [
        round(max((used for count, used in memory if part * rows <= count * PARTS <= (part + 1) * rows), default=0))
        for part in range(PARTS)
    ]


def main() -> None:
    """Measure, print, and write JSON if asked to."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=200_000)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "rows.jsonl"
        write_rows(source, given.rows)
        found = {}
        for name in ("judged", "from the store"):
            found[name] = grade(source, Path(folder) / f"{name.replace(' ', '-')}.jsonl", given.rows)
            speed = f"{found[name]['seconds']} s, {found[name]['rows_per_second']:,} a second"
            print(f"{name}: {given.rows:,} rows in {speed}")
            print(f"  rows a second in each {100 // PARTS}%: {found[name]['by_part']}")
            print(f"  most memory in each, MB: {found[name]['peak_mb_by_part']}", flush=True)
        found["store_bytes_per_row"] = (Path(folder) / "verdicts.sqlite3").stat().st_size // given.rows
        print(f"store: {found['store_bytes_per_row']:,} bytes a row")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
