"""A request that exceeds the model's context window is recognized, whatever the server's words for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from endpoints import MODELS, backend_for, complete, judge_for, request_for
from servers import FakeOpenAI, Fault, RawReply

from rewardanything_core import Case, Verdict
from rewardanything_core.backends.endpoint.context_length import is_context_overflow, token_counts
from rewardanything_core.errors import ContextLengthError

MESSAGES = [
    # OpenAI, DeepSeek
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
        "Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 300000 tokens. Please "
        "reduce the length of the messages.",
        300000,
        272000,
    ),
    # vLLM
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
    (
        "This model's maximum context length is 4096 tokens. However, you requested 100 output tokens and your prompt "
        "contains at least 3997 input tokens, for a total of at least 4097 tokens.",
        4097,
        4096,
    ),
    (
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that "
        "`max_model_len` is no smaller than the number of text tokens.",
        5000,
        4096,
    ),
    ("Prompt length of 5016 is longer than the maximum model length of 4096.", 5016, 4096),
    # SGLang, Together
    ("The input (61709 tokens) is longer than the model's context length (40960 tokens).", 61709, 40960),
    (
        "Requested token count exceeds the model's maximum context length of 202752 tokens. You requested a total of "
        "202941 tokens: 170941 tokens from the input messages and 32000 tokens for the completion.",
        202941,
        202752,
    ),
    ("Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens).", 160062, 59862),
    # TGI
    (
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` tokens and "
        "60 `max_new_tokens`",
        5060,
        4096,
    ),
    ("Input validation error: `inputs` must have less than 1024 tokens. Given: 1168", 1168, 1024),
    # Gemini
    ("The input token count (1200293) exceeds the maximum number of tokens allowed (1048576).", 1200293, 1048576),
    # xAI
    (
        "This model's maximum prompt length is 131072 but the request contains 136973 tokens.",
        136973,
        131072,
    ),
    # llama.cpp
    ("request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it", 5000, 4096),
    # Anthropic, Mistral, GitHub, Bedrock
    ("prompt is too long: 210000 tokens > 200000 maximum", 210000, 200000),
    ("Prompt contains 40000 tokens, too large for model with 32768 maximum context length", 40000, 32768),
    ("prompt token count of 200000 exceeds the limit of 128000", 200000, 128000),
    ("Input is too long for requested model.", None, None),
    ("The input exceeds the maximum context length.", None, None),
    # Moonshot, MiniMax, DashScope, Zhipu, TensorRT-LLM
    ("Invalid request: Your request exceeded model token limit: 131072", None, None),
    ("invalid params, context window exceeds limit (2013)", None, None),
    ("InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]", None, None),
    ("Prompt exceeds max length", None, None),
    ("Prompt length (5000) exceeds maximum input length (4096). Set log level to info.", 5000, 4096),
]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("message", "needed", "limit"), MESSAGES)
def test_a_context_overflow_has_the_servers_numbers(
    server: FakeOpenAI, model: str, message: str, needed: int | None, limit: int | None
) -> None:
    assert token_counts(message) == (needed, limit)
    for code in (400, 413, 422):
        server.reply = Fault.status(code, message)
        with pytest.raises(ContextLengthError) as caught:
            complete(backend_for(server, model, attempts=1))
        assert (caught.value.tokens, caught.value.limit) == (needed, limit)
    assert server.count == 3


def test_a_body_that_a_proxy_does_not_take_is_too_long(server: FakeOpenAI) -> None:
    server.reply = RawReply(b"<html>413 Request Entity Too Large</html>", 413)
    for model in MODELS:
        with pytest.raises(ContextLengthError):
            complete(backend_for(server, model, attempts=1))


@pytest.mark.parametrize("model", MODELS)
def test_the_code_of_an_error_is_enough(server: FakeOpenAI, model: str) -> None:
    server.reply = Fault.status(400, "Please shorten your text.", code="context_length_exceeded")
    with pytest.raises(ContextLengthError):
        complete(backend_for(server, model))
    assert server.count == 1


def test_an_overflow_can_be_an_internal_error(server: FakeOpenAI) -> None:
    server.reply = Fault.status(
        500, "The decoder prompt (length 66501) is longer than the maximum model length of 65536."
    )
    with pytest.raises(ContextLengthError, match="66,501 tokens"):
        complete(backend_for(server))
    assert server.count == 1


@pytest.mark.parametrize(
    "message",
    [
        "temperature must be <= 2",
        "max_tokens is too large: 9000. This model supports at most 4096 completion tokens.",
        "n must be less than 5 tokens",
        "stop must have less than 4 sequences",
        "malformed request: " + "x" * 1000 + " maximum context length is 4096",
    ],
)
def test_other_limits_are_not_a_context_overflow(message: str) -> None:
    assert not is_context_overflow(message)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "message",
    [
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096.",
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        "The input token count (5000) exceeds the maximum number of tokens allowed (4096).",
    ],
)
def test_a_list_that_does_not_fit_is_judged_as_shorter_lists(server: FakeOpenAI, model: str, message: str) -> None:
    def reply(body: dict[str, Any]) -> Fault | None:
        responses = json.loads(body["messages"][-1]["content"])["responses"]
        return Fault.status(400, message) if len(responses) > 4 else None

    server.reply = reply
    responses = {f"r{i}": f"response {'abcdefgh'[i]} is {i % 5 + 1}" for i in range(8)}
    (outcome,) = judge_for(server, model).judge_batch([Case("p", "q", responses)])
    assert isinstance(outcome, Verdict)
    assert max(outcome.scores, key=lambda label: outcome.scores[label]) == "r4"


def test_a_known_window_is_checked_before_sending(server: FakeOpenAI) -> None:
    backend = backend_for(server, context_window=1000)
    complete(backend)
    with pytest.raises(ContextLengthError, match=r"1,1\d\d tokens.*1,000") as caught:
        complete(backend, request_for(budget=1000, max_tokens=140))
    assert caught.value.limit == 1000
    assert server.count == 1
