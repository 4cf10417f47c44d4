"""Rows whose responses are agent runs, in ``grade``, ``check``, ``baseline`` and ``log``."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from agent_runs import CAREFUL, HASTY, PROMPT
from check_reports import Page
from checks import complaint, invoke, read_jsonl, write_jsonl

pytestmark = pytest.mark.usefixtures("here")

JUDGE = {"RA_JUDGE_MODEL": "scripted:agent_runs:asks_first"}
RULE = ("--principle", "Ask before deleting.")


def write_csv(path: str, rows: list[dict[str, object]]) -> None:
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({name: cell if isinstance(cell, str) else json.dumps(cell) for name, cell in row.items()})


def write_parquet(path: str, rows: list[dict[str, object]]) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


@pytest.mark.parametrize(("suffix", "write"), [("jsonl", write_jsonl), ("csv", write_csv), ("parquet", write_parquet)])
def test_grade_reads_runs_of_every_format_and_keeps_them(suffix, write):
    rows = [{"prompt": PROMPT, "response": run} for run in (CAREFUL, HASTY)]
    write(f"in.{suffix}", rows)
    invoke("grade", f"in.{suffix}", "-o", "out.jsonl", *RULE, **JUDGE)
    out = read_jsonl("out.jsonl")
    assert [row["scores"] for row in out] == [{"response": 5.0}, {"response": 2.0}]
    record = json.loads(invoke("log", out[0]["record_id"], "--json").stdout)
    assert record["case"]["responses"]["response"][0]["tool_calls"][0]["arguments"] == {
        "question": "Delete <b>214</b> files?"
    }
    if suffix == "jsonl":
        assert [row["response"] for row in out] == [CAREFUL, HASTY]


def test_log_shows_the_turns_of_runs_and_which_of_them_differ():
    write_jsonl("in.jsonl", [{"prompt": PROMPT, "responses": {"careful": CAREFUL, "hasty": HASTY}}])
    invoke("grade", "in.jsonl", "-o", "out.jsonl", *RULE, **JUDGE)
    shown = invoke("log", read_jsonl("out.jsonl")[0]["record_id"]).stdout
    assert '[1] assistant calls ask_user {"question": "Delete <b>214</b> files?"}' in shown
    assert "## Turns that differ\ncareful: 1, 2\nhasty: none\n" in shown


APP = f"""
import json
CAREFUL, HASTY = json.loads({json.dumps(json.dumps([CAREFUL, HASTY]))!s})

def careful(case):
    return {{"messages": [{{"role": "user", "content": case["prompt"]}}, *CAREFUL]}}

def hasty(case):
    return HASTY

def odd(case):
    return [{{"role": "assistant", "content": [{{"type": "input_audio", "input_audio": {{"data": "x"}}}}]}}]
"""


def test_a_baseline_of_an_agents_runs_is_recorded_and_a_worse_agent_found():
    Path("agent.py").write_text(APP, encoding="utf-8")
    write_jsonl("cases.jsonl", [{"id": f"q{n}", "prompt": f"{n}: {PROMPT}"} for n in range(20)])
    invoke("baseline", "-o", "base.jsonl", "--dataset", "cases.jsonl", "--app", "agent:careful", *RULE, **JUDGE)
    (first, *_) = read_jsonl("base.jsonl")
    assert [message["role"] for message in first["response"]] == [message["role"] for message in CAREFUL]
    assert first["verdicts"]["Ask before deleting."]["score"] == 5.0
    common = ("--dataset", "cases.jsonl", *RULE)
    again = invoke("baseline", "-o", "base.jsonl", "--app", "agent:careful", "--update", "--json", *common, **JUDGE)
    assert json.loads(again.stdout)["judged"] == 0

    sides = ("--baseline", "base.jsonl", "--app", "agent:hasty")
    found = invoke(
        "check", *sides, *common, "--json", "--html", "report.html", "--markdown", "report.md", code=1, **JUDGE
    )
    pair = json.loads(found.stdout)["pairs"][0]
    assert pair["difference"] == -3.0
    assert [len(pair[f"{side}_response"]) for side in ("baseline", "candidate")] == [5, 3]
    page = Page(Path("report.html").read_text(encoding="utf-8"))
    assert page.open == []
    assert "only here" in page.text
    assert 'calls ask_user {"question": "Delete <b>214</b> files?"}' in " ".join(page.text.split())
    assert "ask_user" in Path("report.md").read_text(encoding="utf-8")

    problem = complaint("check", "--baseline", "base.jsonl", "--app", "agent:odd", *common)
    assert "'agent:odd' must return text or messages; for case 'q0'" in problem
    assert "input_audio" in problem
