"""``ra-judge check`` on the answers of a model behind an endpoint: what it is sent, what is kept, what goes wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from checks import PRINCIPLE, RA_JUDGE, environ, judged, ra_judge, said, write_jsonl
from scripts import heed_ctrl_c
from servers import FakeOpenAI, Fault

NAMES = "abcdefghijkl"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl("cases.jsonl", [{"id": f"q-{name}", "question": f"letter {name}"} for name in NAMES])
    rows = [{"id": f"q-{name}", "prompt": f"letter {name}", "response": f"{name} is 4"} for name in NAMES]
    write_jsonl("a.jsonl", rows)
    Path("p.md").write_text("carefully {{question}}")
    return tmp_path


def reply(body) -> str:
    """A model that follows its prompt, "carefully" or not."""
    told = " ".join(message["content"] for message in body["messages"])
    return f"{body['messages'][-1]['content'][-1]} is {4 if 'carefully' in told else 2}"


@pytest.fixture
def model():
    with FakeOpenAI(reply) as server:
        yield server


def command(model, *arguments: object) -> list[str]:
    return [
        "check", "--dataset", "cases.jsonl", "--principle", PRINCIPLE,
        "--app-model", "hosted_vllm/app", "--app-api-base", model.url, *map(str, arguments),
    ]  # fmt: skip


def one_prompt(model, *arguments: object) -> list[str]:
    return command(model, "--baseline", "a.jsonl", "--prompt", "p.md", *arguments)


def kept() -> list[str]:
    return [line for file in Path("home").glob("outputs/*.jsonl") for line in file.read_text().splitlines()]


def test_two_prompt_files_and_what_is_kept(here, model):
    Path("old.md").write_text("Answer carefully.\n\nQuestion: {{ question }}\n")
    Path("new.md").write_text("Just answer: {{question}}")
    both = command(model, "--baseline-prompt", "old.md", "--candidate-prompt", "new.md")
    report = json.loads(ra_judge(*both, "--json", code=1).stdout)
    assert report["pairs"][0]["prompt"] == "letter a"
    assert report["pairs"][0]["baseline_response"] == "a is 4"
    assert {asked["prompt"] for asked in judged()} == {f"letter {name}" for name in NAMES}
    assert model.bodies[0]["messages"][0]["role"] == "user"
    assert {b["messages"][0]["content"] for b in model.bodies} >= {"Just answer: letter a"}
    assert (model.bodies[0]["temperature"], model.bodies[0]["max_tokens"]) == (0.0, 1024)
    assert "response_format" not in model.bodies[0]
    ra_judge(*both, code=1)
    assert model.count == 24  # kept
    ra_judge(*both, "--fresh", code=1)
    assert model.count == 48
    ra_judge(*both, "--app-temperature", "0.5", "--app-max-tokens", "9", code=1)
    assert model.count == 72
    assert (model.bodies[-1]["temperature"], model.bodies[-1]["max_tokens"]) == (0.5, 9)


def test_a_model_that_fails_stops_the_command_with_the_case_and_what_was_made_is_kept(here, model):
    model.reply = lambda body: Fault.status(400, "no g") if body["messages"][0]["content"][-1] == "g" else reply(body)
    told = said(ra_judge(*one_prompt(model, "--app-concurrency", "1"), code=2))
    assert "could not answer case 'q-g'" in told
    assert "the same command goes on" in told
    assert judged() == []
    before, there = model.count, len(kept())
    model.reply = reply
    ra_judge(*one_prompt(model))
    assert model.count - before == 12 - there


def test_a_killed_run_goes_on(here, model):
    model.latency = 0.3
    asked = one_prompt(model, "--app-concurrency", "2")
    running = subprocess.Popen([RA_JUDGE, *asked], env=environ(), stderr=subprocess.PIPE, preexec_fn=heed_ctrl_c)
    deadline = time.monotonic() + 60
    while len(kept()) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    (file,) = Path("home").glob("outputs/*.jsonl")
    with file.open("a") as torn:
        torn.write('{"key": "torn')
    before, model.latency = model.count, 0.0
    ra_judge(*asked)
    assert model.count - before <= 8
    whole = [line for line in kept() if line.endswith("}")]
    assert len({json.loads(line)["key"] for line in whole}) == len(whole) == 12


def test_outputs_that_were_cut_off_are_told_and_thoughts_are_not_part_of_an_answer(here, model):
    model.reply = lambda body: {"content": f"<think>\nhm 1\n</think>\n\n{reply(body)}", "finish_reason": "length"}
    done = ra_judge(*one_prompt(model, "--json"))
    assert "12 of 12 outputs were cut off at 1024 tokens; --app-max-tokens" in said(done)
    assert json.loads(done.stdout)["pairs"][0]["candidate_response"] == "a is 4"


def test_the_application_has_its_own_key_and_not_the_judges(here, model):
    model.require_key = "app-secret"
    keys = {"APP_KEY": "app-secret", "RA_JUDGE_API_KEY": "judge-secret"}
    ra_judge(*one_prompt(model, "--app-api-key-env", "APP_KEY"), **keys)
    told = said(ra_judge(*one_prompt(model, "--fresh"), code=2, **keys))
    assert "refused the key" in told
    assert "secret" not in told
    assert "secret" not in str(kept())
