"""Requests are adapted to what the server accepts."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from endpoints import backend_for, complete, request_for, run, scores
from servers import FakeOpenAI, Fault

from rewardanything_core.backends.base import Completion
from rewardanything_core.errors import BackendError


@pytest.mark.parametrize("code", [400, 422])
@pytest.mark.parametrize("parameter", ["response_format", "seed", "temperature"])
def test_an_unsupported_parameter_is_not_sent_again(
    server: FakeOpenAI, parameter: str, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    server.rejects = {parameter: code}
    backend = backend_for(server, attempts=1)
    with caplog.at_level(logging.INFO, "rewardanything_core"):
        assert scores(complete(backend))["model-1"] == 4
        complete(backend)
    assert [parameter in body for body in server.bodies] == [True, False, False]
    assert len([r for r in caplog.records if r.name == "rewardanything_core"]) == 1


def test_several_unsupported_parameters_and_many_concurrent_requests(server: FakeOpenAI) -> None:
    server.rejects = {"seed": 400, "temperature": 422, "response_format": 400}
    backend = backend_for(server, attempts=1)

    async def everything() -> list[Completion]:
        return await asyncio.gather(*(backend.complete(request_for()) for _ in range(20)))

    assert all(scores(c)["model-1"] == 4 for c in run(everything()))


def test_a_parameter_named_only_in_the_repeated_prompt_is_still_sent(server: FakeOpenAI) -> None:
    server.reply = lambda body: Fault.status(400, "content filter: " + "x" * 600 + json.dumps(body))
    backend = backend_for(server)
    with pytest.raises(BackendError, match="content filter"):
        complete(backend)
    assert server.count == 1
    assert not backend._capabilities.unsupported


def cut_off(body: dict[str, Any]) -> dict[str, Any] | None:
    """A reply that the token limit ends while the model reasons; then the default verdict."""
    return {"content": "so far", "finish_reason": "length"} if body["max_tokens"] > 50 else None


def test_a_server_without_a_thinking_switch_gets_requests_without_it(server: FakeOpenAI) -> None:
    server.reply = lambda body: (
        Fault.status(400, "malformed request") if "chat_template_kwargs" in body else cut_off(body)
    )
    completion = complete(
        backend_for(server), request_for(is_reasoning_model=True, final_answer_prompt="Now the verdict.")
    )
    assert scores(completion)["model-2"] == 2
    assert server.count == 3


def test_fewer_alternatives_where_the_server_allows_fewer(server: FakeOpenAI) -> None:
    server.max_top_logprobs = 5
    backend = backend_for(server, attempts=1)
    for _ in range(2):
        assert complete(backend, request_for(token_probabilities=True)).tokens
    assert [b["top_logprobs"] for b in server.bodies] == [20, 5, 5]
