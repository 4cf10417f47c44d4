"""``ra-judge check`` on answers of a model behind an endpoint: requests, cached answers, and failures."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from checks import NAMES, PRINCIPLE, RA_JUDGE, environ, errors_of, invoke, judged, ra_judge, write_jsonl
from scripts import heed_ctrl_c
from servers import FakeOpenAI, Fault


@pytest.fixture
def here(here):
    write_jsonl("cases.jsonl", [{"id": f"q-{name}", "question": f"letter {name}"} for name in NAMES])
    rows = [{"id": f"q-{name}", "prompt": f"letter {name}", "response": f"{name} is 4"} for name in NAMES]
    write_jsonl("a.jsonl", rows)
    Path("p.md").write_text("carefully {{question}}")
    return here


def reply(body) -> str:
    """A model that follows its prompt, "carefully" or not."""
    text = " ".join(message["content"] for message in body["messages"])
    return f"{body['messages'][-1]['content'][-1]} is {4 if 'carefully' in text else 2}"


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


def cached() -> list[str]:
    return [line for file in Path("home").glob("outputs/*.jsonl") for line in file.read_text().splitlines()]


def test_answers_to_two_prompts_are_cached(here, model):
    Path("old.md").write_text("Answer carefully.\n\nQuestion: {{ question }}\n")
    Path("new.md").write_text("Just answer: {{question}}")
    both = command(model, "--baseline-prompt", "old.md", "--candidate-prompt", "new.md")
    report = json.loads(invoke(*both, "--json", code=1).stdout)
    assert report["pairs"][0]["prompt"] == "letter a"
    assert report["pairs"][0]["baseline_response"] == "a is 4"
    assert {case["prompt"] for case in judged()} == {f"letter {name}" for name in NAMES}
    assert model.bodies[0]["messages"][0]["role"] == "user"
    assert {b["messages"][0]["content"] for b in model.bodies} >= {"Just answer: letter a"}
    assert (model.bodies[0]["temperature"], model.bodies[0]["max_tokens"]) == (0.0, 1024)
    assert "response_format" not in model.bodies[0]
    invoke(*both, code=1)
    assert model.count == 2 * len(NAMES)  # from the cache
    invoke(*both, "--fresh", code=1)
    assert model.count == 4 * len(NAMES)
    invoke(*both, "--app-temperature", "0.5", "--app-max-tokens", "9", code=1)
    assert model.count == 6 * len(NAMES)
    assert (model.bodies[-1]["temperature"], model.bodies[-1]["max_tokens"]) == (0.5, 9)


def test_a_model_failure_names_the_case_and_keeps_earlier_answers(here, model):
    model.reply = lambda body: Fault.status(400, "no g") if body["messages"][0]["content"][-1] == "g" else reply(body)
    message = errors_of(ra_judge(*one_prompt(model, "--app-concurrency", "1"), code=2))
    assert "could not answer case 'q-g'" in message
    assert "run the same command again to continue" in message
    assert judged() == []
    before, available = model.count, len(cached())
    model.reply = reply
    invoke(*one_prompt(model))
    assert model.count - before == len(NAMES) - available


def test_a_killed_run_continues(here, model):
    model.latency = 0.3
    arguments = one_prompt(model, "--app-concurrency", "2")
    running = subprocess.Popen([RA_JUDGE, *arguments], env=environ(), stderr=subprocess.PIPE, preexec_fn=heed_ctrl_c)
    deadline = time.monotonic() + 60
    while len(cached()) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    (file,) = Path("home").glob("outputs/*.jsonl")
    with file.open("a") as torn:
        torn.write('{"key": "torn')
    before, model.latency = model.count, 0.0
    invoke(*arguments)
    assert model.count - before <= len(NAMES) - 4
    whole = [line for line in cached() if line.endswith("}")]
    assert len({json.loads(line)["key"] for line in whole}) == len(whole) == len(NAMES)


def test_truncated_outputs_are_reported_and_thoughts_are_not_part_of_an_answer(here, model):
    model.reply = lambda body: {"content": f"<think>\nhm 1\n</think>\n\n{reply(body)}", "finish_reason": "length"}
    done = invoke(*one_prompt(model, "--json"))
    assert f"{len(NAMES)} of {len(NAMES)} outputs were cut off at 1024 tokens; --app-max-tokens" in errors_of(done)
    assert json.loads(done.stdout)["pairs"][0]["candidate_response"] == "a is 4"


def test_the_application_uses_its_own_key_and_not_the_judges(here, model):
    model.require_key = "app-secret"
    keys = {"APP_KEY": "app-secret", "RA_JUDGE_API_KEY": "judge-secret"}
    invoke(*one_prompt(model, "--app-api-key-env", "APP_KEY"), **keys)
    message = errors_of(invoke(*one_prompt(model, "--fresh"), code=2, **keys))
    assert "There is no key" in message
    assert "secret" not in message
    assert "secret" not in str(cached())
