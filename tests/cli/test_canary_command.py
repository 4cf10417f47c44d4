"""``ra-judge canary``."""

from __future__ import annotations

import dataclasses
import json

import pytest
from checks import complaint, invoke, judged, write_jsonl

from rewardanything_core.canary import Canary


@pytest.fixture
def cases(here):
    rows = [
        {"id": f"q{i}", "prompt": f"Question {i}?", "responses": {"a": "say 2", "b": f"say {3 + i % 2}"}, "winner": "b"}
        for i in range(12)
    ]
    write_jsonl("cases.jsonl", rows)
    return here


def record(*arguments: object, **how):
    return invoke(
        "canary", "record", "cases.jsonl", "--principle", "The higher.", "-o", "canary.json", *arguments, **how
    )


def shifted(folder):
    """Pretend that the judge was recorded with other scores, which is a judge that moved since."""
    canary = Canary.load(folder / "canary.json")
    runs = tuple(
        {case: {label: score - 1 for label, score in scores.items()} for case, scores in run.items()}
        for run in canary.runs
    )
    dataclasses.replace(canary, runs=runs).save(folder / "canary.json")


def test_record_run_and_a_judge_that_moved(cases):
    assert "Recorded 12 cases in 3 runs" in record().stderr
    assert len(judged()) == 3 * 12
    assert "STABLE  No change was found in 12 prompts." in invoke("canary", "run", "canary.json").stdout
    assert len(judged()) == 4 * 12  # none came from the store
    shifted(cases)
    out = invoke("canary", "run", "canary.json", code=1).stdout
    assert out.startswith("MOVED  The judge moved: the mean score was 1.750 and is 2.750")
    report = json.loads(invoke("canary", "run", "canary.json", "--json", code=1).stdout)
    assert report["outcome"] == "moved" and report["cases"] == 12


def test_another_judge_of_the_options_is_named(cases):
    record("--runs", 1)
    out = invoke("canary", "run", "canary.json", "--model", "scripted:checks:judge", RA_JUDGE_SEED="5").stdout
    assert "Settings that differ from the recorded ones: seed." in out


def test_a_canary_of_too_few_prompts_says_so_when_it_is_recorded(cases):
    write_jsonl("few.jsonl", [{"prompt": "q", "response": "say 3", "principle": "p"}])
    assert "Too few to find any change" in invoke("canary", "record", "few.jsonl", "-o", "few.json").stderr
    assert "too few to find any change" in invoke("canary", "run", "few.json", code=3).stdout


def test_rubrics_are_recorded(cases):
    (cases / "rubric.toml").write_text('name = "answers"\n[criteria]\ntruth = "Is it true?"\ntone = "The tone."\n')
    arguments = ["--model", "scripted:scripts:by_length", "--runs", "1"]
    invoke("canary", "record", "cases.jsonl", "--principle-file", "rubric.toml", "-o", "canary.json", *arguments)
    case = json.loads((cases / "canary.json").read_text())["cases"][0]
    assert list(case["principle"]["criteria"]) == ["truth", "tone"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["record", "none.jsonl", "-o", "c.json"], "There is no file none.jsonl"),
        (["record", "cases.jsonl", "-o", "c.json"], "principle"),
        (["record", "cases.jsonl", "--principle", "p", "-o", "no/c.json"], "there is no folder no"),
        (["record", "cases.jsonl", "--principle", "p", "-o", "cases.jsonl"], "would replace a file"),
        (["record", "cases.jsonl", "--principle", "p", "--max-failures", "nan", "-o", "c.json"], "max_failures"),
        (["run", "none.json"], "Cannot read none.json"),
        (["run", "cases.jsonl"], "Cannot read cases.jsonl"),
    ],
)
def test_what_cannot_run_is_an_error_before_anything_is_judged(cases, arguments, message):
    assert message in complaint("canary", *arguments)
    assert not (cases / "judged").exists()
