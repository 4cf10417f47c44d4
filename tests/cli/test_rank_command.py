"""``ra-judge rank`` on files of outputs."""

from __future__ import annotations

import json
import re

import pytest
from checks import PRINCIPLE, complaint, invoke, judged, outputs, write_jsonl


@pytest.fixture
def files(here):
    write_jsonl("low.jsonl", outputs(2, n=24))
    write_jsonl("high.jsonl", outputs(5, n=24))
    write_jsonl("middle.jsonl", outputs(lambda i: 3 if i % 2 else 4, n=24))
    return here


def rank(*arguments: object, **how):
    return invoke("rank", *arguments, "--principle", PRINCIPLE, **how)


def test_the_table_and_who_beats_whom(files):
    out = rank("low.jsonl", "high.jsonl", "new=middle.jsonl", "--html", "r.html").stdout
    lines = [line.split("\t") for line in out.splitlines()]
    assert "high is the best" in lines[0][0]
    assert [line[:2] for line in lines[2:5]] == [["1", "high"], ["2", "new"], ["3", "low"]]
    assert ["high", "", "100%*", "100%*"] in lines
    assert ["low", "0%*", "0%*", ""] in lines
    page = (files / "r.html").read_text()
    assert "high is the best" in page and not re.search(r"(src|href)=.http", page)
    before = len(judged())
    report = json.loads(rank("low.jsonl", "high.jsonl", "new=middle.jsonl", "--json").stdout)
    assert len(judged()) == before  # from the store
    assert report["rankings"][0]["systems"][0]["name"] == "high"
    assert report["shown"] < report["shown_in_full"] == 24 * 9
    everything = json.loads(rank("low.jsonl", "high.jsonl", "new=middle.jsonl", "--json", "--all-prompts").stdout)
    assert everything["shown"] == 24 * 9


def test_names_with_markup_stay_text(files):
    write_jsonl("<b>ü[red].jsonl", outputs(4, n=24))
    out = rank("low.jsonl", "<b>ü[red].jsonl", "--html", "r.html").stdout
    assert "<b>ü[red]" in out
    page = (files / "r.html").read_text()
    assert "&lt;b&gt;ü[red]" in page and "<b>ü" not in page


def test_without_any_verdict_there_is_no_figure(here):
    for name, number in (("a", 2), ("b", 3)):
        rows = outputs(number, n=10)
        for row in rows:
            row["prompt"] += " UNJUDGEABLE"
        write_jsonl(f"{name}.jsonl", rows)
    out = rank("a.jsonl", "b.jsonl", code=3).stdout
    assert "Nothing was judged" in out and "leads" not in out
    assert out.count("\t-\t-\t-\t-\t-\t0\n") == 2


def test_a_budget_that_is_used_up_is_explained_once(files):
    stopped = rank("low.jsonl", "high.jsonl", "--max-calls", 1, "--yes", code=3)
    assert stopped.stderr.count("Raise the limit") == 1


def test_too_many_failures_exit_with_3(here):
    for name, number in (("a", 2), ("b", 3)):
        rows = outputs(number, n=10)
        for row in rows[:6]:
            row["prompt"] += " UNJUDGEABLE"
        write_jsonl(f"{name}.jsonl", rows)
    assert "more judgements failed than" in rank("a.jsonl", "b.jsonl", code=3).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["low.jsonl"], "two systems or more"),
        (["low.jsonl", "missing.jsonl"], "Cannot read missing.jsonl"),
        (["low.jsonl", "empty.jsonl"], "empty.jsonl has no rows"),
        (["low.jsonl", "./low.jsonl"], "Two files have the name 'low'"),
        (["low.jsonl", "twice.jsonl"], "the id"),
        (["low.jsonl", "fewer.jsonl"], "not in fewer"),
        (["low.jsonl", "high.jsonl", "--html", "low.jsonl"], "would replace a file"),
        (["low.jsonl", "high.jsonl", "--html", "no/r.html"], "there is no folder no"),
        (["low.jsonl", "high.jsonl", "--alpha", "nan"], "alpha must be"),
    ],
)
def test_what_cannot_be_ranked_exits_with_2(files, arguments, message):
    write_jsonl("empty.jsonl", [])
    write_jsonl("twice.jsonl", outputs(2, n=1) * 2)
    write_jsonl("fewer.jsonl", outputs(2, n=23))
    assert message in complaint("rank", *arguments, "--principle", PRINCIPLE)
    assert not (files / "judged").exists()
