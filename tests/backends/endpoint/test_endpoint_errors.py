"""The endpoint backend against a local server that fails: retries, error messages, and keys in them."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import sys
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from endpoints import MODELS, backend_for, complete, request_for, run, scores
from servers import GARBAGE, HALF_JSON, HANG, HANG_MID_BODY, RESET, FakeOpenAI, Fault, score_text

from rewardanything_core.backends.base import Completion
from rewardanything_core.backends.endpoint.attempt_errors import redact
from rewardanything_core.backends.endpoint.backend import EndpointBackend
from rewardanything_core.backends.endpoint.retry import Backoff, retry_after_seconds
from rewardanything_core.errors import (
    AuthenticationError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    MissingExtraError,
    RateLimitError,
    RewardAnythingError,
)

KEY = "sk-test-0123456789abcdef"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "fault",
    [Fault.status(429), Fault.status(500), Fault.status(503), GARBAGE, HALF_JSON, RESET],
    ids=lambda f: f"{f.kind}{f.code}",
)
def test_a_transient_fault_costs_one_attempt(server: FakeOpenAI, model: str, fault: Fault) -> None:
    server.plan = [fault]
    completion = complete(backend_for(server, model))
    assert scores(completion) == {"model-1": 4, "model-2": 2}
    assert server.count == completion.usage.calls == 2
    assert completion.usage.prompt_tokens > 0
    assert completion.usage.completion_tokens > 0
    assert completion.usage.seconds > 0


@pytest.mark.parametrize("model", MODELS)
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
def test_a_persistent_fault_is_reported_after_all_attempts(
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


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("code", "expected"),
    [(400, BackendError), (401, AuthenticationError), (403, AuthenticationError), (404, BackendError)],
)
def test_a_client_error_is_not_retried(server: FakeOpenAI, model: str, code: int, expected: type[BackendError]) -> None:
    server.reply = Fault.status(code, "no such thing here")
    with pytest.raises(expected, match="no such thing here") as caught:
        complete(backend_for(server, model))
    assert server.count == 1
    assert not caught.value.retryable
    assert caught.value.status_code == code


@pytest.mark.parametrize("fault", [HANG, HANG_MID_BODY], ids=lambda f: f.kind)
def test_each_attempt_at_a_hanging_server_times_out(server: FakeOpenAI, fault: Fault) -> None:
    server.plan = [fault]
    assert scores(complete(backend_for(server, timeout=0.5)))["model-1"] == 4
    server.reply = fault
    with pytest.raises(BackendTimeoutError, match=r"within 0\.3 s"):
        complete(backend_for(server, timeout=0.3, attempts=2))
    assert server.count == 4


def test_a_refused_connection_is_reported_with_the_address() -> None:
    stopped = FakeOpenAI().start()
    stopped.stop()
    for model in MODELS:
        with pytest.raises(BackendConnectionError, match="Check api_base=") as caught:
            complete(backend_for(stopped, model, attempts=2))
        assert stopped.url in str(caught.value)


def test_an_exhausted_quota_is_not_retried(server: FakeOpenAI) -> None:
    server.reply = Fault.status(429, "You exceeded your current quota", code="insufficient_quota")
    with pytest.raises(RateLimitError, match="no quota left"):
        complete(backend_for(server))
    assert server.count == 1


def test_the_wait_is_at_least_retry_after(server: FakeOpenAI) -> None:
    server.plan = [Fault.status(429, retry_after="1")]
    complete(backend_for(server))
    first, second = server.requests
    assert second.at - first.at >= 1


def test_retry_after_can_be_seconds_or_a_date() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after_seconds("7") == 7
    assert retry_after_seconds("0.5") == 0.5
    assert retry_after_seconds(format_datetime(now + timedelta(seconds=9), usegmt=True), now=now) == 9
    assert retry_after_seconds(format_datetime(now - timedelta(seconds=9), usegmt=True), now=now) == 0
    for nothing in (None, "", "soon", "nan"):
        assert retry_after_seconds(nothing) is None


def test_backoff_grows_with_jitter_up_to_a_cap() -> None:
    backoff = Backoff(base=1, cap=8, rng=random.Random(0))
    for attempt, bound in enumerate([1, 2, 4, 8, 8, 8]):
        waits = [backoff.delay(attempt) for _ in range(200)]
        assert 0 <= min(waits) < bound / 10
        assert bound * 0.9 < max(waits) <= bound
    assert 3 <= backoff.delay(0, retry_after=3.0) <= 4
    assert backoff.delay(0, retry_after=86_400.0) <= 121


def test_many_requests_with_a_fifth_of_faults_all_get_their_own_reply(server: FakeOpenAI) -> None:
    server.fault_rate = 0.2
    server.latency = 0.005
    backend = backend_for(server, attempts=12)

    async def everything() -> list[Completion]:
        return await asyncio.gather(
            *(backend.complete(request_for(f"text {'x' * i}", f"{i % 5 + 1}")) for i in range(300))
        )

    for i, completion in enumerate(run(everything())):
        assert scores(completion) == {"model-1": score_text(f"text {'x' * i}"), "model-2": i % 5 + 1}
    assert server.count > 330
    assert server.max_in_flight <= 64


def test_cancelling_closes_the_connection_and_stops_retrying(server: FakeOpenAI) -> None:
    server.reply = HANG
    backend = backend_for(server)

    async def cancel_one() -> None:
        task = asyncio.create_task(backend.complete(request_for()))
        await asyncio.to_thread(server.wait_for, lambda s: s.count == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(server.wait_for, lambda s: s.dropped == 1)

    run(cancel_one())
    assert server.count == 1


def test_a_missing_key_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(AuthenticationError, match=r"There is no key for openai.*OPENAI_API_KEY"):
        complete(EndpointBackend("openai/gpt-4o", attempts=1))


@pytest.mark.parametrize(
    ("model", "variable"),
    [
        ("anthropic/claude-sonnet-4-5", "Set ANTHROPIC_API_KEY in"),
        ("gemini/gemini-2.5-flash", "GEMINI_API_KEY"),
        ("bedrock/anthropic.claude-haiku-4-5", "AWS_ACCESS_KEY_ID"),
    ],
)
def test_a_missing_key_of_any_provider_is_not_a_refused_one(
    model: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if re.search("_API_KEY$|_AUTH_TOKEN$|^AWS_", name)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    with pytest.raises(AuthenticationError, match=rf"^There is no key for {model}\..*{variable}"):
        complete(EndpointBackend(model))


@pytest.mark.parametrize("model", MODELS)
def test_a_server_that_wants_a_key_and_gets_none(
    server: FakeOpenAI, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("HOSTED_VLLM_API_KEY", raising=False)
    server.reply = Fault.status(401, "Unauthorized")
    for key, words in ((None, "There is no key for .* which requires one: Unauthorized"), ("wrong", "refused the key")):
        with pytest.raises(AuthenticationError, match=words):
            complete(EndpointBackend(model, api_base=server.url, api_key=key))


def full_text(error: BaseException | None) -> str:
    text = ""
    while error is not None:
        text += "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))
        error = error.__cause__ or error.__context__
    return text


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("given", ["argument", "named variable", "provider's variable"])
def test_the_key_appears_nowhere(
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
        texts = [repr(backend), str(backend), str(backend.spec()), str(backend.fingerprint())]
        assert server.requests[0].headers["authorization"] == f"Bearer {key}"
        faults = [Fault.status(c, f"You sent Bearer {key} {key}") for c in (400, 401, 404, 429, 500)]
        for fault in [*faults, GARBAGE, RESET, HALF_JSON]:
            server.reply = fault
            with pytest.raises(RewardAnythingError) as caught:
                complete(backend)
            texts.append(full_text(caught.value))
            texts.append(full_text(caught.value.__context__))
    texts += [f"{r.name}: {r.getMessage()} {r.exc_text}" for r in caplog.records if r.name.startswith("reward")]
    texts += list(capfd.readouterr())
    for text in texts:
        assert key not in text


def test_messages_are_shortened_after_keys_are_removed() -> None:
    assert KEY[:12] not in redact("x" * 390 + " " + KEY)
    assert redact("a\n\n b " + "y" * 1000).startswith("a b yyy")
    assert len(redact("y" * 1000)) < 410
    assert redact("Authorization: Bearer abc.def-ghi") == "Authorization: Bearer ***"


def test_litellm_prints_nothing(server: FakeOpenAI, capfd: pytest.CaptureFixture[str]) -> None:
    for fault in (Fault.status(400), Fault.status(500), RESET):
        server.reply = fault
        for model in MODELS:
            with pytest.raises(BackendError):
                complete(backend_for(server, model, attempts=1))
    with pytest.raises(BackendError):
        complete(backend_for(server, "nosuchprovider/x", attempts=1))
    out, err = capfd.readouterr()
    assert out == err == ""


@pytest.mark.parametrize("options", [{"model": "anthropic/claude"}, {"model": "openai/gpt", "client": "litellm"}])
def test_a_missing_litellm_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch, options: dict[str, str]) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(MissingExtraError, match=r"rewardanything-core\[endpoint\]"):
        EndpointBackend(**options)
