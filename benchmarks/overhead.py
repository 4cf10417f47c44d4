"""What does the package itself cost: to import it, to start the command, to read a stored verdict, to make a new one?

The judge is scripted and answers at once, so that nothing but our own work is measured.

    python benchmarks/overhead.py --json overhead.json
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rewardanything_core import Case, Judge, ScriptedBackend

THREADS = 32


def cases(count: int) -> list[Case]:
    """New cases of two responses each time, as a program that judges the same texts again would make them."""
    principle = "Concise before complete; never invent facts."
    return [Case(principle, f"Who wrote it ({i})?", {"a": f"George Eliot ({i}). " * 8, "b": "?"}) for i in range(count)]


def started(command: list[str], rounds: int) -> dict[str, float]:
    """Median milliseconds of a command, by the clock and of CPU."""
    clock, cpu = [], []
    for _ in range(rounds):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        clock.append(time.perf_counter() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return {"clock_ms": 1000 * statistics.median(clock), "cpu_ms": 1000 * statistics.median(cpu)}


def speed(count: int, rounds: int, run: Callable[[list[Case]], object]) -> dict[str, float]:
    """Median cases a second, and CPU microseconds for each."""
    clock, cpu = [], []
    for _ in range(rounds):
        made = cases(count)
        wall, busy = time.perf_counter(), time.process_time()
        run(made)
        clock.append(time.perf_counter() - wall)
        cpu.append(time.process_time() - busy)
    return {"per_second": count / statistics.median(clock), "cpu_us": 1e6 * statistics.median(cpu) / count}


def in_threads(judge: Judge, made: list[Case]) -> None:
    """One case at a time from many threads."""
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(judge.judge, made))


def main() -> None:
    """Measure, print, and write JSON if asked to."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--cases", type=int, default=10_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    python, command = sys.executable, str(Path(sys.executable).with_name("ra-judge"))
    found: dict[str, dict[str, float]] = {
        "bare Python": started([python, "-c", "pass"], 3 * given.rounds),
        "import rewardanything_core": started([python, "-c", "import rewardanything_core"], 3 * given.rounds),
        "ra-judge --help": started([command, "--help"], 3 * given.rounds),
    }
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RA_JUDGE_STORE"] = str(Path(folder) / "verdicts.sqlite3")
        backend = ScriptedBackend.scoring(lambda text: 1 + len(text) % 5)
        judge, unstored = Judge(backend), Judge(backend, cache="off")
        wall = time.perf_counter()
        judge.judge_batch(cases(given.cases))
        found["judged and stored"] = {"per_second": given.cases / (time.perf_counter() - wall)}
        found["judged, not stored"] = speed(given.cases, given.rounds, unstored.judge_batch)
        found[f"judged, not stored, {THREADS} threads"] = speed(
            given.cases, given.rounds, lambda made: in_threads(unstored, made)
        )
        ways: dict[str, Callable[[list[Case]], object]] = {
            "judge_batch": judge.judge_batch,
            "judge_stream": lambda made: list(judge.judge_stream(made)),
            "judge": lambda made: list(map(judge.judge, made)),
            f"judge, {THREADS} threads": lambda made: in_threads(judge, made),
        }
        for name, way in ways.items():
            found[f"read back, {name}"] = speed(given.cases, given.rounds, way)
        keys = [judge._keys.key(case) for case in cases(given.cases)]
        store = judge.store
        found["store alone, get"] = speed(given.cases, given.rounds, lambda _: list(map(store.get, keys)))
        found["store alone, get_many"] = speed(given.cases, given.rounds, lambda _: store.get_many(keys))
    for name, figures in found.items():
        print(f"{name:34}" + "  ".join(f"{value:10,.1f} {unit}" for unit, value in figures.items()))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
