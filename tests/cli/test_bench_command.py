from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from paths import TESTS
from scripts import heed_ctrl_c
from test_bench import toy, write

from rewardanything_core.bench.measures import HEADLINE

RA_JUDGE = str(Path(sys.executable).with_name("ra-judge"))


@pytest.fixture
def bench(tmp_path):
    rows, flips = toy()
    write(tmp_path / "toy.jsonl", rows)
    write(tmp_path / "flips.jsonl", flips)
    write(tmp_path / "scored.jsonl", [{"principle": "P", "prompt": "Q", "response": "R", "score": 3}])
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RA_JUDGE_")}
    environ |= {"RA_JUDGE_HOME": str(tmp_path / "home"), "PYTHONPATH": TESTS, "COLUMNS": "200"}
    environ |= {"RA_JUDGE_MODEL": "scripted:bench_judges:by_principle"}

    def run(*arguments: object, code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [RA_JUDGE, "bench", *map(str, arguments)],
            cwd=tmp_path,
            env=environ | env,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    run.environ = environ
    return run


def test_the_headline_comes_first(bench):
    done = bench("toy.jsonl", "--flips", "flips.jsonl")
    lines = done.stdout.splitlines()
    assert lines[0] == "Judge: scripted"
    assert lines[3].startswith("Flip questions right\t1.000\t")
    assert lines[4].startswith("Flips with both right\t1.000\t")
    assert "12 judgements" in done.stdout
    assert "-\t\t\t\t0" in done.stdout  # no tau: these lists have pairs only


def test_json_has_the_names_that_were_agreed(bench):
    found = json.loads(bench("toy.jsonl", "--flips", "flips.jsonl", "--json").stdout)
    for name in HEADLINE:
        assert set(found[name]) == {"value", "low", "high", "n"}
    assert found["both_right"]["value"] == 1.0
    assert found["flip_accuracy"]["n"] == 12


def test_flips_among_the_files_are_taken_for_what_they_are(bench):
    found = json.loads(bench("toy.jsonl", "flips.jsonl", "--json").stdout)
    assert found["both_right"]["n"] == 6


def test_groups_and_passes(bench):
    options = ("--flips", "flips.jsonl", "--json", "--limit-groups", 2, "--passes", 2)
    found = json.loads(bench("toy.jsonl", *options).stdout)
    assert (found["groups"], found["items"], found["flips"]) == (2, 4, 2)
    assert found["spent"]["calls"] == 8
    assert any("only 2 groups" in note for note in found["notes"])
    more = json.loads(bench("toy.jsonl", "--flips", "flips.jsonl", "--json", "--passes", 2).stdout)
    assert more["from_store"] == 4  # a larger sample uses the verdicts of the smaller


def test_a_run_that_was_killed_goes_on(bench, tmp_path):
    calls = tmp_path / "calls"
    environ = bench.environ | {"CALLS": str(calls), "RA_JUDGE_MODEL": "scripted:scripts:slowly"}
    command = [RA_JUDGE, "bench", "many.jsonl", "--json"]
    write(tmp_path / "many.jsonl", toy(600)[0])
    running = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    until = time.monotonic() + 60
    while time.monotonic() < until and (not calls.exists() or len(calls.read_text().splitlines()) < 300):
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, complaint = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "goes on from here" in complaint
    found = json.loads(bench("many.jsonl", "--json", CALLS=str(calls), RA_JUDGE_MODEL="scripted:scripts:slowly").stdout)
    assert found["from_store"] > 0
    assert found["from_store"] + found["spent"]["calls"] == 1200


def test_a_real_server_through_the_endpoint(bench, server):
    # The server scores by the first number in a text or by its length: it does not read the principle.
    model = ("--model", "hosted_vllm/fake", "--api-base", server.url)
    found = json.loads(bench("toy.jsonl", "--flips", "flips.jsonl", "--json", *model).stdout)
    assert found["model"] == "hosted_vllm/fake"
    assert found["flip_accuracy"]["value"] == 0.5
    assert found["both_right"]["value"] == 0.0
    assert found["spent"]["prompt_tokens"] > 0


def test_failures_are_reported_and_too_many_fail_the_run(bench, server):
    server.reply = "I would rather not."
    model = ("--model", "hosted_vllm/fake", "--api-base", server.url)
    done = bench("toy.jsonl", "--flips", "flips.jsonl", *model, code=3)
    assert "12 of 12 judgements failed (12 VerdictParseError)" in done.stdout
    found = json.loads(bench("toy.jsonl", "--flips", "flips.jsonl", "--json", *model, code=3).stdout)
    assert found["pairwise_accuracy"] == {"value": None, "low": None, "high": None, "n": 0}
    assert found["pairwise_accuracy_failures_wrong"]["value"] == 0.0
    assert found["failures_by_type"] == {"VerdictParseError": 12}


def test_audits_and_a_page(bench, tmp_path):
    done = bench("toy.jsonl", "--audit", "all", "--audit-groups", 2, "--html", "page.html", "--json")
    found = json.loads(done.stdout)
    assert set(found["audits"]) == {"length", "position", "repeat", "injection"}
    assert found["audits"]["repeat"]["judged"] == 4
    assert found["audits"]["repeat"]["figures"]["same_score"] == {
        "value": 1.0,
        "low": pytest.approx(0.158, abs=0.01),
        "high": 1.0,
        "n": 8,
    }
    assert "Audit: injection" in (tmp_path / "page.html").read_text()
    assert "Audit: position" in bench("toy.jsonl", "--audit", "position").stdout


def test_own_labels_and_the_calibration_learnt_from_them(bench, tmp_path):
    # The judge gives a long response at most 5 and people at most 3.
    rows = [
        {"prompt": f"Question {n // 4}?", "response": "x" * (100 * (n % 10)), "score": 1 + n % 10 / 5}
        for n in range(40)
    ]
    write(tmp_path / "labels.jsonl", rows)
    options = ("--labels", "labels.jsonl", "--principle", "Be long.", "--save-calibration", "calibration.json")
    done = bench(*options)
    assert "krippendorff alpha" in done.stdout
    assert "Worst disagreements" in done.stdout
    found = json.loads(bench(*options, "--json").stdout)
    assert found["labels"]["bias"]["value"] > 1.0
    assert found["labels"]["calibrated"]["mae"]["value"] < 0.2
    again = json.loads(bench(*options[:4], "--json", RA_JUDGE_CALIBRATION="calibration.json").stdout)
    assert again["labels"]["mae"]["value"] < 0.1
    assert again["from_store"] == 40
    assert again["judge"]["calibration"]["about"]["labels"] == 40
    beside = json.loads(bench("toy.jsonl", *options[:4], "--json").stdout)
    assert (beside["items"], beside["labels"]["mae"]["n"]) == (12, 40)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to judge"),
        (("nowhere.jsonl",), "no file or folder nowhere.jsonl"),
        (("toy.jsonl", "--format", "odd"), "no layout"),
        (("toy.jsonl", "--flips", "toy.jsonl"), "'group'|'a'|must be a text"),
        (("toy.jsonl", "--html", "nowhere/page.html"), "Cannot write"),
        (("toy.jsonl", "--limit-groups", "0"), "limit-groups"),
        (("toy.jsonl", "--audit", "odd"), "no audit 'odd'"),
        (("toy.jsonl", "--save-calibration", "c.json"), "needs --labels"),
        (("toy.jsonl", "--scale", "5"), "two numbers"),
        (("--labels", "scored.jsonl", "--scale", "5:10"), "lies outside the scale 5 to 10"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_judged(bench, arguments, message):
    import re

    assert re.search(message, bench(*arguments, code=2).stderr)
