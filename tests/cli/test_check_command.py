"""``ra-judge check`` on files of outputs, and its settings file."""

from __future__ import annotations

import csv
import json
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import typer
from checks import NAMES, PRINCIPLE, RA_JUDGE, complaint, environ, errors_of, invoke, judged, outputs, write_jsonl

from rewardanything_core.cli.check import check as command

FILES = ["--baseline", "a.jsonl", "--candidate", "b.jsonl"]


@pytest.fixture
def files(here):
    write_jsonl("a.jsonl", outputs(4))
    write_jsonl("b.jsonl", outputs(lambda i: 2 if i % 2 else 3))
    write_jsonl("same.jsonl", outputs(lambda i: 4 if i else 5))
    return here


def check(*arguments: object, **how):
    return invoke("check", *arguments, "--principle", PRINCIPLE, **how)


# --- outcomes -------------------------------------------------------------------------------------------------------


def test_a_regression_exits_with_1(files):
    done = check(*FILES, code=1)
    assert "REGRESSION" in done.stdout
    assert "-1.50" in done.stdout
    assert "b.jsonl" not in done.stderr
    assert f"Judging {len(NAMES)} cases with scripted." in done.stderr
    assert len({json.dumps(case["responses"]) for case in judged()}) == 2 * len(NAMES)  # both orders of each pair


def test_equally_good_answers_pass_with_0(files):
    assert "PASSED" in check("--baseline", "a.jsonl", "--candidate", "same.jsonl").stdout.upper()
    before = len(judged())
    check("--baseline", "a.jsonl", "--candidate", "same.jsonl")
    assert len(judged()) == before  # from the store


def test_too_few_cases_are_inconclusive_with_3(here):
    write_jsonl("a.jsonl", outputs(4, n=4))
    write_jsonl("b.jsonl", outputs(lambda i: [4, 3, 5, 4][i], n=4))
    assert "INCONCLUSIVE" in check(*FILES, code=3).stdout.upper()


def test_judge_failures_are_inconclusive_and_have_no_score(here):
    rows = outputs(4)
    for row in rows[:9]:
        row["prompt"] += " UNJUDGEABLE"
    write_jsonl("a.jsonl", rows)
    write_jsonl("b.jsonl", [{**row, "response": "this is 5"} for row in rows])
    report = json.loads(check(*FILES, "--json", code=3).stdout)
    failed = [pair for pair in report["pairs"] if pair["failure"]]
    assert failed
    assert {pair["difference"] for pair in failed} == {None}
    check(*FILES, "--max-failures", "1", "--json")


def test_options_reach_the_check(files):
    def report(*options, code=0):
        return json.loads(check(*FILES, "--json", *options, code=code).stdout)

    assert report("--margin", "2.5", "--alpha", "0.1")["alpha"] == 0.1
    assert report("--no-confirm", code=1)["comparisons"][0]["confirmed"] is None
    assert report(code=1)["comparisons"][0]["confirmed"] is True
    floor = report("--margin", "3", "--min-score", "4.5", code=1)["comparisons"][0]
    assert floor["requirement"]["min_score"] == 4.5
    named = report("--principle-name", "concise", code=1)
    assert [c["requirement"]["principle"]["name"] for c in named["comparisons"]] == [None, "concise"]


def test_several_candidates_and_principles(files):
    Path("rule.md").write_text("# high\nBigger numbers, please.\n")
    report = json.loads(
        invoke(
            "check", "--baseline", "a.jsonl", "--candidate", "b.jsonl", "--candidate", "third=same.jsonl",
            "--principle", PRINCIPLE, "--principle-file", "rule.md", "--json", code=1,
        ).stdout
    )  # fmt: skip
    outcomes = {(c["candidate"], c["requirement"]["principle"]["name"]): c["outcome"] for c in report["comparisons"]}
    assert outcomes == {("b", None): "regression", ("third", None): "passed", ("b", "high"): "regression",
                     ("third", "high"): "passed"}  # fmt: skip
    assert max(len(case["responses"]) for case in judged()) == 3  # judged in one list


def test_cases_missing_on_one_side_are_an_error_or_skipped(files):
    write_jsonl("b.jsonl", [*outputs(4)[1:], {**outputs(4)[0], "id": "q-new"}])
    assert "'q-new' not in baseline" in errors_of(check(*FILES, code=2))
    report = json.loads(check(*FILES, "--common-only", "--json").stdout)
    assert (report["missing"], report["planned"]) == (["q-a", "q-new"], len(NAMES) - 1)


# --- files in -------------------------------------------------------------------------------------------------------


def test_csv_parquet_and_other_column_names(files):
    import pyarrow
    import pyarrow.parquet

    with Path("a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "question", "answer", "prompt", "min_score"])
        writer.writerows([row["id"], row["prompt"], row["response"], "unused", "5" if n == 0 else ""]
                         for n, row in enumerate(outputs(4)))  # fmt: skip
    rows = [{"key": r["id"], "question": r["prompt"], "answer": r["response"]} for r in outputs(4)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), "b.parquet")
    columns = ["--id-column", "key", "--prompt-column", "question", "--response-column", "answer"]
    report = json.loads(check("--baseline", "a.csv", "--candidate", "b.parquet", *columns, "--json", code=1).stdout)
    assert [pair["min_score"] for pair in report["pairs"]][:2] == [
        5.0,
        None,
    ]  # a minimum for this case, which is missed


def test_chat_messages_in_csv_and_a_candidate_on_standard_input(files):
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "question"}]
    with Path("a.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "prompt", "response"])
        writer.writerow(["1", json.dumps(messages), "is 4"])
    row = {"id": 1, "prompt": messages, "response": "it is 4"}
    check("--baseline", "a.csv", "--candidate", "-", stdin=json.dumps(row), code=3)
    assert judged()[0]["prompt"] != json.dumps(messages)


def test_an_empty_csv_cell_means_the_same_as_a_null(files):
    for name in ("id", "prompt", "response", "context", "reference", "group", "min_score", "worse"):
        rows = [{**row, "context": "c", "reference": "r", "group": f"g{row['id']}"} for row in outputs(4)]
        rows[0] |= {"min_score": 1.0, "worse": "1"} | {name: None}
        write_jsonl("nulls.jsonl", rows)
        with Path("nulls.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0]])
            writer.writeheader()
            writer.writerows(rows)
        results = []
        for source in ("nulls.jsonl", "nulls.csv"):
            done = check("--baseline", source, "--candidate", source, "--cache", "off", "--json", code=None)
            message = errors_of(done).replace("line 2", "line 1").replace(source, "FILE")
            results.append((done.code, message.partition(" An empty answer cannot be")[0], done.stdout))
        assert results[0] == results[1]
        assert (results[0][0] == 2) is (name in ("id", "prompt", "response"))


def test_parquet_cells_without_a_python_value_are_refused_only_where_they_are_used(files):
    import pyarrow
    import pyarrow.parquet

    rows = outputs(4)
    far = pyarrow.array([2**62] * len(rows), pyarrow.int64()).cast(pyarrow.timestamp("us"))
    table = pyarrow.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table.append_column("when", far), "unused.parquet")
    pyarrow.parquet.write_table(table.append_column("context", far), "used.parquet")
    check("--baseline", "a.jsonl", "--candidate", "unused.parquet")
    message = errors_of(check("--baseline", "a.jsonl", "--candidate", "used.parquet", code=2))
    assert "used.parquet, row 1: the column 'context' holds a value of type timestamp[us]" in message


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--baseline", "nope.jsonl", "--candidate", "b.jsonl"], "no file nope.jsonl. Record a baseline with"),
        (["--baseline", "a.jsonl", "--candidate", "nope.jsonl"], "Cannot read nope.jsonl: No such file"),
        (["--baseline", "a.jsonl", "--candidate", "b.txt"], "does not imply a format"),
        (["--baseline", "a.jsonl", "--candidate", "bad.jsonl"], "bad.jsonl, line 2: it cannot be read as JSON"),
        (["--baseline", "a.jsonl", "--candidate", "twice.jsonl"], "line 61: the id 'q-a' is already in line 1"),
        (["--baseline", "a.jsonl", "--candidate", "empty.jsonl"], "empty.jsonl has no rows"),
        (["--baseline", "a.jsonl", "--candidate", "header.csv"], "header.csv has no rows"),
        (["--baseline", "a.jsonl", "--candidate", "names.csv"], "names.csv has more than one column named 'response'"),
        (["--baseline", "a.jsonl", "--candidate", "array.jsonl"], "array.jsonl is a JSON array, not JSON lines"),
        (["--baseline", "a.jsonl", "--candidate", "python.csv"], "the column 'prompt' holds messages as Python"),
        ([*FILES, "--response-column", "text"], "has no column 'text'; it has 'id', 'prompt'"),
        (["--baseline", "a.jsonl", "--candidate", "holes.jsonl"], "holes.jsonl, line 3 has no 'response'"),
        (["--baseline", "a.jsonl", "--candidate", "other.jsonl"], "Case 'q-b' has a different prompt in 'candidate'"),
        (["--baseline", "a.jsonl"], "There is no candidate. Give --candidate FILE, --app"),
        (["--candidate", "b.jsonl"], "nothing to compare with. Give --baseline FILE"),
        ([*FILES, "--candidate", "b.jsonl"], "Two files have the name 'b'"),
        ([*FILES, "--app", "m:f"], "candidate and app in the command line each name a source"),
        ([*FILES, "--margin", "0"], "margin must be within 0..4, and above 0, not 0.0"),
        ([*FILES, "--alpha", "0.5"], "alpha must be within 0..0.5, the ends excluded"),
        ([*FILES, "--max-failures", "5"], "max_failures must be within 0..1"),
        ([*FILES, "--min-score", "7"], "min_score must be within 1..5"),
        ([*FILES, "--html", "no/such/report.html"], "there is no folder no/such"),
        ([*FILES, "--html", "home"], "is a folder"),
        ([*FILES, "--markdown", "a.jsonl"], "would replace a file that is also read"),
        ([*FILES, "--html", "r", "--junit", "r"], "would replace a file"),
        ([*FILES, "--principle", PRINCIPLE], "Two principles have the name"),
        ([*FILES, "--principle", " "], "The principle is empty"),
        ([*FILES, "--principle-name", "nope"], "no principle or rubric named 'nope'"),
        ([*FILES, "--backend", "nope"], "backend must be auto"),
        ([*FILES, "--config", "nope.toml"], "Cannot read the settings file"),
        (["--baseline", "a.jsonl", "--prompt", "p.md", "--dataset", "a.jsonl"], "Cannot read the prompt p.md: No such"),
    ],
)  # fmt: skip
def test_mistakes_are_reported_before_anything_is_judged(files, arguments, problem):
    Path("home").mkdir()
    rows = outputs(4)
    Path("empty.jsonl").write_text("\n")
    Path("header.csv").write_text("id,prompt,response\n")
    Path("names.csv").write_text("id,prompt,response,response\n1,q,a,b\n")
    Path("array.jsonl").write_text(json.dumps(rows, indent=2))
    Path("python.csv").write_text("id,prompt,response\n1,\"[{'role': 'user', 'content': 'q'}]\",a\n")
    write_jsonl("bad.jsonl", [rows[0], '{"id": '])
    write_jsonl("twice.jsonl", [*rows, rows[0]])
    write_jsonl("holes.jsonl", [*rows[:2], {**rows[2], "response": None}])
    write_jsonl("other.jsonl", [rows[0], {**rows[1], "prompt": "?"}, *rows[2:]])
    assert problem in complaint("check", *arguments, "--principle", PRINCIPLE)
    assert judged() == []


def test_a_check_needs_a_principle(files):
    done = invoke("check", *FILES, code=2)
    assert "no principle to judge by. Give --principle" in errors_of(done)
    assert done.stdout == ""


# --- reports out ----------------------------------------------------------------------------------------------------


def test_reports_are_written_and_standard_output_has_only_the_report(files):
    done = check(*FILES, "--html", "r.html", "--junit", "r.xml", "--markdown", "r.md", "--json", code=1)
    assert json.loads(done.stdout)["exit_code"] == 1
    assert ET.parse("r.xml").getroot().tag.startswith("testsuite")
    assert "<html" in Path("r.html").read_text()
    assert "egression" in Path("r.md").read_text()
    Path("r.md").write_text("from another step\n")
    check(*FILES, "--markdown", "r.md", code=1, GITHUB_STEP_SUMMARY="r.md")
    assert Path("r.md").read_text().startswith("from another step\n")
    check(*FILES, "--markdown", "r.md", code=1)
    assert "another step" not in Path("r.md").read_text()
    Path("summary").touch()
    check(*FILES, code=1, GITHUB_STEP_SUMMARY="summary")
    assert Path("summary").read_text() == ""


def test_a_closed_pipe_does_not_turn_a_regression_into_a_pass(files):
    command = [RA_JUDGE, "check", *FILES, "--principle", PRINCIPLE]
    running = subprocess.Popen(command, env=environ(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    running.stdout.close()
    assert running.wait(60) == 1


def test_a_crash_does_not_look_like_a_regression(files, monkeypatch, capsys):
    def crash(task, echo):
        raise LookupError("a bug")

    monkeypatch.setattr("rewardanything_core.cli._check.running.run_check", crash)
    with pytest.raises(typer.Exit) as leaving:
        command("a.jsonl", ["b.jsonl"])
    assert leaving.value.exit_code == 2
    assert "LookupError: a bug" in capsys.readouterr().err


def test_a_judge_with_a_bug_is_a_judge_failure(files):
    assert "a bug" in check(*FILES, "--model", "scripted:checks:crash", "--json", code=3).stdout


def test_a_jury_can_judge(files):
    Path("ra-judge.toml").write_text('[[jury]]\nmodel = "scripted:checks:judge"\n' * 2)
    done = check(*FILES, code=1, RA_JUDGE_MODEL="")
    assert "jury(scripted, scripted)" in done.stdout


# --- ra-judge.toml --------------------------------------------------------------------------------------------------

SETTINGS = """
[check]
baseline = "outputs/a.jsonl"
candidate = {new = "outputs/b.jsonl"}
margin = 2.5
alpha = 0.1
sequential = false
html = "report.html"

[[check.principles]]
text = "The higher the number in the answer, the better."
name = "high"

[[check.principles]]
file = "rules/short.md"
margin = 0.4
min_score = 1.5
"""


@pytest.fixture
def project(here):
    for folder in ("outputs", "rules", "deep/er"):
        Path(folder).mkdir(parents=True)
    write_jsonl("outputs/a.jsonl", outputs(4))
    write_jsonl("outputs/b.jsonl", outputs(lambda i: 2 if i % 2 else 3))
    Path("rules/short.md").write_text("Shorter is better.")
    Path("ra-judge.toml").write_text(SETTINGS)
    return here


def test_the_settings_file_applies_in_every_folder_below_it(project, monkeypatch):
    report = json.loads(invoke("check", "--json", code=1).stdout)
    monkeypatch.chdir("deep/er")
    again = json.loads(invoke("check", "--json", code=1, RA_JUDGE_HOME=str(project / "home")).stdout)
    monkeypatch.chdir(project)
    requirements = {c["requirement"]["principle"]["name"]: c["requirement"] for c in report["comparisons"]}
    assert [(a["margin"], a["min_score"]) for a in requirements.values()] == [(2.5, None), (0.4, 1.5)]
    assert {c["candidate"]: c["outcome"] for c in report["comparisons"] if c["requirement"]["margin"] == 0.4} == {
        "new": "regression"
    }
    assert (report["alpha"], report["outcome"]) == (again["alpha"], again["outcome"]) == (0.1, "regression")
    assert Path("report.html").exists()
    assert not Path("deep/er/report.html").exists()


def test_the_command_line_overrides_the_settings_file(project):
    write_jsonl("other.jsonl", outputs(4))
    report = json.loads(
        invoke("check", "--candidate", "other.jsonl", "--margin", "0.2", "--principle-name", "concise", "--json")
        .stdout
    )  # fmt: skip
    assert [(c["candidate"], c["requirement"]["margin"], c["requirement"]["principle"]["name"])
            for c in report["comparisons"]] == [("candidate", 0.2, "concise")]  # fmt: skip
    report = json.loads(invoke("check", "--margin", "4", "--json").stdout)
    assert [c["requirement"]["margin"] for c in report["comparisons"]] == [4.0, 4.0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("magrin = 1", "an unknown setting 'magrin'; there are: dataset, baseline, candidate"),
        ('margin = "0.3"', "'margin' in [check] in"),
        ("alpha = 0.7", "alpha in [check] in"),
        ('sequential = "yes"', "must be true or false, not 'yes'"),
        ("app_max_tokens = 1.5", "must be a whole number"),
        ("candidate = 3", "must be a path, a list of paths, or a table"),
        ('app = "m:f"\ncandidate = "x"', "candidate and app in [check] in"),
        ("principles = 1", "each beginning with [[check.principles]]"),
        ("[[check.principles]]\nweight = 2", "number 1 in"),
        ("[[check.principles]]\nmargin = 2", "number 1 in"),
        ('[[check.principles]]\ntext = "a"\nfile = "b"', "has a text and a file; keep one"),
        ("margin = [", "Cannot read the settings file"),
    ],
)
def test_an_error_in_the_settings_names_its_place(here, change, problem):
    Path("ra-judge.toml").write_text(f"[check]\n{change}\n")
    message = complaint("check", "--baseline", "a.jsonl")
    assert problem in message
    assert "ra-judge.toml" in message


@pytest.mark.parametrize("command", ["check", "baseline"])
def test_help_ends_with_an_example(here, command):
    done = invoke(command, "--help")
    assert f"Example:\n    ra-judge {command} --" in done.stdout
