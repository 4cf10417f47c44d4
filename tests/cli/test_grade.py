from __future__ import annotations

import csv
import datetime
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import heed_ctrl_c

from rewardanything_core.cli._written import Csv, JsonLines, RowFile
from rewardanything_core.tables.columns import RESULTS

RA_JUDGE = str(Path(sys.executable).with_name("ra-judge"))

SCRIPT = """
import asyncio, json, os
from rewardanything_core.backends import verdict_reply

async def reply(request):
    asked = json.loads(request.messages[1]["content"])
    with open("calls", "a") as file:
        file.write(json.dumps(asked["prompt"]) + "\\n")
    await asyncio.sleep(float(os.environ.get("SLOW", "0")))
    if "FAIL" in str(asked["prompt"]) and not os.path.exists("repaired"):
        return "I would rather not."
    return verdict_reply({name: 1 + len(text) % 5 for name, text in asked["responses"].items()}, thoughts="ö")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "script.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(*arguments: object) -> list[str]:
    return [RA_JUDGE, "grade", *map(str, arguments)]


def environ(**changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RA_JUDGE_")}
    return kept | {
        "RA_JUDGE_HOME": "home",
        "RA_JUDGE_MODEL": "scripted:script:reply",
        "PYTHONPATH": ".",
        **changes,
    }


def grade(
    *arguments: object, code: int = 0, principle: bool = True, stdin: bytes = b"", **env: str
) -> subprocess.CompletedProcess[bytes]:
    named = ["--principle-name", "concise"] if principle else []
    done = subprocess.run(
        command(*arguments, *named), input=stdin, env=environ(**env), capture_output=True, timeout=120
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert b"Traceback" not in done.stderr
    return done


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    return " ".join(done.stderr.decode().split())


def write_jsonl(path: str | Path, rows) -> None:
    Path(path).write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))


def read_jsonl(path: str | Path) -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def read_csv(path: str | Path) -> list[dict]:
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def calls() -> list[str]:
    return [json.loads(line) for line in Path("calls").read_text().splitlines()] if Path("calls").exists() else []


def rows(n: int, **more) -> list[dict]:
    return [
        {"id": i, "prompt": f"question {i}", "responses": {"a": "x" * (i % 7), "b": "yy"}, **more} for i in range(n)
    ]


# --- one run --------------------------------------------------------------------------------------------------------


def test_rows_come_out_in_order_with_their_own_columns_and_a_verdict(here):
    write_jsonl("in.jsonl", rows(30, note={"kept": ["é", None, 1.5]}))
    done = grade("in.jsonl", "-o", "out.jsonl", "--id-column", "id")
    out = read_jsonl("out.jsonl")
    assert [row["id"] for row in out] == list(range(30))
    assert list(out[3]) == ["id", "prompt", "responses", "note", *RESULTS]
    assert out[3] == {
        **rows(30, note={"kept": ["é", None, 1.5]})[3],
        "scores": {"a": 4.0, "b": 3.0},
        "ranking": ["a", "b"],
        "best": "a",
        "agreement": None,
        "spread": {"a": 0.0, "b": 0.0},
        "reasoning": "ö",
        "record_id": out[3]["record_id"],
        "error": None,
    }
    assert done.stdout == b""
    assert "30 rows, 30 judged, 0 from the store, 0 failed" in said(done)
    shown = subprocess.run([RA_JUDGE, "log", out[3]["record_id"]], env=environ(), capture_output=True, text=True)
    assert "question 3" in shown.stdout


def test_summary_as_json(here):
    write_jsonl("in.jsonl", rows(3))
    summary = json.loads(grade("in.jsonl", "-o", "out.jsonl", "--json").stdout)
    assert (summary["rows"], summary["judged"], summary["failed"]) == (3, 3, 0)
    assert json.loads(grade("in.jsonl", "-o", "-", "--json").stderr)["from_store"] == 3


def test_pipes(here):
    text = "".join(json.dumps(row) + "\n" for row in rows(5)).encode()
    done = grade("-", "-o", "-", stdin=text)
    assert [json.loads(line)["best"] for line in done.stdout.splitlines()][::3] == ["b", "a"]
    done = grade("-", "-o", "-", "--format", "csv", "--response-column", "r", stdin="prompt,r\nq,ä\n".encode())
    assert done.stdout.splitlines()[0].startswith(b"prompt,r,scores")
    assert grade("-", "-o", "-", stdin=b"").stdout == b""
    assert not list(here.glob("*.run.json"))


def test_bad_rows_are_failures_in_their_place(here):
    write_jsonl(
        "in.jsonl",
        [
            rows(1)[0],
            "{not json",
            "[1]",
            '{"prompt": "p", "responses": {"a": "1", "a": "2"}}',
            "",
            {"id": 5, "prompt": 7, "responses": ["x"]},
            {"prompt": "p"},
            {"prompt": "p", "responses": {}},
            {"prompt": "p", "responses": {"a": None}},
            '{"prompt": "half \\ud800", "responses": ["x"]}',
            {"id": 11, "prompt": "FAIL", "responses": ["x"]},
            {"prompt": [{"role": "user", "content": "chat"}], "responses": "just one"},
        ],
    )
    done = grade("in.jsonl", "-o", "out.jsonl", "--id-column", "id", code=3)
    assert "11 rows, 2 judged, 0 from the store, 9 failed" in said(done)
    out = read_jsonl("out.jsonl")
    errors = [row["error"] for row in out]
    expected = [
        "2: ",
        "3: it is not a JSON object",
        "4: .*'a' is there twice",
        "6: .*prompt must be",
        "7: .*'responses'",
    ]
    expected += ["8: .*empty", "9: .*'a' must be a string", "10: .*surrogate"]
    for error, pattern in zip(errors[1:9], expected, strict=True):
        assert re.match(f"InvalidCaseError: In line {pattern}", error), error
    assert errors[9].startswith("VerdictParseError: ")
    assert errors[0] is errors[10] is None
    assert out[10]["scores"] == {"0": 4.0}
    for row in out[1:10]:
        assert all(row[name] is None for name in RESULTS if name not in ("error", "record_id"))
    assert out[9]["id"] == 11
    failure = subprocess.run([RA_JUDGE, "log", out[9]["record_id"]], env=environ(), capture_output=True, text=True)
    assert "I would rather not." in failure.stdout


def test_principles_from_a_file_a_column_and_the_line(here):
    write_jsonl("in.jsonl", rows(1, rule="Be kind."))
    Path("rule.md").write_text("# Kind\nBe kind.\n")
    ids = set()
    for rule in (["--principle", "Be kind."], ["--principle-file", "rule.md"], ["--principle-column", "rule"]):
        done = grade("in.jsonl", "-o", "-", *rule, principle=False)
        ids.add(json.loads(done.stdout)["record_id"])
    assert len(ids) == 1
    assert len(calls()) == 1


def test_reference_and_context_reach_the_judge(here):
    write_jsonl("in.jsonl", rows(1, gold="4", facts="2 + 2 = 4"))
    first = json.loads(grade("in.jsonl", "-o", "-").stdout)["record_id"]
    done = grade("in.jsonl", "-o", "-", "--reference-column", "gold", "--context-column", "facts")
    found = json.loads(done.stdout)["record_id"]
    assert found != first
    record = json.loads(subprocess.run([RA_JUDGE, "log", found, "--json"], env=environ(), capture_output=True).stdout)
    assert (record["case"]["reference"], record["case"]["context"]) == ("4", "2 + 2 = 4")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.jsonl", "-o", "out.jsonl"], "Cannot read none.jsonl: No such file"),
        (["in.jsonl", "-o", "no/folder/out.jsonl"], "Cannot write"),
        (["in.jsonl", "-o", "in.jsonl"], "same file"),
        (["in.data", "-o", "out.jsonl"], "--format"),
        (["in.jsonl", "-o", "out.jsonl", "--format", "xml"], "--format"),
        (["in.jsonl", "-o", "out.jsonl", "--prompt-column", "question"], "no column 'question'; it has 'id'"),
        (["in.jsonl", "-o", "out.jsonl", "--id-column", "name"], "no column 'name'"),
        (["clash.jsonl", "-o", "out.jsonl"], "already has a column 'scores', 'error'"),
        (["in.jsonl", "-o", "out.jsonl", "--response-column", "a", "--responses-column", "b"], "not both"),
        (["in.jsonl", "-o", "out.jsonl", "--principle", "x"], "Give one of --principle"),
        (["in.jsonl", "-o", "out.jsonl", "--model", "scripted:script:nothing"], "no function"),
        (["in.jsonl", "-o", "out.jsonl", "--passes", "0"], "passes"),
        (["in.jsonl", "-o", "out.jsonl", "--store", "in.jsonl"], "not a verdict store"),
        (["empty.csv", "-o", "out.csv"], "empty"),
        (["twice.csv", "-o", "out.csv"], "more than one column named 'a'"),
        (["in.jsonl", "-o", "out.jsonl", "--format", "parquet"], "Cannot read in.jsonl"),
        (["-", "-o", "out.jsonl", "--format", "parquet"], "pipe"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_judged(here, arguments, message):
    write_jsonl("in.jsonl", rows(2))
    write_jsonl("in.data", rows(2))
    write_jsonl("clash.jsonl", rows(2, scores=1, error=2))
    Path("empty.csv").touch()
    Path("twice.csv").write_text("prompt,a,a\n")
    done = grade(*arguments, code=2)
    assert message in said(done)
    assert calls() == []
    assert not Path("out.jsonl").exists()


def test_a_prefix_settles_a_clash(here):
    write_jsonl("in.jsonl", rows(2, scores=1, error=2))
    for _ in range(2):
        grade("in.jsonl", "-o", "out.jsonl", "--prefix", "judge_")
    row = read_jsonl("out.jsonl")[1]
    assert (row["scores"], row["error"], row["judge_best"], row["judge_error"]) == (1, 2, "b", None)
    write_jsonl("late.jsonl", [*rows(100), *rows(1, best="mine")])  # too late to be noticed in advance
    grade("late.jsonl", "-o", "late.out.jsonl", code=3)
    assert "'best' of its own; give --prefix" in read_jsonl("late.out.jsonl")[100]["error"]


# --- formats --------------------------------------------------------------------------------------------------------


def test_csv_in_and_out(here):
    texts = ['say "hi",\nthen\r\nleave', "Grüße, 世界 🙂", "", " '=1+1", "a\rb", "{not json", '["x", 1]']
    with Path("in.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, ["prompt", "gpt", "llama", "extra col"])
        writer.writeheader()
        for text in texts:
            writer.writerow({"prompt": f"q {text}", "gpt": text, "llama": "ok", "extra col": text})
    grade("in.csv", "-o", "out.csv", "--response-column", "gpt", "--response-column", "llama")
    out = read_csv("out.csv")
    assert [(row["prompt"], row["gpt"], row["extra col"]) for row in out] == [(f"q {t}", t, t) for t in texts]
    assert json.loads(out[0]["scores"]) == {"gpt": 1.0 + len(texts[0]) % 5, "llama": 3.0}
    assert json.loads(out[0]["ranking"])[0] == out[0]["best"]
    assert {row["error"] for row in out} == {""}


def test_csv_cells_with_json_bad_rows_and_bad_bytes(here):
    Path("in.csv").write_bytes(
        b"prompt,responses,gold\n"
        b'q1,"{""a"": ""x"", ""b"": ""yy""}",\n'
        b'q2,"[""x"", ""yy""]",g\n'
        b"q3,plain text,\n"
        b"q4\n"
        b"\n"
        b"q5,a,b,c\n"
        b"q6,\xff\xfe,\n"
        b'q7,"{""a"": ""x"", ""a"": ""yy""}",\n'
        b'"[{""role"": ""user"", ""content"": ""q8""}]","[{""a"": 1}]",\n'
    )
    grade("in.csv", "-o", "out.jsonl", "--reference-column", "gold", code=3)
    out = read_jsonl("out.jsonl")
    assert [row["scores"] and list(row["scores"]) for row in out] == [
        ["a", "b"], ["0", "1"], ["0"], None, None, None, None, ["0"]
    ]  # fmt: skip
    assert "line 5: it has 1 fields where the header has 3" in out[3]["error"]
    assert "line 7: it has 4 fields" in out[4]["error"]
    assert "line 8: it is not UTF-8" in out[5]["error"]
    assert "line 9: the key 'a' is there twice" in out[6]["error"]
    record = subprocess.run(
        [RA_JUDGE, "log", out[7]["record_id"], "--json"], env=environ(), capture_output=True, text=True
    )
    assert json.loads(record.stdout)["case"]["prompt"] == [{"role": "user", "content": "q8"}]


def test_jsonl_to_csv_has_the_columns_of_all_rows(here):
    write_jsonl("in.jsonl", [*rows(3), {"prompt": "q", "responses": ["x"], "late": [1, {"é": None}]}])
    for _ in range(2):
        grade("in.jsonl", "-o", "out.csv")
    out = read_csv("out.csv")
    assert list(out[0]) == ["id", "prompt", "responses", "late", *RESULTS]
    assert json.loads(out[3]["late"]) == [1, {"é": None}]
    assert json.loads(out[0]["responses"]) == rows(1)[0]["responses"]
    assert (out[0]["late"], out[3]["id"]) == ("", "")


def test_parquet_in_and_out_keeps_types(here):
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = 150
    when = datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.UTC)
    mapping = pa.map_(pa.string(), pa.string())
    table = pa.table(
        {
            "prompt": [f'q "{i}"\n世界' for i in range(n)],
            "responses": pa.array([[("a", "x" * (i % 7)), ("b", "yy")] for i in range(n)], mapping),
            "struct": [{"a": "x", "b": None if i % 2 else "z"} for i in range(n)],
            "when": pa.array([when] * n, pa.timestamp("us", "UTC")),
            "small": pa.array(range(n), pa.int16()),
        }
    )
    pq.write_table(table, "in.parquet")
    summary = json.loads(grade("in.parquet", "-o", "out.parquet", "--json").stdout)
    assert summary["judged"] == n
    out = pq.read_table("out.parquet")
    assert out.select(table.column_names).equals(table)
    assert out.column_names == [*table.column_names, *RESULTS]
    assert dict(out["scores"][3].as_py()) == {"a": 4.0, "b": 3.0}
    assert out["ranking"][3].as_py() == ["a", "b"]
    assert out["error"].null_count == n
    before = Path("out.parquet").stat().st_mtime_ns
    summary = json.loads(grade("in.parquet", "-o", "out.parquet", "--json").stdout)
    assert (summary["done_before"], summary["judged"]) == (n, 0)
    assert Path("out.parquet").stat().st_mtime_ns == before
    grade("in.parquet", "-o", "struct.parquet", "--responses-column", "struct", "--limit", "5")
    scores = pq.read_table("struct.parquet")["scores"].to_pylist()
    assert [len(row) for row in scores] == [2, 1, 2, 1, 2]
    grade("in.parquet", "-o", "out.csv")
    assert read_csv("out.csv")[149]["prompt"] == 'q "149"\n世界'
    assert sorted(file.name for file in here.glob("out.parquet*")) == ["out.parquet", "out.parquet.run.json"]


def test_uneven_rows_to_parquet(here):
    import pyarrow.parquet as pq

    rows_ = [
        *rows(600),
        {"prompt": "q", "responses": ["x"], "id": 1.5, "odd": "s"},
        "garbage",
        {**rows(1)[0], "odd": 3},
    ]
    write_jsonl("in.jsonl", rows_)
    grade("in.jsonl", "-o", "out.parquet", code=3)
    out = pq.read_table("out.parquet").to_pylist()
    assert len(out) == 603
    assert (out[5]["id"], out[600]["id"]) == (5.0, 1.5)
    assert (out[600]["odd"], out[602]["odd"]) == ("s", "3")
    assert json.loads(out[600]["responses"]) == ["x"]
    assert "line 602" in out[601]["error"]
    summary = json.loads(grade("in.jsonl", "-o", "out.parquet", "--json", "--limit", "603", code=3).stdout)
    assert (summary["done_before"], summary["failed"]) == (602, 1)


# --- going on -------------------------------------------------------------------------------------------------------


def killed_after(lines: int, *arguments: object, out: str, sig: int = signal.SIGKILL, **env: str) -> bytes:
    process = subprocess.Popen(
        command(*arguments, "--principle-name", "concise"),
        env=environ(**env),
        stderr=subprocess.PIPE,
        preexec_fn=heed_ctrl_c,
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


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_killed_twice_and_gone_on_with_nothing_is_lost_or_judged_twice(here, suffix):
    n = 2000
    write_jsonl("in.jsonl", rows(n))
    growing = "out.parquet.partial" if suffix == "parquet" else f"out.{suffix}"
    arguments = ["in.jsonl", "-o", f"out.{suffix}", "--id-column", "id"]
    killed_after(200, *arguments, out=growing, SLOW="0.05")
    judged_by_then = len(set(calls()))
    with Path(growing).open("ab") as file:  # as if the kill had come in the middle of a row
        file.write(b'{"id": 4711, "prompt": "quest' if suffix != "csv" else b'4711,"quest\nion')
    written = len(Path(growing).read_bytes().splitlines())
    killed_after(written + 300, *arguments, out=growing, SLOW="0.05")
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
    # A request that was under way at a kill has no verdict yet and must be asked again; at most a window of them twice.
    asked = calls()
    assert len(set(asked)) == n
    assert 200 <= judged_by_then < n
    assert len(asked) - n <= 2 * 256
    with_verdict = json.loads(
        subprocess.run([RA_JUDGE, "log", "--limit", "9999", "--json"], env=environ(), capture_output=True).stdout
    )
    assert len(with_verdict) == n


def test_what_the_store_has_is_not_asked_for_again(here):
    """Rows finished out of order and not yet written when the kill came are taken from the store."""
    write_jsonl("in.jsonl", rows(100))
    killed_after(20, "in.jsonl", "-o", "out.jsonl", out="out.jsonl", SLOW="0.1")
    stored = {
        record["case"]["prompt"]
        for record in json.loads(
            subprocess.run([RA_JUDGE, "log", "--limit", "999", "--json"], env=environ(), capture_output=True).stdout
        )
    }
    before = len(calls())
    grade("in.jsonl", "-o", "out.jsonl")
    assert not stored & set(calls()[before:])


def test_interrupted(here):
    write_jsonl("in.jsonl", rows(3000))
    errors = killed_after(
        5, "in.jsonl", "-o", "out.jsonl", "--window", "4", out="out.jsonl", sig=signal.SIGINT, SLOW="0.05"
    )
    assert b"the same command goes on" in errors
    assert b"Interrupted." in errors
    assert b"Traceback" not in errors
    grade("in.jsonl", "-o", "out.jsonl")
    assert [row["id"] for row in read_jsonl("out.jsonl")] == list(range(3000))


def test_failed_rows_stay_failed_until_a_retry(here):
    data = rows(20)
    data[4]["prompt"] = "FAIL 4"
    data[9]["prompt"] = "FAIL 9"
    write_jsonl("in.jsonl", [*data, "garbage"])
    grade("in.jsonl", "-o", "out.jsonl", code=3)
    Path("repaired").touch()
    before = len(calls())
    done = grade("in.jsonl", "-o", "out.jsonl", code=3)
    assert "18 done before, 0 judged, 0 from the store, 3 failed" in said(done)
    assert "The first without a verdict: VerdictParseError: " in said(done)
    assert "--retry-failed judges them again" in said(done)
    assert len(calls()) == before
    done = grade("in.jsonl", "-o", "out.jsonl", "--retry-failed", code=3)
    assert "18 done before, 2 judged, 0 from the store, 1 failed" in said(done)
    assert calls()[before:] == ["FAIL 4", "FAIL 9"]
    out = read_jsonl("out.jsonl")
    assert [row.get("id") for row in out] == [*range(20), None]
    assert [row["error"] is None for row in out] == [True] * 20 + [False]
    assert not Path("out.jsonl.retry").exists()


def test_other_settings_or_input_are_refused_and_overwrite_begins_again(here):
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
        assert f"out.jsonl was begun with another {difference}." in said(done)
    write_jsonl("other.jsonl", [rows(1)[0], *rows(5)])
    assert "line 2 differs" in said(grade("other.jsonl", "-o", "out.jsonl", code=2))
    write_jsonl("short.jsonl", rows(2))
    assert "more rows than the input" in said(grade("short.jsonl", "-o", "out.jsonl", code=2))
    assert Path("out.jsonl").read_bytes() == begun
    grade("in.jsonl", "-o", "out.jsonl")
    assert len(read_jsonl("out.jsonl")) == 5
    grade("other.jsonl", "-o", "out.jsonl", "--overwrite")
    assert len(read_jsonl("out.jsonl")) == 6


@pytest.mark.parametrize("content", ["precious\n", '{"a": 1}\n', ""])
def test_a_file_that_grade_did_not_write_is_left_alone(here, content):
    write_jsonl("in.jsonl", rows(2))
    Path("out.jsonl").write_text(content)
    assert "was not written by grade" in said(grade("in.jsonl", "-o", "out.jsonl", code=2))
    assert Path("out.jsonl").read_text() == content
    assert not Path("out.jsonl.run.json").exists()


def test_two_processes_do_not_write_one_file(here):
    write_jsonl("in.jsonl", rows(50))
    first = subprocess.Popen(
        command("in.jsonl", "-o", "out.jsonl", "--principle-name", "concise", "--window", "1"), env=environ(SLOW="0.2")
    )
    while not Path("out.jsonl").exists():
        assert first.poll() is None
        time.sleep(0.01)
    assert "Another process is writing out.jsonl" in said(grade("in.jsonl", "-o", "out.jsonl", code=2))
    first.kill()
    first.wait()
    grade("in.jsonl", "-o", "out.jsonl")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_bounded(here):
    """30,000 rows of 4 kB pass through without gathering: 120 MB of input in a process that stays far below."""
    with Path("in.jsonl").open("w") as file:
        for i in range(30_000):
            file.write(json.dumps({"prompt": f"{i % 50}", "responses": ["z" * 4000], "i": i}) + "\n")
    code = """
import re, sys
from rewardanything_core.cli import main
sys.argv = ["ra-judge", *sys.argv[1:]]
try:
    main()
finally:
    print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, *command("in.jsonl", "-o", "out.jsonl", "--principle", "x")[1:]],
        env=environ(), capture_output=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 80, "MB"
    assert len(calls()) == 50


# --- the files themselves -------------------------------------------------------------------------------------------

cells = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.fixed_dictionaries({"a": cells, "b": cells, 'c"\n': cells}), max_size=6), st.data())
def test_a_csv_file_cut_anywhere_goes_on_as_if_it_had_not_been(rows, data):
    _cut_anywhere(lambda: Csv(["a", "b", 'c"\n']), rows, data)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.dictionaries(st.text(), values, max_size=4), max_size=6), st.data())
def test_a_jsonl_file_cut_anywhere_goes_on_as_if_it_had_not_been(rows, data):
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
        kept = list(again.rows())
        assert kept == rows[: len(kept)]
        for row in rows[len(kept) :]:
            again.add(row)
        again.close()
        assert path.read_bytes() == whole


def test_csv_values_come_back_through_any_reader():
    codec = Csv(["a"])
    line = codec.encode({"a": {"é": [1, None, "\ud800"]}}).decode()
    (cell,) = next(csv.reader(io.StringIO(line)))
    assert json.loads(cell.replace("\\ud800", "?")) == {"é": [1, None, "?"]}
