"""Several servers of one model, and hedged requests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from endpoints import MODELS, backend_for, complete, request_for, run, scores
from servers import HANG, FakeOpenAI, Fault

from rewardanything_core.backends.base import Completion
from rewardanything_core.errors import BackendConnectionError, BackendError, BackendTimeoutError, ConfigError


@pytest.mark.parametrize("model", MODELS)
def test_an_unreachable_replica_fails_no_request(server: FakeOpenAI, model: str) -> None:
    dead = FakeOpenAI().start()
    dead.stop()
    backend = backend_for(server, model, api_base=[dead.url, server.url], attempts=1)

    async def everything() -> list[Completion]:
        return await asyncio.gather(*(backend.complete(request_for()) for _ in range(40)))

    assert len(run(everything())) == server.count == 40


@pytest.mark.parametrize("model", MODELS)
def test_a_hanging_replica_is_suspended_after_one_timeout(server: FakeOpenAI, model: str) -> None:
    with FakeOpenAI(HANG) as stuck:
        backend = backend_for(server, model, api_base=[stuck.url, server.url], attempts=2, timeout=4.0)

        async def one_by_one() -> None:
            for _ in range(20):
                await backend.complete(request_for())

        run(one_by_one())
        assert server.count == 20
        assert stuck.count == 1


@pytest.mark.parametrize("model", MODELS)
def test_a_slow_request_is_hedged_and_the_first_reply_counts(server: FakeOpenAI, model: str) -> None:
    server.plan = [HANG]
    reply = complete(backend_for(server, model, hedge_after=0.2, timeout=20.0))
    assert scores(reply) == {"model-1": 4, "model-2": 2} and reply.usage.calls == server.count == 2


@pytest.mark.parametrize("model", MODELS)
def test_a_hedged_request_goes_to_another_replica(server: FakeOpenAI, model: str) -> None:
    with FakeOpenAI(HANG) as stuck:
        backend = backend_for(server, model, api_base=[stuck.url, server.url], hedge_after=0.1, timeout=20.0)

        async def everything() -> list[Completion]:
            return await asyncio.gather(*(backend.complete(request_for()) for _ in range(12)))

        replies = run(everything())
        assert server.count == 12
        assert 0 < stuck.count <= sum(reply.usage.calls for reply in replies) - 12  # some were cancelled on their way


def test_hedging_needs_a_free_slot_and_counts_its_calls(server: FakeOpenAI) -> None:
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


def test_cancelling_a_request_cancels_its_hedge(server: FakeOpenAI) -> None:
    server.plan = [HANG, HANG]
    backend = backend_for(server, "hosted_vllm/fake", hedge_after=0.05, max_concurrency=2)

    async def cancelled() -> None:
        task = asyncio.create_task(backend.complete(request_for()))
        while server.count < 2:
            await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1
        await asyncio.gather(
            backend.complete(request_for()), backend.complete(request_for())
        )  # both slots are free again

    run(cancelled())
    assert server.count == 4


@pytest.mark.parametrize("model", MODELS)
def test_replicas_share_the_load_and_it_is_an_error_if_all_are_unreachable(server: FakeOpenAI, model: str) -> None:
    with FakeOpenAI() as other:
        backend = backend_for(server, model, api_base=[other.url, server.url], attempts=2, patience=0)

        async def everything() -> None:
            await asyncio.gather(*(backend.complete(request_for()) for _ in range(60)))

        run(everything())
        assert server.count + other.count == 60
        assert min(server.count, other.count) > 10
    server.stop()
    with pytest.raises(BackendConnectionError):
        complete(backend)


def test_litellm_is_left_unchanged(server: FakeOpenAI) -> None:
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
