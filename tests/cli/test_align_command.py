"""``ra-judge align``: what it writes, what it refuses, and that it continues after an interruption."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest
from alignment_data import REWRITTEN, VAGUE, case_in, literal_judge, pair_rows, rewriting_requests
from checks import RA_JUDGE, Invocation, environ, invoke, ra_judge, write_jsonl
from scripts import heed_ctrl_c
from servers import FakeOpenAI

from rewardanything_core import Principle


@pytest.fixture(autouse=True)
def files(here):
    write_jsonl("labels.jsonl", pair_rows())
    Path("P.md").write_text(f"# Tone\n\n{VAGUE}\n")
    return here


@pytest.fixture
def judge(server):
    server.reply = literal_judge
    return server


def align(server: FakeOpenAI, *arguments: object, code: int = 0) -> Invocation:
    return invoke("align", "labels.jsonl", "--principle", "P.md", "-o", "P2.md", *arguments, code=code, **via(server))


def via(server: FakeOpenAI) -> dict[str, str]:
    return {"RA_JUDGE_MODEL": "hosted_vllm/fake", "RA_JUDGE_API_BASE": server.url}


def test_a_better_principle_is_written_and_the_old_one_kept(judge):
    done = align(judge)
    assert Principle.from_file("P2.md").text == REWRITTEN
    assert Principle.from_file("P2.md").name == "Tone"
    assert Path("P.md").read_text() == f"# Tone\n\n{VAGUE}\n"
    assert "10 prompts to learn from, 10 to select by, 20 held out" in done.stdout
    assert "gain\t1.000\t.658 to 1.000" in done.stdout
    assert f"-{VAGUE}\n+{REWRITTEN}" in done.stdout
    assert done.stdout.endswith("Written to P2.md; P.md is unchanged.\n")
    assert "Judging 40 labelled cases" in done.stderr


def test_nothing_is_written_if_nothing_helps(judge):
    judge.reply = lambda body: literal_judge(body, rewriting="```\nBe lively.\n```")
    done = align(judge, "--json", "--max-calls", "90", code=3)
    assert not Path("P2.md").exists()
    report = json.loads(done.stdout)
    assert report["written"] is None
    assert report["text"] == VAGUE
    assert report["calls"] == judge.count <= 90


def test_another_model_can_rewrite(judge):
    with FakeOpenAI(reply=literal_judge) as writer:
        align(judge, "--reflection-model", "big", "--reflection-api-base", writer.url)
        assert [body["model"] for body in writer.bodies] == ["big"]
    assert not rewriting_requests(judge)
    assert Path("P2.md").exists()


def test_corrections_alone_need_no_rewriting(judge):
    write_jsonl("labels.jsonl", [row | {"comment": "Too much exclamation."} for row in pair_rows()])
    align(judge, "--method", "examples")
    assert "Worked examples" in Path("P2.md").read_text()
    assert not rewriting_requests(judge)


def test_ctrl_c_loses_nothing(judge):
    """The second run pays for what the first one had not reached."""
    judge.latency = lambda body: 0 if case_in(body) is None or case_in(body)["principle"] == VAGUE else 0.3
    command = [RA_JUDGE, "align", "labels.jsonl", "--principle", "P.md", "-o", "P2.md", "--method", "rewrite"]
    running = subprocess.Popen(
        command, env=environ(**via(judge)), preexec_fn=heed_ctrl_c, stderr=subprocess.PIPE, text=True
    )
    judge.wait_for(lambda server: server.count > 42, timeout=60)
    running.send_signal(signal.SIGINT)
    assert "Interrupted." in running.communicate(timeout=60)[1]
    assert running.returncode == 130
    assert not Path("P2.md").exists()
    judge.latency = 0
    first = judge.count
    ra_judge("align", *command[2:], **via(judge))
    assert Path("P2.md").exists()
    assert len(rewriting_requests(judge)) == 1
    again = [case["principle"] for case in map(case_in, judge.bodies[first:]) if case]
    assert VAGUE not in again
    assert len(again) <= 36


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["labels.jsonl", "--principle", "Be brief.", "-o", "P2.md"],
            "There is no file 'Be brief.'. --principle is the",
        ),
        (["labels.jsonl", "--principle", "P.md", "-o", "P.md"], "it is the principle to rewrite, which is kept"),
        (["labels.jsonl", "--principle", "P.md", "-o", "labels.jsonl"], "must end in .md or .txt"),
        (["labels.jsonl", "--principle", "P.md", "-o", "none/P2.md"], "there is no such folder"),
        (["none.jsonl", "--principle", "P.md", "-o", "P2.md"], "There is no file none.jsonl. Labels of MLflow traces"),
        (["other:x", "--principle", "P.md", "-o", "P2.md"], "There is no file other:x"),
        (["one.jsonl", "--principle", "P.md", "-o", "P2.md"], "pairs of responses for 1 and scores for 0"),
        (["bad.jsonl", "--principle", "P.md", "-o", "P2.md"], "Cannot read line 1 of bad.jsonl as JSON"),
        (["empty.jsonl", "--principle", "P.md", "-o", "P2.md"], "There are no labels in empty.jsonl"),
        (["labels.jsonl", "labels.jsonl", "--principle", "P.md", "-o", "P2.md"], "has the id 'q0', which another row"),
        (["labels.jsonl", "--principle", "P.md", "-o", "P2.md", "--max-calls", "20"], "20 calls are too few"),
        (["labels.jsonl", "--principle", "P.md", "-o", "P2.md", "--method", "x"], "--method must be one of"),
        (["labels.jsonl", "--principle", "P.md", "-o", "P2.md", "--reflection-api-base", "http://x/v1"], "need --refl"),
    ],
)
def test_mistakes_are_reported_before_anything_is_paid_for(judge, arguments, message):
    write_jsonl("one.jsonl", pair_rows(1))
    Path("bad.jsonl").write_text("{")
    Path("empty.jsonl").write_text("")
    done = invoke("align", *arguments, code=2, **via(judge))
    assert message in " ".join(done.stderr.split())
    assert judge.count == 0
    assert not Path("P2.md").exists()
