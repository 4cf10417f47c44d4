"""``ra-judge grade``: rows, their parts, and what is refused before or while judging."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import threading
from pathlib import Path

import pytest
from checks import errors_of, invoke, read_jsonl, write_jsonl
from grading import calls, grade, read_csv, record, rows

from rewardanything_core.tables.results import RESULT_COLUMNS

pytestmark = pytest.mark.usefixtures("here")


def test_rows_are_written_in_order_with_their_own_columns_and_a_verdict():
    write_jsonl("in.jsonl", rows(30, note={"kept": ["é", None, 1.5]}))
    done = grade("in.jsonl", "-o", "out.jsonl", "--id-column", "id")
    out = read_jsonl("out.jsonl")
    assert [row["id"] for row in out] == list(range(30))
    assert list(out[3]) == ["id", "prompt", "responses", "note", *RESULT_COLUMNS]
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
    assert done.stdout == ""
    assert "30 rows, 30 judged, 0 from the store, 0 failed" in errors_of(done)
    assert "question 3" in invoke("log", out[3]["record_id"]).stdout


def test_the_summary_can_be_json():
    write_jsonl("in.jsonl", rows(3))
    summary = json.loads(grade("in.jsonl", "-o", "out.jsonl", "--json").stdout)
    assert (summary["rows"], summary["judged"], summary["failed"]) == (3, 3, 0)
    assert json.loads(grade("in.jsonl", "-o", "-", "--json").stderr)["from_store"] == 3


def test_standard_input_and_output(here):
    text = "".join(json.dumps(row) + "\n" for row in rows(5))
    done = grade("-", "-o", "-", stdin=text)
    assert [json.loads(line)["best"] for line in done.stdout.splitlines()][::3] == ["b", "a"]
    done = grade("-", "-o", "-", "--format", "csv", "--response-column", "r", stdin="prompt,r\nq,ä\n".encode())
    assert done.stdout.splitlines()[0].startswith("prompt,r,scores")
    assert not list(here.glob("*.run.json"))


def test_invalid_rows_are_failures_in_their_place():
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
    assert "11 rows, 2 judged, 0 from the store, 9 failed" in errors_of(done)
    out = read_jsonl("out.jsonl")
    errors = [row["error"] for row in out]
    expected = [
        "2: ",
        "3: it is not a JSON object",
        "4: .*'a' appears twice",
        "6: .*prompt must be",
        "7: .*'responses'",
        "8: .*empty",
        "9: .*'a' must be a string",
        "10: .*surrogate",
    ]
    for error, pattern in zip(errors[1:9], expected, strict=True):
        assert re.match(f"InvalidCaseError: In line {pattern}", error), error
    assert errors[9].startswith("VerdictParseError: ")
    assert errors[0] is errors[10] is None
    assert out[10]["scores"] == {"0": 4.0}
    for row in out[1:10]:
        assert all(row[name] is None for name in RESULT_COLUMNS if name not in ("error", "record_id"))
    assert out[9]["id"] == 11
    assert "I would rather not." in invoke("log", out[9]["record_id"]).stdout


def test_the_principle_may_come_from_an_option_a_file_or_a_column():
    write_jsonl("in.jsonl", rows(1, rule="Be kind."))
    Path("rule.md").write_text("# Kind\nBe kind.\n")
    ids = set()
    for rule in (["--principle", "Be kind."], ["--principle-file", "rule.md"], ["--principle-column", "rule"]):
        done = grade("in.jsonl", "-o", "-", *rule, principle=False)
        ids.add(json.loads(done.stdout)["record_id"])
    assert len(ids) == 1
    assert len(calls()) == 1


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_reference_and_context_reach_the_judge(suffix):
    names = ("prompt", "response", "reference", "context", "gold", "facts")
    source = [dict(zip(names, ("q", "x", "4", context, "5", "2 + 2 = 4"), strict=True)) for context in ("Sums.", None)]
    write_jsonl("in.jsonl", source)
    with Path("in.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(source)

    def seen(*options):
        grade(f"in.{suffix}", "-o", "out.jsonl", "--overwrite", *options)
        cases = [record(row["record_id"])["case"] for row in read_jsonl("out.jsonl")]
        return [(case.get("reference"), case.get("context")) for case in cases]

    assert seen() == [("4", "Sums."), ("4", None)]
    assert seen("--reference-column", "gold", "--context-column", "facts") == [("5", "2 + 2 = 4")] * 2
    assert seen("--reference-column", "", "--context-column", "") == [(None, None)] * 2
    assert seen("--reference-column", "context") == [("Sums.", None), (None, None)]


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
        (["in.jsonl", "-o", "out.jsonl", "--model", "scripted:scripts:nothing"], "no function"),
        (["in.jsonl", "-o", "out.jsonl", "--passes", "0"], "passes"),
        (["in.jsonl", "-o", "out.jsonl", "--store", "in.jsonl"], "not a verdict store"),
        (["in.jsonl", "-o", "out.jsonl", "--excel-safe"], "--excel-safe applies to CSV output only"),
        (["empty.csv", "-o", "out.csv"], "empty.csv is empty"),
        (["header.csv", "-o", "out.csv", "--response-column", "a"], "header.csv has no rows"),
        (["empty.jsonl", "-o", "out.jsonl"], "empty.jsonl has no rows"),
        (["empty.parquet", "-o", "out.jsonl"], "empty.parquet has no rows"),
        (["-", "-o", "-"], "Standard input has no rows"),
        (["twice.csv", "-o", "out.csv"], "twice.csv has more than one column named 'a'"),
        (["twice.parquet", "-o", "out.csv"], "twice.parquet has more than one column named 'responses'"),
        (["in.jsonl", "-o", "out.jsonl", "--format", "parquet"], "Cannot read in.jsonl"),
        (["-", "-o", "out.jsonl", "--format", "parquet"], "pipe"),
        (["utf16.csv", "-o", "out.csv"], "utf16.csv is UTF-16. Save it as UTF-8"),
        (["utf16-le.jsonl", "-o", "out.jsonl"], "utf16-le.jsonl is UTF-16"),
        (["packed.jsonl", "-o", "out.jsonl"], "packed.jsonl is compressed by gzip. Decompress it: gunzip packed.jsonl"),
        (["packed.jsonl.gz", "-o", "out.jsonl"], "--format"),
        (["empty.parquet", "-o", "out.csv", "--format", "csv"], "empty.parquet is a Parquet file. Give --format"),
        (["semicolons.csv", "-o", "out.csv"], "columns of semicolons.csv are separated by ';', not by commas"),
        (["python.jsonl", "-o", "out.jsonl"], "No row of python.jsonl can be read. In line 1: it cannot"),
        (["out.jsonl.run.json", "-o", "out.jsonl", "--format", "jsonl"], "a file that grade keeps next to OUT"),
        (["in.jsonl", "-o", "folder", "--overwrite"], "folder is not a regular file"),
    ],
)
def test_a_command_that_cannot_work_exits_with_2_before_anything_is_judged(arguments, message):
    import pyarrow
    import pyarrow.parquet

    write_jsonl("in.jsonl", rows(2))
    write_jsonl("in.data", rows(2))
    write_jsonl("clash.jsonl", rows(2, scores=1, error=2))
    Path("empty.csv").touch()
    Path("header.csv").write_text("prompt,a\n")
    Path("empty.jsonl").write_text("\n\n")
    Path("twice.csv").write_text("prompt,a,a\n")
    Path("utf16.csv").write_text("prompt,a\nq,x\n", encoding="utf-16")
    Path("utf16-le.jsonl").write_text('{"prompt": "q"}\n', encoding="utf-16-le")
    Path("packed.jsonl").write_bytes(gzip.compress(Path("in.jsonl").read_bytes()))
    Path("semicolons.csv").write_text("prompt;a\nq, as one asks;x\n")
    Path("python.jsonl").write_text("{'prompt': 'q', 'responses': ['x', None]}\n" * 2)
    write_jsonl("out.jsonl.run.json", rows(2))
    Path("folder").mkdir()
    column = pyarrow.array(["q"])
    pyarrow.parquet.write_table(pyarrow.table({"prompt": column, "responses": column}).slice(0, 0), "empty.parquet")
    twice = pyarrow.Table.from_arrays([column] * 3, names=["prompt", "responses", "responses"])
    pyarrow.parquet.write_table(twice, "twice.parquet")
    assert message in errors_of(grade(*arguments, code=2))
    assert calls() == []
    assert not Path("out.jsonl").exists()
    assert len(read_jsonl("out.jsonl.run.json")) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_a_pipe_is_read_once_and_in_full(suffix):
    """As ``<(zcat in.jsonl.gz)`` is: a second reader would take rows from the first."""
    os.mkfifo("pipe")
    text = "".join(json.dumps(row) + "\n" for row in rows(200, note="x" * 1000))
    writer = threading.Thread(target=Path("pipe").write_text, args=(text,), daemon=True)
    writer.start()
    grade("pipe", "--format", "jsonl", "-o", f"out.{suffix}", "--max-calls", "9999", "--yes")
    written = read_jsonl("out.jsonl") if suffix == "jsonl" else read_csv("out.csv")
    assert [str(row["id"]) for row in written] == [str(number) for number in range(200)]


def test_csv_may_begin_with_blank_lines_and_may_have_line_ends_and_nul_in_cells():
    Path("in.csv").write_text('\ufeff\n\nprompt,answer\nq,"a\r\nb"\n\nq,a\0b\n', encoding="utf-8", newline="")
    grade("in.csv", "-o", "out.jsonl", "--response-column", "answer")
    assert [row["answer"] for row in read_jsonl("out.jsonl")] == ["a\r\nb", "a\0b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[{"prompt": "q", "responses": ["x"]}]',
            "in.jsonl is a JSON array, .*jq -c '.\\[\\]' in.jsonl",
        ),
        ("[]", "in.jsonl is a JSON array"),
        ('[\n{"prompt": "q", "responses": ["x"]}\n]\n', "in.jsonl is a JSON array"),
        ('\ufeff[{"prompt": "q"},\n {"prompt": "r"}]', "in.jsonl is a JSON array"),
        ('[\n\n  {\n    "prompt": "q"\n  }\n]', "in.jsonl is a JSON array"),
        ('{\n  "prompt": "q",\n  "responses": ["x"]\n}\n', "spread over several lines, .*jq -c . in.jsonl"),
        ('{"prompt":\n "q"}\n{"prompt":\n "r"}\n', "spread over several lines"),
    ],
)
def test_a_json_array_or_json_over_several_lines_is_refused_with_a_hint(text, message):
    Path("in.jsonl").write_text(text, encoding="utf-8")
    assert re.search(message, errors_of(grade("in.jsonl", "-o", "out.jsonl", code=2)))
    assert re.search("[Ss]tandard input", errors_of(grade("-", "-o", "out.jsonl", stdin=text.encode(), code=2)))
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize("line", ["[1]", "{not json", '{"id": 1, "prompt":', "{", '"text"'])
def test_a_bad_first_line_of_json_lines_is_only_a_failed_row(line):
    write_jsonl("in.jsonl", [line, *rows(2)])
    grade("in.jsonl", "-o", "out.jsonl", code=3)
    assert [row["error"] is None for row in read_jsonl("out.jsonl")] == [False, True, True]


def test_a_prefix_resolves_a_name_clash():
    write_jsonl("in.jsonl", rows(2, scores=1, error=2))
    for _ in range(2):
        grade("in.jsonl", "-o", "out.jsonl", "--prefix", "judge_")
    row = read_jsonl("out.jsonl")[1]
    assert (row["scores"], row["error"], row["judge_best"], row["judge_error"]) == (1, 2, "b", None)
    write_jsonl("late.jsonl", [*rows(100), *rows(1, best="mine")])  # beyond the rows that are inspected first
    grade("late.jsonl", "-o", "late.out.jsonl", code=3)
    assert "'best' of its own; give --prefix" in read_jsonl("late.out.jsonl")[100]["error"]
