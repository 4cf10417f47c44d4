"""``ra-judge bench``: its report, its files, and what it refuses."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from checks import RA_JUDGE, Invocation, environ, errors_of, invoke, write_jsonl
from scripts import heed_ctrl_c

from rewardanything_core.bench.measures import HEADLINE


def bench(*arguments: object, **how) -> Invocation:
    return invoke("bench", *arguments, **{"RA_JUDGE_MODEL": "scripted:bench_judges:by_principle", **how})


def row(group: str, criterion: str, responses: dict[str, str], better: str, worse: str) -> dict:
    return {
        "id": f"{group}/{criterion}",
        "principle": f"Prefer the {criterion} answer.",
        "prompt": f"Question of {group}?",
        "responses": responses,
        "pairs": [[better, worse]],
        "group": group,
        "meta": {"criterion": criterion},
    }


def toy(groups: int = 6) -> tuple[list[dict], list[dict]]:
    """Pairs of a short and a long response under two opposite principles, and the flips between them."""
    rows, flips = [], []
    for number in range(groups):
        responses = {"r1": "Yes." + "!" * number, "r2": "Yes, because " + "of this and that and " * (9 + number)}
        rows += [row(f"g{number}", "long", responses, "r2", "r1"), row(f"g{number}", "short", responses, "r1", "r2")]
        flips.append({"group": f"g{number}", "a": "long", "b": "short", "better_under_a": "r2", "better_under_b": "r1"})
    return rows, flips


@pytest.fixture(autouse=True)
def files(here):
    rows, flips = toy()
    write_jsonl("toy.jsonl", rows)
    write_jsonl("flips.jsonl", flips)
    write_jsonl("scored.jsonl", [{"principle": "P", "prompt": "Q", "response": "R", "score": 3}])
    return here


def test_the_report_begins_with_the_headline():
    done = bench("toy.jsonl", "--flips", "flips.jsonl")
    lines = done.stdout.splitlines()
    assert lines[:2] == [
        "Agrees with people on 100% of pairs; follows both principles in 100% of flip pairs.",
        "Judge: scripted",
    ]
    assert lines[4].startswith("Flip questions correct\t100.0%\t")
    assert lines[5].startswith("Flip pairs with both correct\t100.0%\t")
    assert "12 judgements" in done.stdout
    assert "Kendall's tau" not in done.stdout  # there are only pairs


def test_json_has_the_headline_figures():
    report = json.loads(bench("toy.jsonl", "--flips", "flips.jsonl", "--json").stdout)
    for name in HEADLINE:
        assert set(report[name]) == {"value", "low", "high", "n"}
    assert report["both_right"]["value"] == 1.0
    assert report["flip_accuracy"]["n"] == 12


def test_files_of_flips_are_recognised():
    report = json.loads(bench("toy.jsonl", "flips.jsonl", "--json").stdout)
    assert report["both_right"]["n"] == 6


def test_a_limit_on_groups_and_several_passes():
    options = ("--flips", "flips.jsonl", "--json", "--limit-groups", 2, "--passes", 2)
    report = json.loads(bench("toy.jsonl", *options).stdout)
    assert (report["groups"], report["items"], report["flips"]) == (2, 4, 2)
    assert report["spent"]["calls"] == 8
    assert any("only 2 groups" in note for note in report["notes"])
    more = json.loads(bench("toy.jsonl", "--flips", "flips.jsonl", "--json", "--passes", 2).stdout)
    assert more["from_store"] == 4  # the larger sample reuses the verdicts of the smaller


def test_an_interrupted_run_can_continue():
    calls, slowly = Path("calls"), {"CALLS": "calls", "RA_JUDGE_MODEL": "scripted:scripts:slowly"}
    command = [RA_JUDGE, "bench", "many.jsonl", "--json"]
    write_jsonl("many.jsonl", toy(600)[0])
    running = subprocess.Popen(
        command,
        env=environ(**slowly),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    until = time.monotonic() + 60
    while time.monotonic() < until and (not calls.exists() or len(calls.read_text().splitlines()) < 300):
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "run the same command again to continue" in errors
    report = json.loads(bench("many.jsonl", "--json", **slowly).stdout)
    assert report["from_store"] > 0
    assert report["from_store"] + report["spent"]["calls"] == 1200


def test_a_judge_behind_an_endpoint(server):
    # The server scores a text by its first number or its length and ignores the principle.
    model = ("--model", "hosted_vllm/fake", "--api-base", server.url)
    report = json.loads(bench("toy.jsonl", "--flips", "flips.jsonl", "--json", *model).stdout)
    assert report["model"] == "hosted_vllm/fake"
    assert report["flip_accuracy"]["value"] == 0.5
    assert report["both_right"]["value"] == 0.0
    assert report["spent"]["prompt_tokens"] > 0


def test_failures_are_reported_and_too_many_exit_with_3(server):
    server.reply = "I would rather not."
    model = ("--model", "hosted_vllm/fake", "--api-base", server.url)
    done = bench("toy.jsonl", "--flips", "flips.jsonl", *model, code=3)
    assert "12 of 12 judgements failed (12 VerdictParseError)" in done.stdout
    report = json.loads(bench("toy.jsonl", "--flips", "flips.jsonl", "--json", *model, code=3).stdout)
    assert report["pairwise_accuracy"] == {"value": None, "low": None, "high": None, "n": 0}
    assert report["pairwise_accuracy_failures_wrong"]["value"] == 0.0
    assert report["failures_by_type"] == {"VerdictParseError": 12}


def test_audits_and_a_page():
    done = bench("toy.jsonl", "--audit", "all", "--audit-groups", 2, "--html", "page.html", "--json")
    report = json.loads(done.stdout)
    assert set(report["audits"]) == {"length", "position", "repeat", "injection"}
    assert report["audits"]["repeat"]["judged"] == 4
    assert report["audits"]["repeat"]["figures"]["same_score"] == {
        "value": 1.0,
        "low": pytest.approx(0.158, abs=0.01),
        "high": 1.0,
        "n": 8,
    }
    assert "Attacks in a response" in Path("page.html").read_text()
    assert "Audit: position" in bench("toy.jsonl", "--audit", "position").stdout


def test_own_labels_and_a_calibration_from_them():
    # The judge gives a long response at most 5 and people at most 3.
    rows = [
        {"prompt": f"Question {n // 4}?", "response": "x" * (100 * (n % 10)), "score": 1 + n % 10 / 5}
        for n in range(40)
    ]
    write_jsonl("labels.jsonl", rows)
    options = ("--labels", "labels.jsonl", "--principle", "Be long.", "--save-calibration", "calibration.json")
    done = bench(*options)
    assert "Krippendorff's alpha" in done.stdout
    assert "Largest disagreements" in done.stdout
    report = json.loads(bench(*options, "--json").stdout)
    assert report["labels"]["bias"]["value"] > 1.0
    assert report["labels"]["calibrated"]["mae"]["value"] < 0.2
    again = json.loads(bench(*options[:4], "--json", RA_JUDGE_CALIBRATION="calibration.json").stdout)
    assert again["labels"]["mae"]["value"] < 0.1
    assert again["from_store"] == 40
    assert again["judge"]["calibration"]["about"]["labels"] == 40
    both = json.loads(bench("toy.jsonl", *options[:4], "--json").stdout)
    assert (both["items"], both["labels"]["mae"]["n"]) == (12, 40)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to judge"),
        (("nowhere.jsonl",), "no file or folder nowhere.jsonl"),
        (("toy.jsonl", "--format", "odd"), "no layout"),
        (("toy.jsonl", "--flips", "toy.jsonl"), "'group'|'a'|must be a text"),
        (("toy.jsonl", "--html", "nowhere/page.html"), "there is no folder nowhere"),
        (("toy.jsonl", "--html", "toy.jsonl"), "would replace a file that is read"),
        (("toy.jsonl", "--limit-groups", "0"), "limit-groups"),
        (("toy.jsonl", "--audit", "odd"), "no audit 'odd'"),
        (("toy.jsonl", "--save-calibration", "c.json"), "needs --labels"),
        (("toy.jsonl", "--scale", "5"), "two numbers"),
        (("--labels", "scored.jsonl", "--scale", "5:10"), "lies outside the scale 5 to 10"),
    ],
)
def test_a_command_that_cannot_work_exits_with_2(arguments, message):
    assert re.search(message, errors_of(bench(*arguments, code=2)))
