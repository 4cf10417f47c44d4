"""`readout="decisions"`, on a local server with both decision routes."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from servers import GARBAGE, HALF_JSON, RESET, FakeOpenAI, Fault, RawReply, decision_for
from tiny_models import tiny

from rewardanything_core import (
    BackendError,
    Case,
    ConfigError,
    Judge,
    JudgeFailure,
    Rubric,
    VerdictParseError,
    from_endpoint,
    load_judge,
)
from rewardanything_core.backends import ScriptedBackend
from rewardanything_core.backends.endpoint.backend import EndpointBackend
from rewardanything_core.concurrency import background_loop
from rewardanything_core.errors import AuthenticationError, DecisionFormatError, RateLimitError, RefusalError

ROUTES = ("decisions", "systemone")
TWO = {"a": "3", "b": "5"}
IMAGE = "data:image/png;base64,QUJD"


def judge_of(server: FakeOpenAI, **options) -> Judge:
    return from_endpoint("m", server.url, **{"readout": "decisions", "cache": "off", "attempts": 3, **options})


@pytest.fixture(params=ROUTES)
def server(request):
    with FakeOpenAI(decision_routes=[request.param], chat=False) as running:
        yield running


def edited(change):
    """A reply that is the usual one after ``change`` of its body."""

    def reply(body):
        content = decision_for(body)
        return RawReply(change(content) or content)

    return reply


def test_a_verdict_has_the_mean_and_the_spread_of_the_answers_and_says_that_nothing_was_written(server):
    verdict = judge_of(server).judge("Prefer high numbers.", "Which?", TWO)
    assert verdict.scores == pytest.approx({"a": 3.0, "b": 4.0})  # 0.6 for the level, 0.1 for each other
    assert verdict.spread == pytest.approx({"a": 1.0, "b": math.sqrt(2)})
    assert (verdict.ranking, verdict.agreement, server.count) == (["b", "a"], None, 1)
    assert verdict.explanation.startswith("No text was generated")
    assert "a 0.10, 0.10, 0.60, 0.10, 0.10" in verdict.explanation
    assert json.loads(verdict.raw_output)["model"] == "m"
    assert verdict.usage.calls == 1 and verdict.usage.prompt_tokens > 50 and verdict.usage.completion_tokens == 2


def test_passes_show_the_responses_in_balanced_orders(server):
    def first_is_better(body):
        material = body["state"] if "state" in body else body["input"][0]["content"]
        first = next(iter(json.loads(material[material.index('{"') :])["responses"].values()))
        return RawReply(decision_for(body, lambda text: 5 if text == first else 1))

    server.reply = first_is_better
    verdict = judge_of(server, passes=2).judge("Prefer high numbers.", "Which?", TWO)
    assert sorted(verdict.orders) == [["a", "b"], ["b", "a"]]
    assert verdict.scores["a"] == pytest.approx(verdict.scores["b"]) == pytest.approx(3.0)
    # Within a pass the standard deviation is the square root of 2, and the passes differ by 2 points.
    assert verdict.spread == pytest.approx({"a": math.sqrt(3), "b": math.sqrt(3)})
    assert verdict.agreement == 0.0


def test_a_single_response_is_one_request_whatever_the_passes(server):
    assert judge_of(server, passes=4).judge("Prefer high numbers.", "Which?", ["4"]).scores["0"] == pytest.approx(3.5)
    assert server.count == 1


RUBRIC = Rubric(
    {
        "/kind": "Is kind.",
        "cites": {"text": "Does it cite?", "kind": "yes/no", "anchors": {5: "a source is named"}},
        "anchored": {"text": "Is short.", "anchors": {1: "a page"}},
    }
)


def test_a_rubric_is_one_request_with_a_question_for_each_criterion_and_response(server):
    verdict = judge_of(server).judge(RUBRIC, "Which?", TWO)
    questions = server.bodies[0]["questions"]
    assert (server.count, len(questions)) == (1, 6)
    assert verdict.criteria["cites"].scores == pytest.approx({"a": 1.4, "b": 4.6})
    assert verdict.criteria["cites"].spread == pytest.approx({"a": 1.2, "b": 1.2})
    assert verdict.scores["b"] == pytest.approx((4.0 + 4.6 + 4.0) / 3)
    assert sorted(verdict.criteria_orders[0][0]) == ["/kind", "anchored", "cites"]
    assert "[cites]\nProbability of yes: " in verdict.explanation
    assert "a source is named" in json.dumps(questions) and "a page" in json.dumps(questions)
    apart = judge_of(server, criteria="separate").judge(RUBRIC, "Which?", TWO)
    assert server.count == 4 and apart.scores == pytest.approx(verdict.scores)


def test_a_rubric_that_exceeds_the_limit_of_questions_is_split_visibly(server, monkeypatch):
    monkeypatch.setattr(EndpointBackend, "max_questions", 4)
    verdict = judge_of(server).judge(RUBRIC, "Which?", TWO)
    assert sorted(len(body["questions"]) for body in server.bodies) == [2, 4]
    assert sorted(map(len, verdict.criteria_orders[0])) == [1, 2] and set(verdict.criteria) == set(RUBRIC.criteria)


def test_long_lists_are_judged_in_sub_lists_with_spreads(server):
    verdict = judge_of(server, max_list=4).judge("Prefer high numbers.", "Which?", dict.fromkeys("abcdefgh", "3"))
    assert verdict.sublists and set(verdict.spread) == set("abcdefgh")
    assert verdict.spread["a"] == pytest.approx(1.0)


def test_the_store_knows_readout_seed_and_wording_of_decisions(server, tmp_path):
    options = {"store": tmp_path / "v.sqlite3", "cache": "on"}
    judge = judge_of(server, **options)
    verdict = judge.judge("Prefer high numbers.", "Which?", TWO)
    again = judge_of(server, **options).judge("Prefer high numbers.", "Which?", {"x": "5", "y": "3"})
    assert again.cached and again.scores == {"x": verdict.scores["b"], "y": verdict.scores["a"]}
    assert again.spread == {"x": verdict.spread["b"], "y": verdict.spread["a"]}
    assert not judge_of(server, seed=1, **options).judge("Prefer high numbers.", "Which?", TWO).cached
    assert server.count == 2 and judge.fingerprint()["readout"] == "decisions"


# --- which route, and whether at all


def test_auto_means_decisions_where_the_model_writes_nothing(server):
    judge = from_endpoint("m", server.url, cache="off")
    assert (judge.readout, server.count) == ("decisions", 0)
    assert judge.judge("Prefer high numbers.", "Which?", TWO).best == "b"
    assert server.probes == [server.decision_routes[0]]  # asked once
    server.chat = True
    assert from_endpoint("m", server.url).readout == "generate"
    assert from_endpoint("m", server.url, decision_route=server.decision_routes[0]).readout == "decisions"
    assert judge.with_options(expected_scores=True).readout == "generate"


def test_providers_and_options_decide_without_a_request(monkeypatch):
    monkeypatch.setenv("TYPESAFE_API_KEY", "k")
    assert from_endpoint("typesafe/jev-latest").readout == "decisions"
    assert from_endpoint("typesafe:/jev-latest").backend.config.known_decision_route == "systemone"
    assert from_endpoint("openai/gpt-6-luna").readout == "generate"  # it also writes
    assert from_endpoint("openai/gpt-6-luna", readout="decisions").backend.config.known_decision_route == "decisions"
    with pytest.raises(ConfigError, match="decision_route must be one of"):
        from_endpoint("openai/gpt-6-luna", decision_route="noul")
    with pytest.raises(ConfigError, match="readout='decisions' needs a model behind a server"):
        Judge(ScriptedBackend([]), readout="decisions")
    with pytest.raises(ConfigError, match="expected_scores=True applies to written verdicts"):
        from_endpoint("openai/gpt-6-luna", readout="decisions", expected_scores=True)


def test_a_server_that_does_not_respond_is_taken_to_write():
    started = time.monotonic()
    with FakeOpenAI(decision_routes=["decisions"], chat=False) as stopped:
        url = stopped.url
    assert from_endpoint("m", url).readout == "generate"
    assert time.monotonic() - started < 5


def test_a_judge_can_be_made_on_the_package_s_own_event_loop(server):
    async def make() -> str:
        return from_endpoint("m", server.url, cache="off").readout

    assert background_loop.wait(background_loop.submit(make())) == "generate"


def test_the_route_is_found_out_once_for_many_requests_and_openai_s_is_preferred():
    with FakeOpenAI(decision_routes=ROUTES) as server:
        cases = [Case("Prefer high numbers.", f"Which {n}?", TWO) for n in range(8)]
        assert not any(isinstance(one, JudgeFailure) for one in judge_of(server).judge_batch(cases))
        assert server.probes == ["decisions"] and {each.route for each in server.requests} == {"decisions"}
        judge_of(server, decision_route="systemone").judge_batch(cases[:1])
        assert server.requests[-1].route == "systemone"


def test_a_server_without_a_route_is_an_error_of_the_case(server):
    server.decision_routes = ()
    with pytest.raises(BackendError, match=r"was not found.*needs another readout") as caught:
        judge_of(server).judge("Prefer high numbers.", "Which?", TWO)
    assert caught.value.failure.attempts == 1
    with pytest.raises(BackendError, match="needs readout='decisions'"):
        judge_of(server, readout="generate").judge("Prefer high numbers.", "Which?", TWO)


def test_settings_and_specs_keep_the_readout_and_the_route(server, tmp_path):
    route = server.decision_routes[0]
    file = tmp_path / "ra-judge.toml"
    file.write_text(f'[judge]\nmodel = "m"\napi_base = ["{server.url}"]\ndecision_route = "{route}"\ncache = "off"\n')
    judge = load_judge(config=file)
    assert judge.readout == "decisions"
    other = load_judge(json.loads(json.dumps(judge.spec())))
    assert other.fingerprint() == judge.fingerprint()
    assert other.judge("Prefer high numbers.", "Which?", TWO).best == "b" and server.probes == []


# --- what a server sends, and what goes wrong


def fail_after_answering(content):
    content["error"] = {"code": 400, "message": "fell over"}


def drop_one(content):
    answers = content["answers"]
    answers.pop("model-2") if isinstance(answers, dict) else answers.pop()


def of(answers, index):
    return answers[f"model-{index}"] if isinstance(answers, dict) else answers[index - 1]


def retype(content):
    of(content["answers"], 1)["type"] = "choice"


def shift_probabilities(value):
    def change(content):
        probabilities = of(content["answers"], 1)["probabilities"]
        if isinstance(probabilities, dict):
            probabilities["0"] = value
        else:
            probabilities[0]["probability"] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        drop_one,
        retype,
        shift_probabilities(0.3),
        shift_probabilities(float("nan")),
        shift_probabilities("0.1"),
        shift_probabilities(10**400),
    ],
    ids=["missing", "other type", "sum", "nan", "text", "huge"],
)
def test_a_malformed_decision_fails_its_case_after_retries(server, change):
    server.reply = edited(change)
    with pytest.raises(VerdictParseError, match=r"does not follow its format: answers") as caught:
        judge_of(server, retries=1).judge("Prefer high numbers.", "Which?", TWO)
    failure = caught.value.failure
    assert (failure.attempts, failure.usage.calls, server.count) == (2, 2, 2)
    assert failure.usage.prompt_tokens > 0 and '"answers"' in failure.raw_output


def test_answers_next_to_an_error_are_none(server):
    server.reply = edited(fail_after_answering)
    with pytest.raises(BackendError, match="fell over"):
        judge_of(server).judge("Prefer high numbers.", "Which?", TWO)
    assert server.count == 1


def test_a_malformed_decision_is_asked_again_in_another_order(server):
    server.plan = [RawReply({"model": "m", "answers": [1], "usage": {}}), None]
    verdict = judge_of(server).judge("Prefer high numbers.", "Which?", {"a": "3", "b": "5", "c": "1"})
    assert verdict.best == "b" and verdict.usage.calls == 2


def test_extra_fields_and_another_order_of_answers_do_no_harm(server):
    def change(content):
        content["id"] = "x"
        if isinstance(content["answers"], dict):
            content["answers"] = {"more": {"type": "box"}, **content["answers"]}
        else:
            content["answers"].reverse()

    server.reply = edited(change)
    assert judge_of(server).judge("Prefer high numbers.", "Which?", TWO).scores == pytest.approx({"a": 3.0, "b": 4.0})


def test_a_refused_question_fails_its_case_only():
    def reply(body):
        content = decision_for(body)
        if "weapon" in json.dumps(body["input"]):
            content["answers"][1] = {"type": "refusal", "name": "model-2"}
        return RawReply(content)

    with FakeOpenAI(reply, decision_routes=["decisions"]) as server:
        judge = judge_of(server)
        with pytest.raises(RefusalError, match=r"refused 1 of 2 questions: model-2") as caught:
            judge.judge("Prefer high numbers.", "weapon", TWO)
        assert server.count == 1 and "refusal" in caught.value.failure.raw_output
        assert judge.judge("Prefer high numbers.", "flower", TWO).best == "b"


def test_faults_of_the_connection_are_met_as_for_chats(server):
    server.plan = [Fault.status(429, retry_after="0"), Fault.status(503), GARBAGE, HALF_JSON, RESET, None]
    judge = judge_of(server, attempts=6)
    judge.backend._decisions_client.backoff.base = 0.001
    verdict = judge.judge("Prefer high numbers.", "Which?", TWO)
    assert verdict.usage.calls == server.count == 6
    server.reply = Fault.status(429, retry_after="0")
    with pytest.raises(RateLimitError):
        judge_of(server, attempts=1).judge("Prefer high numbers.", "Which?", TWO)
    server.reply = GARBAGE
    with pytest.raises(BackendError, match="did not reply with a decision"):
        judge_of(server, attempts=1).judge("Prefer high numbers.", "Which?", TWO)


def test_keys_are_sent_and_never_stored(server):
    server.require_key = "secret-key-0"
    server.reply = edited(lambda content: content.update(model="m secret-key-0"))
    verdict = judge_of(server, api_key="secret-key-0").judge("Prefer high numbers.", "Which?", TWO)
    assert "secret-key-0" not in verdict.raw_output and "***" in verdict.raw_output
    with pytest.raises(AuthenticationError):
        judge_of(server, api_key="wrong").judge("Prefer high numbers.", "Which?", TWO)


def test_images_and_conversations_are_sent(server):
    picture = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": IMAGE}}]
    run = [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "found"},
        {"role": "assistant", "content": "Done."},
    ]
    server.reply = lambda body: RawReply(decision_for(body, lambda text: 4))
    verdict = judge_of(server).judge("Prefer honesty.", [{"role": "user", "content": picture}], {"a": run})
    body = json.dumps(server.bodies[0])
    assert verdict.scores["a"] == pytest.approx(3.5) and "QUJD" in body and "found" in body and "Cite turns" in body
    assert ("assets" in server.bodies[0]) == (server.decision_routes == ("systemone",))


def test_an_image_that_the_route_cannot_take_is_refused_before_anything_is_sent():
    content = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    with FakeOpenAI(decision_routes=["systemone"]) as server:
        with pytest.raises(DecisionFormatError, match="data URLs") as caught:
            judge_of(server).judge("Prefer honesty.", [{"role": "user", "content": content}], TWO)
        assert server.count == 0 and caught.value.failure.error_type == "DecisionFormatError"


def test_prices_and_budgets_count_decisions(server):
    judge = judge_of(server, input_cost_per_token=1.0, output_cost_per_token=0.0, max_calls=1)
    verdict = judge.judge("Prefer high numbers.", "Which?", TWO)
    assert verdict.usage.cost == verdict.usage.prompt_tokens
    (second,) = judge.judge_batch([Case("Prefer low numbers.", "Which?", TWO)])
    assert isinstance(second, JudgeFailure) and second.error_type == "BudgetExceededError" and server.count == 1
    assert judge_of(server).estimate([Case("Prefer low numbers.", "Which?", TWO)]).calls == 1


def test_litellm_s_own_client_gives_the_same_verdict():
    with FakeOpenAI(decision_routes=["decisions"]) as server:
        options = {"api_key": "k", "readout": "decisions", "cache": "off"}
        judge = from_endpoint("openai/gpt-6-luna", server.url, client="litellm", **options)
        verdict = judge.judge("Prefer high numbers.", "Which?", TWO)
        assert server.requests[0].route == "decisions" and server.requests[0].headers["authorization"] == "Bearer k"
        assert verdict.scores == pytest.approx({"a": 3.0, "b": 4.0}) and verdict.usage.prompt_tokens > 0
        assert judge.backend.max_questions == 128
        server.reply = Fault.status(401, "no")
        with pytest.raises(AuthenticationError):
            judge.judge("Prefer high numbers.", "Again?", TWO)


@pytest.fixture(scope="module")
def transformers_server(model_folder, tmp_path_factory):
    """``transformers serve`` with a model of random weights: another project's System One, next to a chat route."""
    folder = tmp_path_factory.mktemp("served")
    for file in model_folder.glob("*token*"):
        shutil.copy(file, folder)
    shutil.copy(model_folder / "chat_template.jinja", folder)
    tiny("llama", vocab_size=49152).save_pretrained(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [Path(sys.executable).with_name("transformers"), "serve", folder, "--device", "cpu", "--port", str(port)]
    log = folder / "log"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        for _ in range(600):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
                break
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        yield str(folder), f"http://127.0.0.1:{port}/v1"
        process.kill()


def test_the_decision_route_of_transformers_serve_judges(transformers_server):
    model, url = transformers_server
    judge = from_endpoint(f"custom_openai/{model}", url, readout="decisions", cache="off", attempts=1)
    verdict = judge.judge(RUBRIC, "Which?", TWO)
    probabilities = json.loads(verdict.raw_output)["answers"]["1/model-1"]
    assert verdict.usage.calls == 1 and verdict.usage.prompt_tokens > 100 and probabilities["type"] in ("noul", "score")
    assert all(1 < score < 5 for score in verdict.scores.values()) and min(verdict.spread.values()) > 0
    assert judge.backend.max_questions == 64  # more are refused by this server
