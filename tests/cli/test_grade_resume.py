"""``ra-judge grade``: runs that are killed, interrupted, repeated or refused, and the files they leave."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from checks import RA_JUDGE, environ, errors_of, invoke, read_jsonl, write_jsonl
from grading import JUDGE, calls, grade, read_csv, rows
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import heed_ctrl_c

from rewardanything_core.cli._row_codecs import Csv, JsonLines, RowFile

pytestmark = pytest.mark.usefixtures("here")


def command(*arguments: object) -> list[str]:
    return [RA_JUDGE, "grade", *map(str, arguments), "--principle-name", "concise"]


def killed_after(lines: int, *arguments: object, out: str, sig: int = signal.SIGKILL, **env: str) -> bytes:
    process = subprocess.Popen(
        command(*arguments), env=environ(**JUDGE, **env), stderr=subprocess.PIPE, preexec_fn=heed_ctrl_c
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if Path(out).exists() and Path(out).read_bytes().count(b"\n") >= lines:
            break
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    process.send_signal(sig)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == (-sig if sig == signal.SIGKILL else 130), errors
    return errors


def logged(limit: int = 9999) -> list[dict]:
    return json.loads(invoke("log", "--limit", limit, "--json").stdout)


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_run_killed_twice_continues_without_losing_or_repeating_rows(suffix):
    n = 2000
    write_jsonl("in.jsonl", rows(n))
    growing = "out.parquet.partial" if suffix == "parquet" else f"out.{suffix}"
    arguments = ["in.jsonl", "-o", f"out.{suffix}", "--id-column", "id"]
    killed_after(200, *arguments, out=growing, SLOW="0.05")
    judged_by_then = len(set(calls()))
    with Path(growing).open("ab") as file:  # as if the kill had come in the middle of a row
        file.write(b'{"id": 4711, "prompt": "quest' if suffix != "csv" else b'4711,"quest\nion')
    lines = len(Path(growing).read_bytes().splitlines())
    killed_after(lines + 300, *arguments, out=growing, SLOW="0.05")
    summary = json.loads(grade(*arguments, "--json").stdout)
    assert summary["rows"] == n
    assert summary["done_before"] >= 300
    assert summary["failed"] == 0
    if suffix == "parquet":
        import pyarrow.parquet as pq

        ids = pq.read_table("out.parquet")["id"].to_pylist()
    else:
        ids = [int(row["id"]) for row in (read_csv if suffix == "csv" else read_jsonl)(f"out.{suffix}")]
    assert ids == list(range(n))
    # A request in flight at a kill has no verdict yet and is repeated; each kill repeats at most a window of them.
    requests = calls()
    assert len(set(requests)) == n
    assert 200 <= judged_by_then < n
    assert len(requests) - n <= 2 * 256
    assert len(logged()) == n


def test_verdicts_that_were_stored_but_not_written_are_not_requested_again():
    write_jsonl("in.jsonl", rows(100))
    killed_after(20, "in.jsonl", "-o", "out.jsonl", out="out.jsonl", SLOW="0.1")
    stored = {record["case"]["prompt"] for record in logged(999)}
    before = len(calls())
    grade("in.jsonl", "-o", "out.jsonl")
    assert not stored & set(calls()[before:])


def test_an_interrupted_run_can_continue():
    write_jsonl("in.jsonl", rows(3000))
    errors = killed_after(
        5, "in.jsonl", "-o", "out.jsonl", "--window", "4", out="out.jsonl", sig=signal.SIGINT, SLOW="0.05"
    )
    assert b"run the same command again to continue" in errors
    assert b"Interrupted." in errors
    assert b"Traceback" not in errors
    grade("in.jsonl", "-o", "out.jsonl")
    assert [row["id"] for row in read_jsonl("out.jsonl")] == list(range(3000))


def test_failed_rows_stay_failed_until_they_are_retried():
    data = rows(20)
    data[4]["prompt"] = "FAIL 4"
    data[9]["prompt"] = "FAIL 9"
    write_jsonl("in.jsonl", [*data, "garbage"])
    grade("in.jsonl", "-o", "out.jsonl", code=3)
    Path("repaired").touch()
    before = len(calls())
    done = grade("in.jsonl", "-o", "out.jsonl", code=3)
    assert "18 done before, 0 judged, 0 from the store, 3 failed" in errors_of(done)
    assert "The first row without a verdict: VerdictParseError: " in errors_of(done)
    assert "--retry-failed judges them again" in errors_of(done)
    assert len(calls()) == before
    done = grade("in.jsonl", "-o", "out.jsonl", "--retry-failed", code=3)
    assert "18 done before, 2 judged, 0 from the store, 1 failed" in errors_of(done)
    assert calls()[before:] == ["FAIL 4", "FAIL 9"]
    out = read_jsonl("out.jsonl")
    assert [row.get("id") for row in out] == [*range(20), None]
    assert [row["error"] is None for row in out] == [True] * 20 + [False]
    assert not Path("out.jsonl.retry").exists()


def test_other_settings_or_input_are_refused_and_overwrite_begins_again():
    write_jsonl("in.jsonl", rows(5))
    grade("in.jsonl", "-o", "out.jsonl", "--limit", "3")
    begun = Path("out.jsonl").read_bytes()
    for arguments, difference in [
        (["--principle", "Another."], "principle"),
        (["--passes", "2"], "passes"),
        (["--id-column", "id"], "columns"),
        (["--seed", "7"], "seed"),
    ]:
        done = grade("in.jsonl", "-o", "out.jsonl", *arguments, principle="--principle" not in arguments, code=2)
        assert f"out.jsonl was begun with another {difference}." in errors_of(done)
    write_jsonl("other.jsonl", [rows(1)[0], *rows(5)])
    assert "line 2 differs" in errors_of(grade("other.jsonl", "-o", "out.jsonl", code=2))
    write_jsonl("short.jsonl", rows(2))
    assert "more rows than the input" in errors_of(grade("short.jsonl", "-o", "out.jsonl", code=2))
    assert Path("out.jsonl").read_bytes() == begun
    grade("in.jsonl", "-o", "out.jsonl")
    assert len(read_jsonl("out.jsonl")) == 5
    grade("other.jsonl", "-o", "out.jsonl", "--overwrite")
    assert len(read_jsonl("out.jsonl")) == 6


@pytest.mark.parametrize("content", ["precious\n", '{"a": 1}\n', ""])
def test_a_file_that_grade_did_not_write_is_not_touched(content):
    write_jsonl("in.jsonl", rows(2))
    Path("out.jsonl").write_text(content)
    assert "was not written by grade" in errors_of(grade("in.jsonl", "-o", "out.jsonl", code=2))
    assert Path("out.jsonl").read_text() == content
    assert not Path("out.jsonl.run.json").exists()


def test_two_processes_do_not_write_the_same_file():
    write_jsonl("in.jsonl", rows(50))
    first = subprocess.Popen(command("in.jsonl", "-o", "out.jsonl", "--window", "1"), env=environ(**JUDGE, SLOW="0.2"))
    while not Path("out.jsonl").exists():
        assert first.poll() is None
        time.sleep(0.01)
    assert "Another process is writing out.jsonl" in errors_of(grade("in.jsonl", "-o", "out.jsonl", code=2))
    first.kill()
    first.wait()
    grade("in.jsonl", "-o", "out.jsonl")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_bounded():
    """30,000 rows of 4 kB are not collected in memory: the process stays far below the 120 MB of input."""
    with Path("in.jsonl").open("w") as file:
        for i in range(30_000):
            file.write(json.dumps({"prompt": f"{i % 50}", "responses": ["z" * 4000], "i": i}) + "\n")
    code = """
import re, sys
from pathlib import Path
from rewardanything_core.cli import main
sys.argv = ["ra-judge", *sys.argv[1:]]
try:
    main()
finally:
    peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
    Path("peak").write_text(str(int(peak) // 1024))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "grade", "in.jsonl", "-o", "out.jsonl", "--principle", "x"],
        env=environ(**JUDGE), capture_output=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(Path("peak").read_text()) < 80, "MB"
    assert len(calls()) == 50


# --- row files ------------------------------------------------------------------------------------------------------

cells = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.fixed_dictionaries({"a": cells, "b": cells, 'c"\n': cells}), max_size=6), st.data())
def test_a_csv_file_cut_anywhere_can_be_continued(rows, data):
    _cut_anywhere(lambda: Csv(["a", "b", 'c"\n']), rows, data)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.dictionaries(st.text(), values, max_size=4), max_size=6), st.data())
def test_a_jsonl_file_cut_anywhere_can_be_continued(rows, data):
    _cut_anywhere(JsonLines, rows, data)


def _cut_anywhere(codec, rows, data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows"
        file = RowFile(path, codec())
        for row in rows:
            file.add(row)
        file.close()
        whole = path.read_bytes()
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
        again = RowFile(path, codec())
        existing = list(again.rows())
        assert existing == rows[: len(existing)]
        for row in rows[len(existing) :]:
            again.add(row)
        again.close()
        assert path.read_bytes() == whole


def test_csv_values_can_be_read_by_any_reader():
    codec = Csv(["a"])
    line = codec.encode({"a": {"é": [1, None, "\ud800"]}}).decode()
    (cell,) = next(csv.reader(io.StringIO(line)))
    assert json.loads(cell.replace("\\ud800", "?")) == {"é": [1, None, "?"]}
