"""``ra-judge baseline``: a file of outputs and verdicts that can be committed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from checks import PRINCIPLE, complaint, errors_of, invoke, judged, ra_judge, read_jsonl, write_jsonl

APP = """
import json
answers = json.load(open("answers.json"))

def answer(case):
    return answers.get(case["id"], f"{case['question']} is 4")
"""


@pytest.fixture
def here(here):
    Path("bot.py").write_text(APP)
    Path("answers.json").write_text("{}")
    write_jsonl("cases.jsonl", [{"question": f"Wörter {n}", "id": f"q{n}", "reference": "4"} for n in (10, 2, 1)])
    return here


def baseline(*arguments: object, **how):
    return ra_judge(
        "baseline", "--dataset", "cases.jsonl", "--app", "bot:answer", "-o", "base.jsonl", *arguments, **how
    )


def judging(*arguments: object, **how):
    return baseline("--principle", PRINCIPLE, *arguments, **how)


def answer(**answers: str) -> None:
    Path("answers.json").write_text(json.dumps(answers))


def test_the_file_has_a_line_for_each_case_with_its_score(here):
    done = judging()
    assert done.stdout == ""
    assert "base.jsonl: 3 cases; 3 new; 0 changed; 0 removed; 3 judged, 0 failed." in errors_of(done)
    assert f"{PRINCIPLE}: mean score" in errors_of(done)
    rows = read_jsonl("base.jsonl")
    assert [row["id"] for row in rows] == ["q1", "q2", "q10"]
    verdict = rows[1]["verdicts"][PRINCIPLE]
    assert rows[1] == {
        "id": "q2",
        "prompt": "Wörter 2",
        "response": "Wörter 2 is 4",
        "reference": "4",
        "verdicts": {PRINCIPLE: {"score": 2.0, "record_id": verdict["record_id"], "judge": verdict["judge"]}},
    }
    text = Path("base.jsonl").read_text()
    assert "Wörter" in text
    assert str(here) not in text
    assert "Wörter 2 is 4" in invoke("log", verdict["record_id"]).stdout
    Path("base.jsonl").unlink()
    shutil.rmtree("home")
    judging()
    assert Path("base.jsonl").read_text() == text  # independent of the time, the machine and chance


def test_an_update_judges_and_reports_only_what_changed(here):
    judging()
    assert "base.jsonl exists. Give --update" in errors_of(judging(code=2))
    before = Path("base.jsonl").read_text().splitlines()
    before_update = len(judged())
    assert "0 new; 0 changed; 0 removed; 0 judged" in errors_of(judging("--update", RA_JUDGE_STORE="empty.sqlite3"))
    assert Path("base.jsonl").read_text().splitlines() == before
    assert len(judged()) == before_update  # although the store is empty

    answer(q1="it is 1")
    write_jsonl("cases.jsonl", [*read_jsonl("cases.jsonl")[1:], {"id": "q3", "question": "new"}])
    done = judging("--update", "--json")
    assert json.loads(done.stdout) == {
        "path": "base.jsonl", "cases": 3, "new": ["q3"], "changed": ["q1"], "removed": ["q10"], "judged": 2,
        "failed": [], "means": {PRINCIPLE: 2.333},
    }  # fmt: skip
    assert len(judged()) == before_update + 2
    after = Path("base.jsonl").read_text().splitlines()
    assert after[1] == before[1]
    assert len(set(after) - set(before)) == 2


def test_another_principle_or_judge_needs_new_verdicts(here):
    judging()
    before_update = len(judged())
    judging("--update", "--passes", "2")
    assert len(judged()) == before_update + 6
    done = baseline("--principle-name", "concise", "--update")
    assert "3 judged" in errors_of(done)
    assert all(list(row["verdicts"]) == ["concise"] for row in read_jsonl("base.jsonl"))


def test_a_failed_judgement_has_no_score(here):
    cases = read_jsonl("cases.jsonl")
    write_jsonl("cases.jsonl", [{**cases[0], "prompt": "UNJUDGEABLE"}, *cases[1:]])
    done = judging(code=3)
    assert "3 judged, 1 failed" in errors_of(done)
    assert "Case 'q10' has no verdict. VerdictParseError" in errors_of(done)
    assert [len(row["verdicts"]) for row in read_jsonl("base.jsonl")] == [1, 1, 0]


def test_without_a_principle_no_judge_is_needed(here):
    baseline(RA_JUDGE_MODEL="scripted:nope:nope")
    assert list(read_jsonl("base.jsonl")[0]) == ["id", "prompt", "response", "reference"]
    judging("--no-judge", "--update", RA_JUDGE_MODEL="scripted:nope:nope")
    assert list(read_jsonl("base.jsonl")[0]) == ["id", "prompt", "response", "reference"]
    assert judged() == []


def test_a_check_can_use_the_file(here):
    judging()
    done = ra_judge(
        "check", "--dataset", "cases.jsonl", "--app", "bot:answer", "--baseline", "base.jsonl", "--principle", "x",
        "--json",
    )  # fmt: skip
    assert {pair["difference"] for pair in json.loads(done.stdout)["pairs"]} == {0.0}  # the same answers


def test_rows_without_ids_are_numbered(here):
    write_jsonl("cases.jsonl", [{"question": "a"}, {"question": "b", "id": None}])
    Path("bot.py").write_text("def answer(case): return case['question'] + ' is 3'")
    baseline()
    assert [(row["id"], row["response"]) for row in read_jsonl("base.jsonl")] == [(1, "a is 3"), (2, "b is 3")]
    ra_judge("check", "--dataset", "cases.jsonl", "--app", "bot:answer", "--baseline", "base.jsonl", "--principle", "x")


def test_a_prompt_and_a_model_in_a_settings_file(here):
    Path("prompt.md").write_text("{{ question }}")
    Path("ra-judge.toml").write_text(f"""
[check]
dataset = "cases.jsonl"
baseline = "kept/base.jsonl"
prompt = "prompt.md"
app_model = "scripted:checks:application"

[[check.principles]]
text = "{PRINCIPLE}"
name = "high"
""")
    assert "there is no folder kept" in complaint("baseline")
    Path("kept").mkdir()
    ra_judge("baseline")
    rows = read_jsonl("kept/base.jsonl")
    assert [row["response"] for row in rows] == ["1 is 2", "2 is 2", "0 is 2"]
    assert list(rows[0]["verdicts"]) == ["high"]
    ra_judge("check")


def test_an_app_failure_leaves_the_file_unchanged(here):
    judging()
    before = Path("base.jsonl").read_text()
    Path("bot.py").write_text(APP.replace("return", "if case['id'] == 'q2': raise ValueError('ä')\n    return"))
    assert "failed on case 'q2': ValueError: ä" in errors_of(judging("--update", code=2))
    assert Path("base.jsonl").read_text() == before
    assert [path.name for path in here.glob(".base*")] == []


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--dataset", "cases.jsonl", "--app", "bot:answer"], "Name the file to write with -o"),
        (["--dataset", "cases.jsonl", "-o", "base.jsonl"], "nothing to run. Give --app or --prompt"),
        (["--app", "bot:answer", "-o", "base.jsonl"], "Name the cases to run on with --dataset"),
        (["--dataset", "cases.jsonl", "--app", "bot:answer", "-o", "base.csv"], "is a file of JSON lines"),
        (["--dataset", "cases.jsonl", "--app", "bot:answer", "-o", "cases.jsonl", "--update"], "would replace a file"),
        (["--dataset", "empty.jsonl", "--app", "bot:answer", "-o", "base.jsonl"], "case 'q1' has no prompt and no"),
    ],
)
def test_mistakes_are_reported_before_anything_is_judged(here, arguments, problem):
    write_jsonl("empty.jsonl", [{"id": "q1", "context": "x"}])
    assert problem in complaint("baseline", *arguments)
    assert judged() == []
