"""EndpointBackend over the real LiteLLM against a real local server, with everything that goes wrong there."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import logging
import random
import subprocess
import sys
import traceback
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeVar

import pytest
from servers import (
    GARBAGE,
    HALF_JSON,
    HANG,
    HANG_MID_BODY,
    RESET,
    FakeOpenAI,
    Fault,
    score_text,
    tokens_of,
)

from rewardanything_core.backends.base import Completion, Request
from rewardanything_core.backends.endpoint.backend import EndpointBackend
from rewardanything_core.backends.endpoint.completions import align_tokens
from rewardanything_core.backends.endpoint.litellm_adapter import shown, window_numbers
from rewardanything_core.backends.endpoint.retry import Backoff, retry_after_seconds
from rewardanything_core.errors import (
    AuthenticationError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    ConfigError,
    ContextLengthError,
    MissingExtraError,
    RateLimitError,
    RewardAnythingError,
)
from rewardanything_core.prompting.verdict_grammar import verdict_schema
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.types import Message

T = TypeVar("T")

KEY = "sk-test-0123456789abcdef"
SCHEMA = verdict_schema(["model-1", "model-2"], reasoning=False)
PROVIDERS = ["hosted_vllm/fake", "openai/fake"]


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def backend_for(server: FakeOpenAI, model: str = "hosted_vllm/fake", **options: Any) -> EndpointBackend:
    options.setdefault("timeout", 20.0)
    backend = EndpointBackend(model, api_base=options.pop("api_base", server.url), **options)
    backend._sender.backoff = Backoff(base=0.01, cap=0.05)  # the waits themselves are tested on Backoff
    return backend


def ask(first: str = "is 4", second: str = "is 2", **options: Any) -> Request:
    case = {"principle": "p", "prompt": "q", "responses": {"model-1": first, "model-2": second}}
    sampling = SamplingParams(thinking_budget=options.pop("budget", 100), max_tokens=options.pop("max_tokens", 50))
    messages = (Message(role="system", content="judge"), Message(role="user", content=json.dumps(case)))
    return Request(messages=messages, sampling=sampling, schema=SCHEMA, **options)


def complete(backend: EndpointBackend, request: Request | None = None) -> Completion:
    return run(backend.complete(request or ask()))


def scores(completion: Completion) -> dict[str, int]:
    return json.loads(completion.answer)["scores"]


# Faults


@pytest.mark.parametrize("model", PROVIDERS)
@pytest.mark.parametrize(
    "fault",
    [Fault.status(429), Fault.status(500), Fault.status(503), GARBAGE, HALF_JSON, RESET],
    ids=lambda f: f"{f.kind}{f.code}",
)
def test_a_passing_fault_costs_one_attempt(server: FakeOpenAI, model: str, fault: Fault) -> None:
    server.plan = [fault]
    completion = complete(backend_for(server, model))
    assert scores(completion) == {"model-1": 4, "model-2": 2}
    assert server.count == completion.usage.calls == 2
    assert completion.usage.prompt_tokens > 0
    assert completion.usage.completion_tokens > 0
    assert completion.usage.seconds > 0


@pytest.mark.parametrize("model", PROVIDERS)
@pytest.mark.parametrize(
    ("fault", "expected", "status"),
    [
        (Fault.status(429), RateLimitError, 429),
        (Fault.status(500), BackendError, 500),
        (GARBAGE, BackendError, 200),
        (HALF_JSON, BackendConnectionError, None),
        (RESET, BackendConnectionError, None),
    ],
    ids=lambda x: getattr(x, "kind", ""),
)
def test_a_lasting_fault_is_named_after_all_attempts(
    server: FakeOpenAI, model: str, fault: Fault, expected: type[BackendError], status: int | None
) -> None:
    server.reply = fault
    with pytest.raises(BackendError) as caught:
        complete(backend_for(server, model, attempts=3))
    assert server.count == 3
    named = (type(caught.value), caught.value.status_code)
    # Older versions of LiteLLM show of a connection that was cut only the half of the JSON.
    cut = fault is HALF_JSON and named == (BackendError, 200)
    assert cut or named == (expected, status)
    assert caught.value.retryable
    assert server.url in str(caught.value)
    assert model in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("model", PROVIDERS)
@pytest.mark.parametrize(
    ("code", "expected"),
    [(400, BackendError), (401, AuthenticationError), (403, AuthenticationError), (404, BackendError)],
)
def test_a_refusal_is_final(server: FakeOpenAI, model: str, code: int, expected: type[BackendError]) -> None:
    server.reply = Fault.status(code, "no such thing here")
    with pytest.raises(expected, match="no such thing here") as caught:
        complete(backend_for(server, model))
    assert server.count == 1
    assert not caught.value.retryable
    assert caught.value.status_code == code


@pytest.mark.parametrize("fault", [HANG, HANG_MID_BODY], ids=lambda f: f.kind)
def test_a_hanging_server_times_out_per_attempt(server: FakeOpenAI, fault: Fault) -> None:
    server.plan = [fault]
    assert scores(complete(backend_for(server, timeout=0.5)))["model-1"] == 4
    server.reply = fault
    with pytest.raises(BackendTimeoutError, match=r"within 0\.3 s"):
        complete(backend_for(server, timeout=0.3, attempts=2))
    assert server.count == 4


def test_nobody_listens() -> None:
    gone = FakeOpenAI().start()
    gone.stop()
    for model in PROVIDERS:
        with pytest.raises(BackendConnectionError, match="Check api_base=") as caught:
            complete(backend_for(gone, model, attempts=2))
        assert gone.url in str(caught.value)


def test_a_used_up_account_is_not_asked_again(server: FakeOpenAI) -> None:
    server.reply = Fault.status(429, "You exceeded your current quota", code="insufficient_quota")
    with pytest.raises(RateLimitError, match="no quota left"):
        complete(backend_for(server))
    assert server.count == 1


def test_retry_after_is_honoured(server: FakeOpenAI) -> None:
    server.plan = [Fault.status(429, retry_after="1")]
    complete(backend_for(server))
    first, second = server.requests
    assert second.at - first.at >= 1


def test_retry_after_is_read_in_seconds_and_as_a_date() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after_seconds("7") == 7
    assert retry_after_seconds("0.5") == 0.5
    assert retry_after_seconds(format_datetime(now + timedelta(seconds=9), usegmt=True), now=now) == 9
    assert retry_after_seconds(format_datetime(now - timedelta(seconds=9), usegmt=True), now=now) == 0
    for nothing in (None, "", "soon", "nan"):
        assert retry_after_seconds(nothing) is None


def test_backoff_grows_jitters_and_is_capped() -> None:
    backoff = Backoff(base=1, cap=8, rng=random.Random(0))
    for attempt, bound in enumerate([1, 2, 4, 8, 8, 8]):
        waits = [backoff.delay(attempt) for _ in range(200)]
        assert 0 <= min(waits) < bound / 10
        assert bound * 0.9 < max(waits) <= bound
    assert 3 <= backoff.delay(0, retry_after=3.0) <= 4
    assert backoff.delay(0, retry_after=86_400.0) <= 121


def test_many_requests_at_a_fifth_faults_all_come_back_right(server: FakeOpenAI) -> None:
    server.fault_rate = 0.2
    server.latency = 0.005
    backend = backend_for(server, attempts=12)

    async def everything() -> list[Completion]:
        return await asyncio.gather(*(backend.complete(ask(f"text {'x' * i}", f"{i % 5 + 1}")) for i in range(300)))

    for i, completion in enumerate(run(everything())):
        assert scores(completion) == {"model-1": score_text(f"text {'x' * i}"), "model-2": i % 5 + 1}
    assert server.count > 330
    assert server.max_in_flight <= 64


def test_concurrency_is_capped(server: FakeOpenAI) -> None:
    server.latency = 0.02
    backend = backend_for(server, max_concurrency=5)

    async def everything() -> None:
        await asyncio.gather(*(backend.complete(ask()) for _ in range(30)))

    run(everything())
    assert server.max_in_flight == 5


def test_requests_that_begin_alike_arrive_one_after_the_other(server: FakeOpenAI) -> None:
    server.latency = 0.005
    backend = backend_for(server, max_concurrency=4)

    async def everything() -> None:
        asked = [
            dataclasses.replace(ask(f"{number} of {prefix_group}"), prefix_group=prefix_group)
            for number in range(8)
            for prefix_group in range(5)
        ]
        await asyncio.gather(*(backend.complete(request) for request in asked))

    run(everything())
    order = [json.loads(body["messages"][1]["content"])["responses"]["model-1"][-1] for body in server.bodies]
    changes = sum(one != other for one, other in itertools.pairwise(order))
    assert changes <= 20  # 39 in the order in which they were asked


def test_cancelling_hangs_up_and_stops_asking(server: FakeOpenAI) -> None:
    server.reply = HANG
    backend = backend_for(server)

    async def cancel_one() -> None:
        task = asyncio.create_task(backend.complete(ask()))
        await asyncio.to_thread(server.wait_for, lambda s: s.count == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(server.wait_for, lambda s: s.dropped == 1)

    run(cancel_one())
    assert server.count == 1


# Replicas


@pytest.mark.parametrize("model", PROVIDERS)
def test_a_dead_replica_fails_nothing(server: FakeOpenAI, model: str) -> None:
    dead = FakeOpenAI().start()
    dead.stop()
    backend = backend_for(server, model, api_base=[dead.url, server.url], attempts=1)

    async def everything() -> list[Completion]:
        return await asyncio.gather(*(backend.complete(ask()) for _ in range(40)))

    assert len(run(everything())) == server.count == 40


@pytest.mark.parametrize("model", PROVIDERS)
def test_a_hanging_replica_is_passed_over_after_one_timeout(server: FakeOpenAI, model: str) -> None:
    with FakeOpenAI(HANG) as stuck:
        backend = backend_for(server, model, api_base=[stuck.url, server.url], attempts=2, timeout=4.0)

        async def one_by_one() -> None:
            for _ in range(20):
                await backend.complete(ask())

        run(one_by_one())
        assert server.count == 20
        assert stuck.count == 1


@pytest.mark.parametrize("model", PROVIDERS)
def test_a_request_that_takes_long_is_sent_again_and_the_first_reply_counts(server: FakeOpenAI, model: str) -> None:
    server.plan = [HANG]
    reply = complete(backend_for(server, model, hedge_after=0.2, timeout=20.0))
    assert scores(reply) == {"model-1": 4, "model-2": 2} and reply.usage.calls == server.count == 2


@pytest.mark.parametrize("model", PROVIDERS)
def test_a_second_sending_goes_to_another_replica(server: FakeOpenAI, model: str) -> None:
    with FakeOpenAI(HANG) as stuck:
        backend = backend_for(server, model, api_base=[stuck.url, server.url], hedge_after=0.1, timeout=20.0)

        async def everything() -> list[Completion]:
            return await asyncio.gather(*(backend.complete(ask()) for _ in range(12)))

        replies = run(everything())
        assert server.count == 12
        assert 0 < stuck.count <= sum(reply.usage.calls for reply in replies) - 12  # some were cancelled on their way


def test_nothing_is_sent_again_where_all_places_are_taken_or_all_is_refused(server: FakeOpenAI) -> None:
    server.plan = [HANG]
    with pytest.raises(BackendTimeoutError):
        complete(backend_for(server, "hosted_vllm/fake", hedge_after=0.1, timeout=0.5, attempts=1, max_concurrency=1))
    assert server.count == 1
    server.plan = [HANG, HANG, Fault.status(500)]
    with pytest.raises(BackendTimeoutError) as raised:
        complete(backend_for(server, "hosted_vllm/fake", hedge_after=0.1, timeout=0.5, attempts=1))
    assert raised.value.usage.calls == 2
    with pytest.raises(ConfigError, match="hedge_after must be above 0 seconds, not 0"):
        backend_for(server, "hosted_vllm/fake", hedge_after=0)


def test_a_cancelled_request_takes_its_second_sending_with_it(server: FakeOpenAI) -> None:
    server.plan = [HANG, HANG]
    backend = backend_for(server, "hosted_vllm/fake", hedge_after=0.05, max_concurrency=2)

    async def cancelled() -> None:
        task = asyncio.create_task(backend.complete(ask()))
        while server.count < 2:
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1
        await asyncio.gather(backend.complete(ask()), backend.complete(ask()))  # both places are free again

    run(cancelled())
    assert server.count == 4


@pytest.mark.parametrize("model", PROVIDERS)
def test_replicas_share_the_load_and_all_dead_is_an_error(server: FakeOpenAI, model: str) -> None:
    with FakeOpenAI() as other:
        backend = backend_for(server, model, api_base=[other.url, server.url], attempts=2, patience=0)

        async def everything() -> None:
            await asyncio.gather(*(backend.complete(ask()) for _ in range(60)))

        run(everything())
        assert server.count + other.count == 60
        assert min(server.count, other.count) > 10
    server.stop()
    with pytest.raises(BackendConnectionError):
        complete(backend)


def test_replicas_leave_litellm_as_it_was(server: FakeOpenAI) -> None:
    import litellm

    def state() -> list[Any]:
        hooks = [litellm.success_callback, litellm._async_success_callback]
        hooks += [litellm.failure_callback, litellm._async_failure_callback, litellm.callbacks]
        return [[list(h) for h in hooks], set(litellm.model_cost), litellm.suppress_debug_info, litellm.drop_params]

    before = state()
    complete(backend_for(server, "openai/fake", api_base=[server.url, server.url.replace("127.0.0.1", "localhost")]))
    server.reply = Fault.status(400)
    with pytest.raises(BackendError):
        complete(backend_for(server, "openai/fake"))
    assert state() == before


def test_a_model_on_a_vllm_server_is_asked_without_litellm(server: FakeOpenAI) -> None:
    code = f"""
import sys
from rewardanything_core import from_endpoint
judge = from_endpoint("hosted_vllm/fake", {server.url!r}, cache="off")
assert judge.judge("p", "q", ["is 4"]).scores == {{"0": 4.0}}
assert "litellm" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-Wdefault", "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_one_connection_serves_many_requests_one_after_the_other(server: FakeOpenAI) -> None:
    backend = backend_for(server)

    async def one_by_one() -> None:
        for _ in range(5):
            await backend.complete(ask())

    run(one_by_one())
    assert len({received.peer for received in server.requests}) == 1


# What is sent


def test_what_is_asked_of_the_model(server: FakeOpenAI) -> None:
    complete(backend_for(server, extra_body={"top_k": 20}))
    body = server.bodies[0]
    assert body["model"] == "fake"
    assert body["max_tokens"] == 150
    assert body["temperature"] == 0
    assert body["seed"] == 0
    assert body["top_k"] == 20
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert not {"top_p", "logprobs", "chat_template_kwargs", "stream"} & set(body)


@pytest.mark.parametrize("code", [400, 422])
@pytest.mark.parametrize("parameter", ["response_format", "seed", "temperature"])
def test_a_refused_parameter_is_left_out_from_then_on(
    server: FakeOpenAI, parameter: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.rejects = {parameter: code}
    backend = backend_for(server, attempts=1)
    with caplog.at_level(logging.INFO, "rewardanything_core"):
        assert scores(complete(backend))["model-1"] == 4
        complete(backend)
    assert [parameter in body for body in server.bodies] == [True, False, False]
    assert len([r for r in caplog.records if r.name == "rewardanything_core"]) == 1


def test_several_refused_parameters_and_many_requests_at_once(server: FakeOpenAI) -> None:
    server.rejects = {"seed": 400, "temperature": 422, "response_format": 400}
    backend = backend_for(server, attempts=1)

    async def everything() -> list[Completion]:
        return await asyncio.gather(*(backend.complete(ask()) for _ in range(20)))

    assert all(scores(c)["model-1"] == 4 for c in run(everything()))


def test_a_prompt_that_speaks_of_parameters_blames_none(server: FakeOpenAI) -> None:
    server.reply = lambda body: Fault.status(400, "content filter: " + "x" * 600 + json.dumps(body))
    backend = backend_for(server)
    with pytest.raises(BackendError, match="content filter"):
        complete(backend)
    assert server.count == 1
    assert not backend._dialect.refused


def test_response_format_off_and_insisted_on(server: FakeOpenAI) -> None:
    complete(backend_for(server, response_format="off"))
    assert "response_format" not in server.bodies[0]
    server.rejects = {"response_format": 400}
    with pytest.raises(BackendError, match="response_format"):
        complete(backend_for(server, response_format="json_schema"))


def test_a_thinking_model_is_constrained_once_its_reasoning_comes_apart(server: FakeOpenAI) -> None:
    server.reasoning = "hmm"
    backend = backend_for(server)
    for _ in range(3):
        completion = complete(backend, ask(is_reasoning_model=True))
        assert completion.reasoning == "hmm"
        assert scores(completion)["model-1"] == 4
    assert ["response_format" in body for body in server.bodies] == [False, True, True]


@pytest.mark.parametrize("model", PROVIDERS)
def test_a_thinking_model_is_never_silenced_by_the_constraint(server: FakeOpenAI, model: str) -> None:
    server.reasoning, server.reasoning_inline = "hmm", True
    backend = backend_for(server, model)
    for _ in range(3):
        completion = complete(backend, ask(is_reasoning_model=True))
        assert "hmm" in completion.raw
        assert json.loads(completion.answer.rpartition("</think>")[2])["scores"]["model-1"] == 4
    # LiteLLM splits think tags off by itself, so that the first reply looks as if the server had a reasoning parser.
    tried = [True] if model.startswith("openai/") else []
    assert ["response_format" in body for body in server.bodies] == [False, *tried, False, False]
    assert completion.usage.calls == 1


def test_think_tags_opened_by_the_template_stay_in_the_answer(server: FakeOpenAI) -> None:
    server.reply = {"content": 'hmm</think>{"scores": {}}'}
    completion = complete(backend_for(server), ask(is_reasoning_model=True))
    assert (completion.answer, completion.reasoning) == ('hmm</think>{"scores": {}}', None)


def test_an_answer_taken_for_reasoning_is_the_answer(server: FakeOpenAI) -> None:
    for content in (None, "", "\n"):
        server.reply = {"content": content, "reasoning_content": '{"scores": {}}'}
        completion = complete(backend_for(server))
        assert (completion.answer, completion.reasoning) == ('{"scores": {}}', None)


def test_no_thinking_is_asked_for_where_there_is_no_budget(server: FakeOpenAI) -> None:
    complete(backend_for(server), ask(is_reasoning_model=True, budget=0))
    assert server.bodies[0]["chat_template_kwargs"] == {"enable_thinking": False}
    assert server.bodies[0]["max_tokens"] == 50
    complete(backend_for(server, "openai/fake"), ask(is_reasoning_model=True, budget=0))
    assert "chat_template_kwargs" not in server.bodies[1]


# The thinking budget


def cut_off(**message: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda body: {**message, "finish_reason": "length"} if body["max_tokens"] > 50 else None


@pytest.mark.parametrize(
    "message",
    [{"content": None, "reasoning_content": "so far"}, {"content": "<think>\nso far"}, {"content": "so far"}],
    ids=["apart", "inline", "opened by the template"],
)
def test_used_up_thinking_gets_a_verdict(server: FakeOpenAI, message: dict[str, Any]) -> None:
    server.reply = cut_off(**message)
    completion = complete(backend_for(server), ask(is_reasoning_model=True, final_answer_prompt="Now the verdict."))
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


def test_a_server_without_a_thinking_switch_is_asked_without_it(server: FakeOpenAI) -> None:
    server.reply = lambda body: (
        Fault.status(400, "malformed request") if "chat_template_kwargs" in body else cut_off(content="so far")(body)
    )
    completion = complete(backend_for(server), ask(is_reasoning_model=True, final_answer_prompt="Now the verdict."))
    assert scores(completion)["model-2"] == 2
    assert server.count == 3


def test_hidden_thinking_is_wrapped_up_without_an_empty_turn(server: FakeOpenAI) -> None:
    server.reply = cut_off(content=None)
    completion = complete(backend_for(server), ask(is_reasoning_model=True, final_answer_prompt="Now the verdict."))
    assert [m["role"] for m in server.bodies[1]["messages"]] == ["system", "user", "user"]
    assert completion.reasoning is None


def test_without_a_wrap_up_a_cut_is_reported(server: FakeOpenAI) -> None:
    server.reply = cut_off(content=None, reasoning_content="so far")
    completion = complete(backend_for(server), ask(is_reasoning_model=True))
    assert completion.truncated
    assert (completion.answer, completion.reasoning) == ("", "so far")


# Token probabilities


@pytest.mark.parametrize("model", PROVIDERS)
def test_token_probabilities_make_up_the_answer(server: FakeOpenAI, model: str) -> None:
    server.reply = {"content": 'naïve 判断 {"scores": {"model-1": 4}}'}
    completion = complete(backend_for(server, model), ask(token_probabilities=True))
    assert "".join(t.text for t in completion.tokens) == completion.answer
    four = next(t for t in completion.tokens if t.text == "4")
    assert four.alternatives == pytest.approx({"4": 0.6, "1": 0.1, "2": 0.1, "3": 0.1, "5": 0.1})
    assert server.bodies[0]["top_logprobs"] == 20


def test_fewer_alternatives_where_twenty_are_too_many(server: FakeOpenAI) -> None:
    server.max_top_logprobs = 5
    backend = backend_for(server, attempts=1)
    for _ in range(2):
        assert complete(backend, ask(token_probabilities=True)).tokens
    assert [b["top_logprobs"] for b in server.bodies] == [20, 5, 5]


def test_missing_token_probabilities_are_an_error(server: FakeOpenAI) -> None:
    server.logprobs = False
    with pytest.raises(BackendError, match=r"no token log-probabilities.*expected_scores"):
        complete(backend_for(server), ask(token_probabilities=True))
    server.logprobs, server.reply = True, {"content": "other", "tokens": tokens_of("elsewhere")}
    with pytest.raises(BackendError, match="expected_scores"):
        complete(backend_for(server), ask(token_probabilities=True))


def test_tokens_of_the_reasoning_are_cut_away() -> None:
    from types import SimpleNamespace

    def token(text: str, raw: bytes | None = None) -> Any:
        return SimpleNamespace(token=text, bytes=raw, logprob=-0.1, top_logprobs=[])

    entries = [token("4"), token("</think>"), token("\n\n{"), token("4"), token("}"), token("<|im_end|>")]
    found = align_tokens(entries, "{4}")
    assert found is not None
    assert [t.text for t in found] == ["{", "4", "}"]
    assert [bool(t.alternatives) for t in found] == [False, True, True]
    smile = "🙂".encode()
    found = align_tokens([token("?", smile[:2]), token("?", smile[2:]), token("!")], "🙂!")
    assert found is not None
    assert [t.text for t in found] == ["🙂", "!"]
    assert align_tokens(entries, "5") is None


# Errors that say what to do


@pytest.mark.parametrize(
    ("message", "needed", "limit"),
    [
        (
            "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens (4000 in the "
            "messages, 1000 in the completion).",
            5000,
            4096,
        ),
        (
            "This model's maximum context length is 8,192 tokens. However, your messages resulted in 9,000 tokens.",
            9000,
            8192,
        ),
        (
            "You passed 4001 input tokens and requested 1000 output tokens. However, the model's context length is "
            "only 4096 tokens, resulting in a maximum input length of 3096 tokens.",
            5001,
            4096,
        ),
        (
            "'max_tokens' or 'max_completion_tokens' is too large: 9000. This model's maximum context length is 4096 "
            "tokens and your request has 200 input tokens (9000 > 4096 - 200).",
            9200,
            4096,
        ),
        ("request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it", 5000, 4096),
        ("prompt is too long: 210000 tokens > 200000 maximum", 210000, 200000),
        ("The input exceeds the maximum context length.", None, None),
    ],
)
def test_a_case_too_long_names_both_numbers(
    server: FakeOpenAI, message: str, needed: int | None, limit: int | None
) -> None:
    assert window_numbers(message) == (needed, limit)
    server.reply = Fault.status(400, message)
    with pytest.raises(ContextLengthError) as caught:
        complete(backend_for(server))
    assert (caught.value.tokens, caught.value.limit) == (needed, limit)
    assert server.count == 1


def test_a_known_window_is_checked_before_anything_is_sent(server: FakeOpenAI) -> None:
    backend = backend_for(server, context_window=1000)
    complete(backend)
    with pytest.raises(ContextLengthError, match=r"1,1\d\d tokens.*1,000") as caught:
        complete(backend, ask(budget=1000, max_tokens=140))
    assert caught.value.limit == 1000
    assert server.count == 1


def test_an_unknown_provider_is_explained(server: FakeOpenAI) -> None:
    with pytest.raises(BackendError, match="hosted_vllm/fake"):
        complete(backend_for(server, "fake"))


def test_a_missing_key_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(AuthenticationError, match=r"There is no key for openai.*OPENAI_API_KEY"):
        complete(EndpointBackend("openai/gpt-4o", attempts=1))


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
    ],
    ids=str,
)
def test_settings_are_checked_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        EndpointBackend(**{"model": "hosted_vllm/fake", **options})
    assert "secret" not in str(caught.value)


# Keys


def everything_said(error: BaseException | None) -> str:
    said = ""
    while error is not None:
        said += "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
        error = error.__cause__ or error.__context__
    return said


@pytest.mark.parametrize("model", PROVIDERS)
@pytest.mark.parametrize("given", ["argument", "named variable", "provider's variable"])
def test_the_key_shows_nowhere(
    server: FakeOpenAI,
    model: str,
    given: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # Not of a form that a pattern could know, and repeated by the server.
    key = "correct-horse-battery-staple"
    options = {}
    if given == "argument":
        options["api_key"] = key
    elif given == "named variable":
        monkeypatch.setenv("JUDGE_CREDENTIAL", key)
        options["api_key_env"] = "JUDGE_CREDENTIAL"
    else:
        monkeypatch.setenv(f"{model.split('/')[0].upper()}_API_KEY", key)
    with caplog.at_level(logging.DEBUG):
        server.require_key = key
        backend = backend_for(server, model, attempts=2, **options)
        complete(backend)
        shown_texts = [repr(backend), str(backend), str(backend.spec()), str(backend.fingerprint())]
        assert server.requests[0].headers["authorization"] == f"Bearer {key}"
        faults = [Fault.status(c, f"You sent Bearer {key} {key}") for c in (400, 401, 404, 429, 500)]
        for fault in [*faults, GARBAGE, RESET, HALF_JSON]:
            server.reply = fault
            with pytest.raises(RewardAnythingError) as caught:
                complete(backend)
            shown_texts.append(everything_said(caught.value))
            shown_texts.append(everything_said(caught.value.__context__))
    shown_texts += [f"{r.name}: {r.getMessage()} {r.exc_text}" for r in caplog.records if r.name.startswith("reward")]
    shown_texts += list(capfd.readouterr())
    for text in shown_texts:
        assert key not in text


def test_messages_are_trimmed_after_keys_are_out() -> None:
    assert KEY[:12] not in shown("x" * 390 + " " + KEY)
    assert shown("a\n\n b " + "y" * 1000).startswith("a b yyy")
    assert len(shown("y" * 1000)) < 410
    assert shown("Authorization: Bearer abc.def-ghi") == "Authorization: Bearer ***"


def test_litellm_prints_nothing(server: FakeOpenAI, capfd: pytest.CaptureFixture[str]) -> None:
    for fault in (Fault.status(400), Fault.status(500), RESET):
        server.reply = fault
        for model in PROVIDERS:
            with pytest.raises(BackendError):
                complete(backend_for(server, model, attempts=1))
    with pytest.raises(BackendError):
        complete(backend_for(server, "nosuchprovider/x", attempts=1))
    out, err = capfd.readouterr()
    assert out == err == ""


def test_a_missing_litellm_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(MissingExtraError, match=r"rewardanything-core\[endpoint\]"):
        EndpointBackend("hosted_vllm/fake")


# Identity


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
    one, two = (EndpointBackend(f"hosted_vllm/{n}", cache_as="the 8B") for n in "ab")
    assert one.fingerprint() == two.fingerprint()
    backend.close()
    backend.close()


def test_own_prices_are_counted(server: FakeOpenAI) -> None:
    usage = complete(backend_for(server, input_cost_per_token=0.001, output_cost_per_token=0.01)).usage
    assert usage.cost == pytest.approx(usage.prompt_tokens * 0.001 + usage.completion_tokens * 0.01)
    assert complete(backend_for(server)).usage.cost is None


def test_litellm_is_imported_with_the_first_request_and_changes_no_environment() -> None:
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
