"""Commands whose verdict store is full, and commands that are interrupted twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from checks import RA_JUDGE, environ, read_jsonl, write_jsonl
from scripts import heed_ctrl_c

pytestmark = [pytest.mark.usefixtures("here"), pytest.mark.skipif(os.name == "nt", reason="POSIX only")]


def run_with_small_files(*command: object, **env: str) -> subprocess.CompletedProcess[str]:
    def limit() -> None:  # in place of a full disk
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    return subprocess.run(
        [RA_JUDGE, *map(str, command)],
        env=environ(**env),
        text=True,
        capture_output=True,
        preexec_fn=limit,
        timeout=120,
    )


def test_grade_writes_every_row_when_the_store_is_full():
    rows = [{"id": i, "prompt": f"q{i}", "responses": {"a": "x" * 900, "b": "yy"}} for i in range(120)]
    write_jsonl("in.jsonl", rows)
    options = ("in.jsonl", "--principle-name", "concise", "-o", "out.csv", "--window", 8)
    done = run_with_small_files("grade", *options, RA_JUDGE_MODEL="scripted:scripts:by_length")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("could not be stored") == 1
    assert "not stored in" in done.stderr
    assert "120 rows, 120 judged" in done.stderr
    assert sum(1 for line in Path("out.csv").read_text().splitlines() if line.split(",")[0].isdigit()) == 120


def test_bench_and_check_report_when_the_store_is_full():
    text = "word " * 400
    pairs = [
        {"principle": "P", "prompt": f"q{i}", "responses": {"a": "x", "b": text}, "pairs": [["b", "a"]]}
        for i in range(100)
    ]
    write_jsonl("pairs.jsonl", pairs)
    done = run_with_small_files("bench", "pairs.jsonl", "--json", RA_JUDGE_MODEL="scripted:scripts:by_length")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pairwise_accuracy"]["value"] == 1.0
    assert "Traceback" not in done.stderr
    assert done.stderr.count("could not be stored") == 1
    for name, score in (("a.jsonl", "x"), ("b.jsonl", "xx")):
        write_jsonl(name, [{"id": str(i), "prompt": text + str(i), "response": score} for i in range(100)])
    files = ("--baseline", "a.jsonl", "--candidate", "b.jsonl", "--principle", "P", "--json")
    done = run_with_small_files("check", *files, RA_JUDGE_MODEL="scripted:scripts:by_length")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("could not be stored") == 1


def test_a_command_that_is_interrupted_twice_ends_without_a_traceback():
    write_jsonl("in.jsonl", [{"prompt": f"q{i}", "responses": ["a", "bb"]} for i in range(2000)])
    process = subprocess.Popen(
        [RA_JUDGE, "grade", "in.jsonl", "--principle-name", "concise", "-o", "out.jsonl"],
        env=environ(RA_JUDGE_MODEL="scripted:scripts:counted", SLOW="0.05"),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (Path("out.jsonl").exists() and read_jsonl("out.jsonl")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in errors
