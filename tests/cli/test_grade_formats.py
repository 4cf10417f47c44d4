"""``ra-judge grade``: JSON lines, CSV and Parquet, read and written."""

from __future__ import annotations

import csv
import datetime
import json
import math
from decimal import Decimal
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from checks import errors_of, invoke, read_jsonl, write_jsonl
from grading import grade, read_csv, record, rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewardanything_core.cli import _row_readers
from rewardanything_core.tables.results import RESULT_COLUMNS

pytestmark = pytest.mark.usefixtures("here")


def write_parquet(path: str, **columns) -> None:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)


# --- CSV ------------------------------------------------------------------------------------------------------------


def test_csv_keeps_every_text():
    texts = ['say "hi",\nthen\r\nleave', "Grüße, 世界 🙂", " ", " '=1+1", "a\rb", "{not json", '["x", 1]', "=1+1"]
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


def test_csv_cells_with_json_bad_rows_and_bad_bytes():
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
        b'"[{""role"": ""user"", ""content"": ""q8""}]","[""z""]",\n'
        b'q9,"{""name"": ""x"", ""age"": 3}",\n'
        b"q10,\"['x', 'yy']\",\n"
        b"q11,,\n"
        b"\"[{'role': 'user', 'content': 'q12'}]\",x,\n"
    )
    grade("in.csv", "-o", "out.jsonl", "--reference-column", "gold", code=3)
    out = read_jsonl("out.jsonl")
    assert [row["scores"] and list(row["scores"]) for row in out] == [
        ["a", "b"], ["0", "1"], ["0"], None, None, None, None, ["0"], None, None, None, None
    ]  # fmt: skip
    for row, problem in {
        3: "line 5: it has 1 fields where the header has 3",
        4: "line 7: it has 4 fields",
        5: "line 8: it is not UTF-8",
        6: "line 9: the key 'a' appears twice",
        8: "line 11: the column 'responses' has the number 3 at 'age', neither text nor messages",
        9: "line 12: the column 'responses' is neither plain text nor valid JSON but as Python prints it",
        10: "line 13: the column 'responses' is null or empty",
        11: "line 14: the column 'prompt' holds messages as Python prints them; write them in JSON",
    }.items():
        assert problem in out[row]["error"]
    assert record(out[7]["record_id"])["case"]["prompt"] == [{"role": "user", "content": "q8"}]


def test_jsonl_to_csv_has_the_columns_of_all_rows():
    write_jsonl("in.jsonl", [*rows(3), {"prompt": "q", "responses": ["x"], "late": [1, {"é": None}]}])
    for _ in range(2):
        grade("in.jsonl", "-o", "out.csv")
    out = read_csv("out.csv")
    assert list(out[0]) == ["id", "prompt", "responses", "late", *RESULT_COLUMNS]
    assert json.loads(out[3]["late"]) == [1, {"é": None}]
    assert json.loads(out[0]["responses"]) == rows(1)[0]["responses"]
    assert (out[0]["late"], out[3]["id"]) == ("", "")


def test_excel_safe_puts_an_apostrophe_before_formulas():
    formulas = ["=1+1", "+1-1", "-2+3", "@SUM(A1)", "\t=1", "=cmd|' /C calc'!A0"]
    harmless = ["-1.5", "+3e4", "a=b", "", "it's"]
    note = [*formulas, *harmless]
    write_jsonl("in.jsonl", [{"prompt": "q", "responses": {"=a": text}, "n": -1, "=n": text} for text in note])
    for _ in range(2):  # the second time, the written rows are compared with the input
        grade("in.jsonl", "-o", "out.csv", "--excel-safe")
    out = read_csv("out.csv")
    assert [row["'=n"] for row in out] == [f"'{text}" for text in formulas] + harmless
    assert {row["n"] for row in out} == {"-1"}
    assert {row["best"] for row in out} == {"'=a"}
    done = grade("in.jsonl", "-o", "out.csv", code=2)
    assert "out.csv was begun with another excel_safe" in errors_of(done)
    grade("in.jsonl", "-o", "plain.csv")
    assert [row["=n"] for row in read_csv("plain.csv")] == note


def test_the_csv_field_limit_fits_a_c_long_of_32_bits(monkeypatch):
    limits = []

    def set_limit(limit):
        if limit > 2**31 - 1:
            raise OverflowError("Python int too large to convert to C long")
        limits.append(limit)

    with monkeypatch.context() as patch:
        patch.setattr(csv, "field_size_limit", set_limit)
        _row_readers.lift_csv_field_limit()
    assert limits == [2**31 - 1]
    Path("in.csv").write_text(f"prompt,r\nq,{'x' * 200_000}\n")
    for _ in range(2):
        grade("in.csv", "-o", "out.csv", "--response-column", "r")
    csv.field_size_limit(300_000)
    assert len(read_csv("out.csv")[0]["r"]) == 200_000


# --- Parquet --------------------------------------------------------------------------------------------------------


def test_parquet_in_and_out_keeps_types(here):
    n = 150
    when = datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.UTC)
    mapping = pyarrow.map_(pyarrow.string(), pyarrow.string())
    table = pyarrow.table(
        {
            "prompt": [f'q "{i}"\n世界' for i in range(n)],
            "responses": pyarrow.array([[("a", "x" * (i % 7)), ("b", "yy")] for i in range(n)], mapping),
            "struct": [{"a": "x", "b": None if i % 2 else "z"} for i in range(n)],
            "when": pyarrow.array([when] * n, pyarrow.timestamp("us", "UTC")),
            "small": pyarrow.array(range(n), pyarrow.int16()),
        }
    )
    pyarrow.parquet.write_table(table, "in.parquet")
    summary = json.loads(grade("in.parquet", "-o", "out.parquet", "--json").stdout)
    assert summary["judged"] == n
    out = pyarrow.parquet.read_table("out.parquet")
    assert out.select(table.column_names).equals(table)
    assert out.column_names == [*table.column_names, *RESULT_COLUMNS]
    assert dict(out["scores"][3].as_py()) == {"a": 4.0, "b": 3.0}
    assert out["ranking"][3].as_py() == ["a", "b"]
    assert out["error"].null_count == n
    before = Path("out.parquet").stat().st_mtime_ns
    summary = json.loads(grade("in.parquet", "-o", "out.parquet", "--json").stdout)
    assert (summary["done_before"], summary["judged"]) == (n, 0)
    assert Path("out.parquet").stat().st_mtime_ns == before
    grade("in.parquet", "-o", "struct.parquet", "--responses-column", "struct", "--limit", "5")
    scores = pyarrow.parquet.read_table("struct.parquet")["scores"].to_pylist()
    assert [len(row) for row in scores] == [2, 1, 2, 1, 2]
    grade("in.parquet", "-o", "out.csv")
    assert read_csv("out.csv")[149]["prompt"] == 'q "149"\n世界'
    assert sorted(file.name for file in here.glob("out.parquet*")) == ["out.parquet", "out.parquet.run.json"]


def test_json_lines_and_csv_have_values_that_other_programs_read():
    when = pyarrow.array([datetime.date(2026, 11, 1), None])
    own = {"n": [math.nan, math.inf], "l": [[math.nan, 1.5], None], "d": [Decimal("1.10"), None], "when": when}
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["q", "r"], "response": ["x", "y"], **own}), "in.parquet")
    Path("in.jsonl").write_text('{"prompt": "q", "response": "x", "n": NaN, "l": 1e999, "reference": NaN}\n')
    for source, number in (("in.parquet", 2), ("in.jsonl", 1)):
        for _ in range(2):
            done = json.loads(grade(source, "-o", f"{number}.jsonl", "--json").stdout)
        assert done["done_before"] == number
    lines = Path("2.jsonl").read_text().splitlines() + Path("1.jsonl").read_text().splitlines()
    first, second, third = (json.loads(line, parse_constant=pytest.fail) for line in lines)
    assert (first["n"], first["l"], first["d"], first["when"]) == (None, [None, 1.5], "1.10", "2026-11-01")
    assert (second["n"], third["n"], third["l"], third["error"]) == ("Infinity", None, "Infinity", None)
    grade("in.parquet", "-o", "out.csv")
    (first, second) = read_csv("out.csv")
    assert (first["d"], first["when"], second["d"]) == ("1.10", "2026-11-01", "")


def test_uneven_rows_to_parquet():
    data = [
        *rows(600),
        {"prompt": "q", "responses": ["x"], "id": 1.5, "odd": "s"},
        "garbage",
        {**rows(1)[0], "odd": 3},
    ]
    write_jsonl("in.jsonl", data)
    grade("in.jsonl", "-o", "out.parquet", code=3)
    out = pyarrow.parquet.read_table("out.parquet").to_pylist()
    assert len(out) == 603
    assert (out[5]["id"], out[600]["id"]) == (5.0, 1.5)
    assert (out[600]["odd"], out[602]["odd"]) == ("s", "3")
    assert json.loads(out[600]["responses"]) == ["x"]
    assert "line 602" in out[601]["error"]
    summary = json.loads(grade("in.jsonl", "-o", "out.parquet", "--json", "--limit", "603", code=3).stdout)
    assert (summary["done_before"], summary["failed"]) == (602, 1)


def test_values_without_a_parquet_type_are_written_as_json_text():
    odd = {
        "empty": {},
        "list": [{}],
        "deep": {"a": {"b": {}}},
        "huge": 2**70,
        "mixed": [1, "a"],
        "surrogate": "\ud800",
        "inside": {"a": ["\ud800"]},
        "nothing": None,
        "none": [None],
        "half \ud800": 1,
        "half \\ud800": 2,
    }
    write_jsonl("in.jsonl", rows(2, **odd))
    for limit in ("1", "2", "2"):  # finished, continued, and with nothing left to do
        grade("in.jsonl", "-o", "out.parquet", "--limit", limit)
    (row, other) = pyarrow.parquet.read_table("out.parquet").to_pylist()
    assert other["empty"] == row["empty"] == "{}"
    assert json.loads(row["list"]) == [{}]
    assert json.loads(row["deep"]) == {"a": {"b": {}}}
    assert row["huge"] == str(2**70)
    assert json.loads(row["mixed"]) == [1, "a"]
    assert row["surrogate"] == "\\ud800"
    assert json.loads(row["inside"]) == {"a": ["\ud800"]}
    assert (row["nothing"], row["none"]) == (None, [None])
    assert (row["half \\ud800"], row["half \\ud800_"]) == (1, 2)


def test_values_that_do_not_fit_the_type_of_their_column_make_it_json_text():
    # Each value has a type of its own; together they are double, which does not hold the first exactly.
    write_jsonl("in.jsonl", [{**row, "n": 2**60 + 1 if i < 512 else 0.5} for i, row in enumerate(rows(600))])
    grade("in.jsonl", "-o", "out.parquet")
    values = pyarrow.parquet.read_table("out.parquet")["n"].to_pylist()
    assert (values[0], values[599]) == (str(2**60 + 1), "0.5")


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_lone_surrogate_in_an_own_column_survives_a_rerun(suffix):
    write_jsonl("in.jsonl", rows(2, note="half \ud800", more={"a\ud800": ["\udfff"]}, **{"name \ud800": 1}))
    for limit in ("1", "2", "2"):
        summary = json.loads(grade("in.jsonl", "-o", f"out.{suffix}", "--limit", limit, "--json").stdout)
    assert (summary["done_before"], summary["judged"]) == (2, 0)


def test_parquet_cells_that_python_cannot_represent_do_not_stop_the_run():
    far = pyarrow.array([2**62, 0, 0], pyarrow.int64()).cast(pyarrow.timestamp("us"))
    write_parquet(
        "in.parquet",
        prompt=pyarrow.array([b"a", b"\xff", b"c"], pyarrow.binary()).view(pyarrow.string()),
        responses=[["x"]] * 3,
        when=far,
        zone=pyarrow.array([0] * 3, pyarrow.int64()).cast(pyarrow.timestamp("us", "Mars/Olympus")),
        note=pyarrow.array([b"\xfe"] * 3, pyarrow.binary()).view(pyarrow.string()),
        pairs=pyarrow.array([[("k", 1), ("k", 2)]] * 3, pyarrow.map_(pyarrow.string(), pyarrow.int8())),
        days=pyarrow.array([[(datetime.date(2026, 1, 1), 1)]] * 3, pyarrow.map_(pyarrow.date32(), pyarrow.int8())),
    )
    for suffix in ("jsonl", "csv", "parquet"):
        for limit in ("1", "3", "3"):
            done = grade("in.parquet", "-o", f"out.{suffix}", "--limit", limit, code=0 if limit == "1" else 3)
        assert "2 done before, 0 judged" in errors_of(done)
    first, second, _ = read_jsonl("out.jsonl")
    assert first["when"] == "<value out of range: 4611686018427387904>"
    assert (first["note"], first["pairs"], first["days"]) == ("\\xfe", [["k", 1], ["k", 2]], {"2026-01-01": 1})
    assert "In row 2: the column 'prompt' holds text that is not UTF-8" in second["error"]
    table = pyarrow.parquet.read_table("in.parquet")
    assert pyarrow.parquet.read_table("out.parquet").select(table.column_names).equals(table)


# --- any JSON -------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
names = st.text().filter(lambda name: name not in {*RESULT_COLUMNS, "prompt", "responses"})


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(names, json_values, max_size=3), min_size=1, max_size=4))
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_any_json_in_own_columns_can_be_written_and_continued(suffix, data):
    write_jsonl("in.jsonl", [{"prompt": "q", "responses": ["x"], **row} for row in data])
    for file in (f"out.{suffix}", f"out.{suffix}.run.json"):
        Path(file).unlink(missing_ok=True)
    for limit in (1, len(data)):
        done = invoke(
            "grade", "in.jsonl", "-o", f"out.{suffix}", "--principle", "x", "--limit", limit, "--json",
            RA_JUDGE_MODEL="scripted:scripts:by_length",
        )  # fmt: skip
    summary = json.loads(done.stdout)
    assert (summary["rows"], summary["done_before"]) == (len(data), 1)
    written = read_csv(f"out.{suffix}") if suffix == "csv" else pyarrow.parquet.read_table("out.parquet").to_pylist()
    assert [row["best"] for row in written] == ["0"] * len(data)
