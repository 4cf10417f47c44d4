"""Requests are adapted to what the server accepts."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from endpoints import MODELS, a_case, backend_for, complete, judge_for, request_for, run, scores, usual_reply
from servers import FakeOpenAI, Fault

from rewardanything_core import JudgeFailure, SamplingParams, Verdict
from rewardanything_core.backends.base import ChoiceRequest, Completion
from rewardanything_core.backends.endpoint.capabilities import ServerCapabilities
from rewardanything_core.errors import BackendError
from rewardanything_core.types import Message


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


# --- max_completion_tokens

INSTEAD = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."


@pytest.mark.parametrize("model", [*MODELS, "azure/team-judge", "openrouter/team/judge", "litellm_proxy/team-judge"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault.status(400, INSTEAD, param="max_tokens", code="unsupported_parameter"),
        Fault.status(400, INSTEAD),
        Fault.status(400, "Unsupported parameter: 'max_tokens'", param="max_tokens"),
        Fault.status(422, "max_tokens: Extra inputs are not permitted; use max_completion_tokens"),
    ],
    ids=["OpenAI", "without param", "without a hint", "validation"],
)
def test_max_completion_tokens_is_sent_where_max_tokens_is_refused(
    server: FakeOpenAI, model: str, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_API_VERSION", "2024-12-01-preview")
    server.reply = lambda body: fault if "max_tokens" in body else None
    judge = judge_for(server, model, attempts=1, api_key="none")
    outcomes = judge.judge_batch([a_case(), a_case("is 1", "is 5")])
    assert [outcome.scores for outcome in outcomes if isinstance(outcome, Verdict)] == [
        {"a": 4.0, "b": 2.0},
        {"a": 1.0, "b": 5.0},
    ]
    sent = server.count
    judge.judge_batch([a_case("is 2", "is 3")])
    assert server.count == sent + 1
    assert server.bodies[-1]["max_completion_tokens"] == server.bodies[0]["max_tokens"]
    assert "max_tokens" not in server.bodies[-1]


def test_a_token_limit_that_is_too_large_is_not_an_unsupported_parameter(server: FakeOpenAI) -> None:
    message = "max_tokens is too large: 150. This model supports at most 100 completion tokens."
    server.reply = Fault.status(400, message, param="max_tokens", code="invalid_value")
    backend = backend_for(server)
    with pytest.raises(BackendError, match="at most 100 completion tokens"):
        complete(backend)
    assert server.count == 1
    assert not backend._capabilities.takes_max_completion_tokens


def test_a_model_that_takes_no_temperature_either_is_learned_in_two_steps(server: FakeOpenAI) -> None:
    server.rejects = {"max_tokens": 400, "temperature": 400, "seed": 400}
    (outcome,) = judge_for(server, attempts=1).judge_batch([a_case()])
    assert isinstance(outcome, Verdict)
    assert server.count == 4


# --- roles

NO_SYSTEM_ROLE = [
    Fault.status(400, "System role not supported"),
    Fault.status(400, "Conversation roles must alternate user/assistant/user/assistant/..."),
    Fault.status(400, "Only user and assistant roles are supported!"),
    Fault.status(400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
    Fault.status(422, "Template error: invalid operation: System role not supported (in <string>:1)"),
    Fault.status(500, "Jinja Exception: System role not supported"),
    Fault.status(400, "Developer instruction is not enabled for models/gemma-3-27b-it"),
    Fault.status(400, "This model doesn't support system messages. Try again without system messages."),
    Fault.status(400, "Invalid value: 'system'. Supported values are: 'user' and 'assistant'."),
]


def needs_user_and_assistant_in_turn(fault: Fault) -> Any:
    """A chat template without a system role, whose first and every other message is the user's."""

    def reply(body: dict[str, Any]) -> Fault | None:
        roles = [message["role"] for message in body["messages"]]
        return None if roles == [("user", "assistant")[i % 2] for i in range(len(roles))] else fault

    return reply


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fault", NO_SYSTEM_ROLE, ids=lambda fault: fault.message[:24])
def test_the_system_message_is_merged_where_there_is_no_system_role(
    server: FakeOpenAI, model: str, fault: Fault
) -> None:
    server.reply = needs_user_and_assistant_in_turn(fault)
    judge = judge_for(server, model, attempts=1)
    (outcome,) = judge.judge_batch([a_case()])
    assert isinstance(outcome, Verdict)
    assert outcome.scores == {"a": 4.0, "b": 2.0}
    before, after = (body["messages"] for body in server.bodies)
    assert after == [{"role": "user", "content": f"{before[0]['content']}\n\n{before[1]['content']}"}]
    judge.judge_batch([a_case("is 1", "is 5")])
    assert server.count == 3


def test_many_concurrent_requests_all_learn_that_there_is_no_system_role(server: FakeOpenAI) -> None:
    server.reply, server.latency = needs_user_and_assistant_in_turn(NO_SYSTEM_ROLE[0]), 0.01
    outcomes = judge_for(server, attempts=1).judge_batch([a_case(f"{'x' * i} is 4") for i in range(20)])
    assert all(isinstance(outcome, Verdict) for outcome in outcomes)


def test_a_final_answer_is_requested_in_alternating_turns(server: FakeOpenAI) -> None:
    template = needs_user_and_assistant_in_turn(NO_SYSTEM_ROLE[1])
    for content in ("so far", None):
        first = {"content": content, "finish_reason": "length"}
        server.reply = lambda body, first=first: template(body) or (first if body["max_tokens"] > 50 else None)
        request = request_for(is_reasoning_model=True, final_answer_prompt="Now the verdict.")
        assert scores(complete(backend_for(server), request))["model-1"] == 4
        assert server.bodies[-1]["messages"][-1]["content"].endswith("Now the verdict.")


def test_option_scores_without_a_system_role(server: FakeOpenAI) -> None:
    yes = usual_reply({"messages": [{"content": "Yes or No"}]}, "logits")
    server.reply = lambda body: needs_user_and_assistant_in_turn(NO_SYSTEM_ROLE[0])(body) or yes
    messages = (Message(role="system", content="Answer."), Message(role="user", content="Does it?"))
    question = ChoiceRequest(messages=messages, options=("Yes", "No"))
    assert run(backend_for(server).score_options([question])).usage.calls == 2


def test_roles_that_cannot_be_changed_are_an_error(server: FakeOpenAI) -> None:
    server.reply = NO_SYSTEM_ROLE[1]
    (outcome,) = judge_for(server).judge_batch([a_case()])
    assert isinstance(outcome, JudgeFailure)
    assert "roles must alternate" in outcome.message
    assert server.count == 2


def test_an_internal_error_is_not_a_lesson_about_parameters(server: FakeOpenAI) -> None:
    server.plan = [Fault.status(500, "temperature of the GPU is too high")]
    backend = backend_for(server)
    assert scores(complete(backend))["model-1"] == 4
    assert server.bodies[1]["temperature"] == 0


def test_messages_are_changed_only_for_a_server_without_a_system_role() -> None:
    messages = [Message(role="system", content="a"), Message(role="user", content="b")]
    capabilities = ServerCapabilities()
    assert capabilities.adapt(messages, {})[0] == messages
    assert not capabilities.drop_unsupported(messages[1:], {}, "System role not supported")
    assert capabilities.adapt(messages, {})[0] == [Message(role="user", content="a\n\nb")]


def test_a_judge_keeps_what_it_learned_between_batches(server: FakeOpenAI) -> None:
    server.reply = lambda body: NO_SYSTEM_ROLE[0] if body["messages"][0]["role"] == "system" else None
    server.rejects = {"max_tokens": 400}
    with judge_for(server, attempts=1, sampling=SamplingParams(thinking_budget=0)) as judge:
        judge.judge_batch([a_case()])
        learned = server.count
        judge.judge_batch([a_case("is 1", "is 5"), a_case("is 3", "is 3")])
    assert server.count == learned + 2
