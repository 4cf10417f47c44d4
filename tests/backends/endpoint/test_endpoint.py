"""The endpoint backend against a local server: what is sent, reasoning, probabilities, and options."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from endpoints import MODELS, SCHEMA, backend_for, complete, request_for, run, scores
from servers import FakeOpenAI, tokens_of

from rewardanything_core.backends.endpoint.backend import EndpointBackend
from rewardanything_core.backends.endpoint.completions import align_tokens
from rewardanything_core.errors import BackendError, ConfigError

KEY = "sk-test-0123456789abcdef"


def test_concurrency_is_limited(server: FakeOpenAI) -> None:
    server.latency = 0.02
    backend = backend_for(server, max_concurrency=5)

    async def everything() -> None:
        await asyncio.gather(*(backend.complete(request_for()) for _ in range(30)))

    run(everything())
    assert server.max_in_flight == 5


def test_requests_with_a_common_prefix_arrive_consecutively(server: FakeOpenAI) -> None:
    server.latency = 0.005
    backend = backend_for(server, max_concurrency=4)

    async def everything() -> None:
        requests = [
            dataclasses.replace(request_for(f"{number} of {prefix_group}"), prefix_group=prefix_group)
            for number in range(8)
            for prefix_group in range(5)
        ]
        await asyncio.gather(*(backend.complete(request) for request in requests))

    run(everything())
    order = [json.loads(body["messages"][1]["content"])["responses"]["model-1"][-1] for body in server.bodies]
    changes = sum(one != other for one, other in itertools.pairwise(order))
    assert changes <= 20  # 39 in the order in which they were made


def test_a_vllm_server_is_called_without_importing_litellm(server: FakeOpenAI) -> None:
    code = f"""
import sys
from rewardanything_core import from_endpoint
judge = from_endpoint("hosted_vllm/fake", {server.url!r}, cache="off")
assert judge.judge("p", "q", ["is 4"]).scores == {{"0": 4.0}}
assert "litellm" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-Wdefault", "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("closing", ["", "judge.close()"])
def test_connections_through_litellm_are_closed_at_exit(server: FakeOpenAI, closing: str) -> None:
    code = f"""
from rewardanything_core import from_endpoint
judge = from_endpoint("openai/fake", {server.url!r}, api_key="none", cache="off", client="litellm")
assert judge.judge("p", "q", ["is 4"]).scores == {{"0": 4.0}}
{closing}
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "")
    assert "Unclosed" not in done.stderr  # LiteLLM's own thread may report that it was cancelled


def test_a_closed_backend_can_be_used_again(server: FakeOpenAI) -> None:
    for model in MODELS:
        backend = backend_for(server, model)

        async def twice(backend: EndpointBackend = backend) -> None:
            await backend.complete(request_for())
            backend.close()
            await backend.complete(request_for())

        run(twice())
    assert server.count == 4


def test_sequential_requests_reuse_one_connection(server: FakeOpenAI) -> None:
    backend = backend_for(server)

    async def one_by_one() -> None:
        for _ in range(5):
            await backend.complete(request_for())

    run(one_by_one())
    assert len({received.peer for received in server.requests}) == 1


def test_the_fields_of_a_request(server: FakeOpenAI) -> None:
    complete(backend_for(server, extra_body={"top_k": 20}))
    body = server.bodies[0]
    assert body["model"] == "fake"
    assert body["max_tokens"] == 150
    assert body["temperature"] == 0
    assert body["seed"] == 0
    assert body["top_k"] == 20
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert not {"top_p", "logprobs", "chat_template_kwargs", "stream"} & set(body)


def test_response_format_off_and_required(server: FakeOpenAI) -> None:
    complete(backend_for(server, response_format="off"))
    assert "response_format" not in server.bodies[0]
    server.rejects = {"response_format": 400}
    with pytest.raises(BackendError, match="response_format"):
        complete(backend_for(server, response_format="json_schema"))


def test_a_reasoning_model_is_constrained_once_its_reasoning_arrived_separately(server: FakeOpenAI) -> None:
    server.reasoning = "hmm"
    backend = backend_for(server)
    for _ in range(3):
        completion = complete(backend, request_for(is_reasoning_model=True))
        assert completion.reasoning == "hmm"
        assert scores(completion)["model-1"] == 4
    assert ["response_format" in body for body in server.bodies] == [False, True, True]


@pytest.mark.parametrize("model", MODELS)
def test_a_constraint_never_suppresses_reasoning(server: FakeOpenAI, model: str) -> None:
    server.reasoning, server.reasoning_inline = "hmm", True
    backend = backend_for(server, model)
    for _ in range(3):
        completion = complete(backend, request_for(is_reasoning_model=True))
        assert "hmm" in completion.raw
        assert json.loads(completion.answer.rpartition("</think>")[2])["scores"]["model-1"] == 4
    # LiteLLM splits think tags off by itself, so that the first reply looks as if the server had a reasoning parser.
    tried = [True] if model.startswith("openai/") else []
    assert ["response_format" in body for body in server.bodies] == [False, *tried, False, False]
    assert completion.usage.calls == 1


def test_think_tags_opened_by_the_template_stay_in_the_answer(server: FakeOpenAI) -> None:
    server.reply = {"content": 'hmm</think>{"scores": {}}'}
    completion = complete(backend_for(server), request_for(is_reasoning_model=True))
    assert (completion.answer, completion.reasoning) == ('hmm</think>{"scores": {}}', None)


def test_an_answer_sent_as_reasoning_is_the_answer(server: FakeOpenAI) -> None:
    for content in (None, "", "\n"):
        server.reply = {"content": content, "reasoning_content": '{"scores": {}}'}
        completion = complete(backend_for(server))
        assert (completion.answer, completion.reasoning) == ('{"scores": {}}', None)


def test_thinking_is_disabled_without_a_budget(server: FakeOpenAI) -> None:
    complete(backend_for(server), request_for(is_reasoning_model=True, budget=0))
    assert server.bodies[0]["chat_template_kwargs"] == {"enable_thinking": False}
    assert server.bodies[0]["max_tokens"] == 50
    complete(backend_for(server, "openai/fake"), request_for(is_reasoning_model=True, budget=0))
    assert "chat_template_kwargs" not in server.bodies[1]


def cut_off(**message: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda body: {**message, "finish_reason": "length"} if body["max_tokens"] > 50 else None


@pytest.mark.parametrize(
    "message",
    [{"content": None, "reasoning_content": "so far"}, {"content": "<think>\nso far"}, {"content": "so far"}],
    ids=["apart", "inline", "opened by the template"],
)
def test_a_reply_cut_off_while_reasoning_gets_a_final_answer(server: FakeOpenAI, message: dict[str, Any]) -> None:
    server.reply = cut_off(**message)
    completion = complete(
        backend_for(server), request_for(is_reasoning_model=True, final_answer_prompt="Now the verdict.")
    )
    assert completion.reasoning == "so far"
    assert scores(completion) == {"model-1": 4, "model-2": 2}
    assert not completion.truncated
    assert completion.usage.calls == server.count == 2
    follow_up = server.bodies[1]
    assert follow_up["messages"][-2:] == [
        {"role": "assistant", "content": "so far"},
        {"role": "user", "content": "Now the verdict."},
    ]
    assert follow_up["max_tokens"] == 50
    assert follow_up["response_format"]["type"] == "json_schema"
    assert follow_up["chat_template_kwargs"] == {"enable_thinking": False}


def test_a_final_answer_after_hidden_reasoning_has_no_empty_turn(server: FakeOpenAI) -> None:
    server.reply = cut_off(content=None)
    completion = complete(
        backend_for(server), request_for(is_reasoning_model=True, final_answer_prompt="Now the verdict.")
    )
    assert [m["role"] for m in server.bodies[1]["messages"]] == ["system", "user", "user"]
    assert completion.reasoning is None


def test_a_truncated_reply_without_a_final_answer_prompt_is_reported(server: FakeOpenAI) -> None:
    server.reply = cut_off(content=None, reasoning_content="so far")
    completion = complete(backend_for(server), request_for(is_reasoning_model=True))
    assert completion.truncated
    assert (completion.answer, completion.reasoning) == ("", "so far")


@pytest.mark.parametrize("model", MODELS)
def test_the_texts_of_tokens_make_up_the_answer(server: FakeOpenAI, model: str) -> None:
    server.reply = {"content": 'naïve 判断 {"scores": {"model-1": 4}}'}
    completion = complete(backend_for(server, model), request_for(token_probabilities=True))
    assert "".join(t.text for t in completion.tokens) == completion.answer
    four = next(t for t in completion.tokens if t.text == "4")
    assert four.alternatives == pytest.approx({"4": 0.6, "1": 0.1, "2": 0.1, "3": 0.1, "5": 0.1})
    assert server.bodies[0]["top_logprobs"] == 20


def test_missing_token_probabilities_are_an_error(server: FakeOpenAI) -> None:
    server.logprobs = False
    with pytest.raises(BackendError, match=r"no token log-probabilities.*expected_scores"):
        complete(backend_for(server), request_for(token_probabilities=True))
    server.logprobs, server.reply = True, {"content": "other", "tokens": tokens_of("elsewhere")}
    with pytest.raises(BackendError, match="expected_scores"):
        complete(backend_for(server), request_for(token_probabilities=True))


def test_tokens_of_the_reasoning_are_removed() -> None:
    def token(text: str, raw: bytes | None = None) -> Any:
        return SimpleNamespace(token=text, bytes=raw and list(raw), logprob=-0.1, top_logprobs=[])

    entries = [token("4"), token("</think>"), token("\n\n{"), token("4"), token("}"), token("<|im_end|>")]
    tokens = align_tokens(entries, "{4}")
    assert tokens is not None
    assert [t.text for t in tokens] == ["{", "4", "}"]
    assert [bool(t.alternatives) for t in tokens] == [False, True, True]
    smile = "🙂".encode()
    tokens = align_tokens([token("?", smile[:2]), token("?", smile[2:]), token("!")], "🙂!")
    assert tokens is not None
    assert [t.text for t in tokens] == ["🙂", "!"]
    assert align_tokens(entries, "5") is None


@pytest.mark.parametrize(
    "options",
    [
        {"model": ""},
        {"attempts": 0},
        {"max_concurrency": 0},
        {"timeout": 0},
        {"response_format": "yaml"},
        {"input_cost_per_token": 1e-6},
        {"api_base": "localhost:8000"},
        {"api_base": "http://me:secret@localhost/v1"},
        {"api_base": "me:secret@localhost/v1"},
        {"api_key_env": "NO_SUCH_VARIABLE_HERE"},
        {"timout": 3},
    ],
    ids=str,
)
def test_options_are_checked_at_construction(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        EndpointBackend(**{"model": "hosted_vllm/fake", **options})
    assert "secret" not in str(caught.value)


def test_fingerprint_and_spec(server: FakeOpenAI) -> None:
    bases = ["http://b:1/v1/", "http://a:1/v1"]
    backend = EndpointBackend("hosted_vllm/m", api_base=bases, api_key=KEY, extra_body={"top_k": 1}, attempts=2)
    assert backend.fingerprint() == {
        "kind": "endpoint",
        "model": "hosted_vllm/m",
        "api_base": ["http://a:1/v1", "http://b:1/v1"],
        "extra_body": {"top_k": 1},
        "response_format": "auto",
    }
    spec = json.loads(json.dumps(backend.spec()))
    assert spec.pop("kind") == "endpoint"
    assert EndpointBackend(**spec).spec() == backend.spec()
    assert backend.model == "hosted_vllm/m"
    assert repr(backend) == "EndpointBackend('hosted_vllm/m', api_base=['http://b:1/v1', 'http://a:1/v1'])"
    one, two = (EndpointBackend(f"openai/{n}", cache_as="the 8B") for n in "ab")
    assert one.fingerprint() == two.fingerprint()
    backend.close()
    backend.close()


def test_configured_prices_are_used(server: FakeOpenAI) -> None:
    usage = complete(backend_for(server, input_cost_per_token=0.001, output_cost_per_token=0.01)).usage
    assert usage.cost == pytest.approx(usage.prompt_tokens * 0.001 + usage.completion_tokens * 0.01)
    assert complete(backend_for(server)).usage.cost is None


def test_importing_litellm_is_lazy_and_restores_the_environment() -> None:
    code = """
import os, sys
os.environ.pop("LITELLM_LOCAL_MODEL_COST_MAP", None)
before = dict(os.environ)
from rewardanything_core.backends.endpoint.backend import EndpointBackend
EndpointBackend("hosted_vllm/x", api_base="http://127.0.0.1:9/v1")
assert "litellm" not in sys.modules
from rewardanything_core.backends.endpoint import litellm_adapter
litellm_adapter.load()
assert "litellm" in sys.modules
assert dict(os.environ) == before
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
