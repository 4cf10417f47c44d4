"""``ra-judge build`` from files to a benchmark that ``ra-judge bench`` reads."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from checks import complaint, invoke, write_jsonl
from jurors import prompts

JURY = "\n".join(
    f'[[jury]]\nmodel = "scripted:jurors:{name}"\nbackend_options = {{name = "{name}"}}'
    for name in ("sharp", "fair", "dull")
)
PRINCIPLES = ("--principle", "Prefer the highest number.", "--principle", "Prefer the least number.")


@pytest.fixture
def jury(here, monkeypatch):
    """A folder with a jury; the variable of the tests would replace it by a single judge."""
    Path("ra-judge.toml").write_text(JURY)
    return here


def build(*arguments: object, **how):
    return invoke("build", *arguments, "-o", "out", RA_JUDGE_MODEL="", **how)


def refused(*arguments: object) -> str:
    return complaint("build", *arguments, RA_JUDGE_MODEL="")


def test_responses_in_columns_become_a_benchmark_that_people_check(jury):
    rows = prompts(8)
    with Path("rows.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "prompt", "one", "two", "three"])
        table.writerows([row["id"], row["prompt"], *list(row["responses"].values())[:3]] for row in rows)
    columns = ("--response-column", "one", "--response-column", "two", "--response-column", "three")
    out = build("rows.csv", *PRINCIPLES, *columns, "--sheet", 6, "--lists", 14).stdout
    assert "14  lists of responses ranked" in out and "sharp\t14\t0\t3\t0%" in out
    summary = json.loads(Path("out/build.json").read_text())
    assert summary["counts"]["lists"] == 14 and summary["files"][0]["name"] == "rows.csv"
    assert summary["options"]["name"] == "out" and summary["options"]["quorum"] == 2
    measured = json.loads(invoke("bench", "out/test.jsonl", "--json", RA_JUDGE_MODEL="scripted:jurors:sharp").stdout)
    assert measured["pairwise_accuracy"]["value"] > 0.8 and measured["pairwise_accuracy"]["n"]
    Path("ada.json").write_text(json.dumps([{"case": c["case"], "better": c["consensus"]} for c in summary["sheet"]]))
    assert "People agree with 1.00" in build("--human", "ada.json").stdout
    assert "**People agree with 1.00" in Path("out/card.md").read_text()


def test_sampled_responses_share_the_budget_with_the_jury_and_are_paid_once(jury):
    write_jsonl("rows.jsonl", [{"prompt": f"Question {n}{'?' * n}", "responses": []} for n in range(4)])
    arguments = ("rows.jsonl", *PRINCIPLES, "--sample", "scripted:jurors:parrot", "--samples", 3, "--sheet", 0)
    estimate = build(*arguments, "--estimate").stderr
    assert "12 responses are to be written" in estimate and "84 calls" in estimate  # 12 + 8 lists x 3 jurors x 3 orders
    stopped = build(*arguments, "--max-calls", 20, "--yes", code=3)
    assert stopped.stderr.count("The budget is used up") == 1 and not Path("out/card.md").exists()
    begun = len(Path("calls").read_text().splitlines())
    assert begun <= 20 - 12
    done = json.loads(build(*arguments, "--json").stdout)
    (parrot,) = done["models"]
    assert (parrot["model"], parrot["responses"], parrot["usage"]["calls"]) == ("scripted:jurors:parrot", 12, 12)
    assert len(Path("out/responses.jsonl").read_text().splitlines()) == 12
    after = len(Path("calls").read_text().splitlines())
    assert json.loads(build(*arguments, "--json").stdout)["usage"]["calls"] == 0
    assert len(Path("calls").read_text().splitlines()) == after


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out"], "There are no prompts"),
        (["rows.jsonl", "-o", "out", "--human", "x.csv"], "without PROMPTS"),
        (["-o", "out", "--human", "x.csv"], "has no benchmark"),
        (["rows.txt", "-o", "out", *PRINCIPLES], "does not imply a format"),
        (["rows.jsonl", "-o", "out"], "There is no principle"),
        (["rows.jsonl", "-o", "out", *PRINCIPLES], "--sample"),
        (["rows.jsonl", "-o", "out", *PRINCIPLES, "--response-column", "gpt"], "line 1 has no column 'gpt'"),
        (["rows.jsonl", "-o", "out", *PRINCIPLES, "--sample", "nonsense"], "There is no model 'nonsense'"),
        (["rows.jsonl", "-o", "out", *PRINCIPLES, "--sample", "scripted:a:b", "--sample", "scripted:a:b"], "twice"),
        (["rows.jsonl", "-o", "out", "--principle-file", "nothing"], "has no principle"),
        (["rows.jsonl", "-o", "out", *PRINCIPLES, "--judge", "scripted:jurors:sharp"], "two jurors or more"),
    ],
)
def test_what_cannot_be_built_exits_with_2(jury, arguments, message):
    write_jsonl("rows.jsonl", [{"prompt": "Why?"}, {"prompt": "How?"}])
    Path("rows.txt").write_text("Why?")
    Path("nothing").mkdir()
    assert message in refused(*arguments)
    assert not Path("calls").exists()
