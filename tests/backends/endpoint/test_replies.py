"""Whatever a server replies is a completion or an error of that one request."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from endpoints import CHOICE, MODELS, a_case, backend_for, complete, judge_for, request_for, run, scores, usual_reply
from servers import FakeOpenAI, Fault, RawReply

from rewardanything_core import Case, JudgeFailure, Verdict
from rewardanything_core.backends.base import ChoiceResult
from rewardanything_core.errors import BackendError, RefusalError

# LiteLLM's warnings about odd values
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")

VERDICT = '{"scores": {"model-1": 4, "model-2": 2}, "best-to-worst": ["model-1", "model-2"]}'

ENVELOPE: dict[str, Any] = {
    "id": "chatcmpl-fake",
    "object": "chat.completion",
    "created": 0,
    "model": "fake",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": VERDICT}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
}

ABSENT = object()


def envelope(path: str = "", value: Any = None) -> RawReply:
    """A chat completion with one field, such as ``choices.0.message.content``, set or removed."""
    reply = copy.deepcopy(ENVELOPE)
    *parents, last = [int(name) if name.isdigit() else name for name in path.split(".")]
    target: Any = reply
    for name in parents:
        target = target[name]
    if value is ABSENT:
        del target[last]
    else:
        target[last] = value
    return RawReply(reply)


CONTENT, REASONING = "choices.0.message.content", "choices.0.message.reasoning_content"


# --- accepted forms


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("content", "reasoning"),
    [
        ([{"type": "text", "text": VERDICT}], None),
        ([{"type": "text", "text": VERDICT[:30]}, {"type": "text", "text": VERDICT[30:]}], None),
        ([VERDICT[:30], {"text": VERDICT[30:]}], None),
        ([{"type": "thinking", "thinking": "hmm"}, {"type": "text", "text": VERDICT}], "hmm"),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}]}, {"type": "text", "text": VERDICT}],
            "hmm",
        ),
        ([{"type": "reasoning", "text": "hmm"}, {"type": "output_text", "text": VERDICT}], "hmm"),
        ([{"type": "redacted_thinking", "data": "x"}, {"type": "text", "text": VERDICT}], None),
        ([{"type": "text", "text": [{"type": "text", "text": VERDICT}]}], None),
    ],
)
def test_parts_of_the_content_are_joined(
    server: FakeOpenAI, model: str, content: list[Any], reasoning: str | None
) -> None:
    server.reply = envelope(CONTENT, content)
    completion = complete(backend_for(server, model))
    assert scores(completion) == {"model-1": 4, "model-2": 2}
    assert completion.reasoning == reasoning
    assert (completion.usage.prompt_tokens, completion.usage.completion_tokens) == (10, 5)
    assert server.count == 1


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("reasoning", [["hm", "m"], [{"type": "text", "text": "hmm"}]])
def test_reasoning_can_be_a_list(server: FakeOpenAI, model: str, reasoning: list[Any]) -> None:
    server.reply = envelope(REASONING, reasoning)
    completion = complete(backend_for(server, model))
    assert (completion.reasoning, scores(completion)["model-1"]) == ("hmm", 4)


@pytest.mark.parametrize("model", MODELS)
def test_token_counts_can_be_text_and_are_never_an_error(server: FakeOpenAI, model: str) -> None:
    server.reply = envelope("usage", {"prompt_tokens": "10", "completion_tokens": "5", "total_tokens": "15"})
    usage = complete(backend_for(server, model)).usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (10, 5)
    for odd in ("ten", -1, 1e300, [3], {"a": 1}, None, 2**70, "9" * 5000):
        server.reply = envelope("usage.prompt_tokens", odd)
        assert complete(backend_for(server, model)).usage.prompt_tokens == 0
    for odd in ([1], "many", None, 3):
        server.reply = envelope("usage", odd)
        assert complete(backend_for(server, model)).usage.prompt_tokens == 0
    server.reply = envelope("usage", ABSENT)
    assert complete(backend_for(server)).usage.prompt_tokens == 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("value", [ABSENT, None, "eos_token"])
def test_a_reply_needs_no_finish_reason(server: FakeOpenAI, model: str, value: Any) -> None:
    server.reply = envelope("choices.0.finish_reason", value)
    completion = complete(backend_for(server, model))
    assert scores(completion)["model-1"] == 4
    assert not completion.truncated


def test_half_a_surrogate_pair_does_not_reach_the_store(server: FakeOpenAI) -> None:
    server.reply = RawReply(
        json.dumps({**ENVELOPE, "choices": [{"message": {"content": "\ud83d \ud83d\ude42"}}]}).encode()
    )
    assert complete(backend_for(server)).answer == "\ufffd \U0001f642"


# --- refused forms


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (CONTENT, {"a": 1}, r"choices\[0\]\.message\.content is an object, not text"),
        (CONTENT, 7, r"choices\[0\]\.message\.content is a number, not text"),
        (CONTENT, [{"type": "image_url", "image_url": {}}], r"content\[0\] is an object, not a part with text"),
        (CONTENT, [{"type": "text", "text": None}], r"content\[0\]\.text is missing, not text"),
        (CONTENT, [3], r"content\[0\] is a number, not an object"),
        (REASONING, {"a": 1}, r"message\.reasoning_content is an object, not text"),
        (REASONING, ["a", 3], r"reasoning_content\[1\] is a number, not an object"),
        ("choices.0.message", None, r"choices\[0\]\.message is missing, not an object"),
        ("choices.0.message", "text", r"choices\[0\]\.message is text, not an object"),
        ("choices.0", 3, r"choices\[0\] is a number, not an object"),
    ],
)
def test_another_form_is_an_error_that_names_the_field(
    server: FakeOpenAI, model: str, path: str, value: Any, message: str
) -> None:
    server.reply = envelope(path, value)
    with pytest.raises(BackendError, match=message) as caught:
        complete(backend_for(server, model))
    assert server.url in str(caught.value)
    assert not caught.value.retryable
    assert server.count == 1


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("reply", [[1], "x", 3, None, {}, {"choices": []}, {"choices": None}, {"choices": {"a": 1}}])
def test_json_without_choices_is_retried(server: FakeOpenAI, model: str, reply: Any) -> None:
    server.plan = [RawReply(reply)]
    assert scores(complete(backend_for(server, model)))["model-1"] == 4
    server.reply = RawReply(reply)
    with pytest.raises(BackendError) as caught:
        complete(backend_for(server, model, attempts=2))
    assert caught.value.retryable
    assert server.count == 4


def test_deeply_nested_json_is_an_error(server: FakeOpenAI) -> None:
    server.reply = RawReply(b"[" * 200_000 + b"]" * 200_000)
    for code in (200, 400):
        server.reply = RawReply(server.reply.body, code)
        with pytest.raises(BackendError):
            complete(backend_for(server, attempts=1))


def test_any_status_of_success_brings_a_reply_and_an_empty_one_does_not(server: FakeOpenAI) -> None:
    server.reply = RawReply(ENVELOPE, 201)
    assert scores(complete(backend_for(server)))["model-1"] == 4
    server.reply = RawReply(b"", 204)
    with pytest.raises(BackendError, match=r"did not reply with a chat completion\.$"):
        complete(backend_for(server, attempts=1))


def test_a_reply_that_never_ends_is_not_kept_in_memory(server: FakeOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rewardanything_core.backends.endpoint.http._MAX_BYTES", 1000)
    server.reply = RawReply(json.dumps(ENVELOPE).encode() + b" " * 1000)
    with pytest.raises(BackendError, match="more than 1,000 bytes"):
        complete(backend_for(server, attempts=1))


def test_a_redirect_to_no_address_is_an_error(server: FakeOpenAI) -> None:
    server.reply = Fault.redirect("http://[::1")
    with pytest.raises(BackendError, match="redirects to an invalid address"):
        complete(backend_for(server, attempts=1))


@pytest.mark.parametrize("score", [10**400, 1e999])
def test_a_score_beyond_every_number_is_asked_for_again(server: FakeOpenAI, score: float) -> None:
    server.plan = [VERDICT.replace("4", str(score) if isinstance(score, int) else "1e999")]
    (outcome,) = judge_for(server).judge_batch([a_case()])
    assert isinstance(outcome, Verdict) and outcome.usage.calls == server.count == 2


def test_an_error_with_status_200_has_the_status_that_it_names(server: FakeOpenAI) -> None:
    server.reply = RawReply({"error": {"code": 400, "message": "no such model"}})
    with pytest.raises(BackendError, match="no such model") as caught:
        complete(backend_for(server))
    assert (caught.value.status_code, server.count) == (400, 1)
    server.reply, server.plan = None, [None, RawReply({"error": {"code": 429, "message": "slow down"}})]
    assert scores(complete(backend_for(server)))["model-1"] == 4


# --- token log-probabilities

GOOD = {"token": "Yes", "bytes": [89, 101, 115], "logprob": -0.1, "top_logprobs": [{"token": "No", "logprob": -2.5}]}


def logprobs_reply(*entries: Any) -> RawReply:
    reply = copy.deepcopy(ENVELOPE)
    reply["choices"][0]["message"]["content"] = "Yes"
    reply["choices"][0]["logprobs"] = {"content": list(entries)}
    return RawReply(reply)


@pytest.mark.parametrize("model", MODELS)
def test_option_probabilities_need_only_the_usual_fields(server: FakeOpenAI, model: str) -> None:
    server.reply = logprobs_reply(GOOD)
    (answer,) = run(backend_for(server, model).score_options([CHOICE])).answers
    assert answer.probabilities["Yes"] > 0.9


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logprob": None}, r"content\[0\]\.logprob is missing, not a number"),
        ({"logprob": "-0.1"}, r"content\[0\]\.logprob is text, not a number"),
        ({"logprob": True}, r"content\[0\]\.logprob is a truth value, not a number"),
        ({"token": None, "bytes": None}, r"content\[0\]\.token is missing, not text"),
        ({"bytes": "Yes"}, r"content\[0\]\.bytes is text, not a list of bytes"),
        ({"bytes": [300]}, r"content\[0\]\.bytes is a list, not a list of bytes"),
        ({"bytes": ["Y"]}, r"content\[0\]\.bytes is a list, not a list of bytes"),
        ({"top_logprobs": {"No": -2.5}}, r"content\[0\]\.top_logprobs is an object, not a list"),
        ({"top_logprobs": ["No"]}, r"top_logprobs\[0\] is text, not an object"),
        ({"top_logprobs": [{"token": "No", "logprob": None}]}, r"top_logprobs\[0\]\.logprob is missing"),
        ({"logprob": 0.9}, r"content\[0\]\.logprob is a number, not the logarithm of a probability"),
        ({"top_logprobs": [{"token": "No", "logprob": -0.1}]}, r"top_logprobs is a list, not log-probabilities of"),
    ],
)
def test_odd_token_entries_are_an_error_that_names_the_field(
    server: FakeOpenAI, change: dict[str, Any], message: str
) -> None:
    server.reply = logprobs_reply({**GOOD, **change})
    with pytest.raises(BackendError, match=message) as caught:
        run(backend_for(server).score_options([CHOICE]))
    assert caught.value.usage is not None and caught.value.usage.prompt_tokens == 10
    with pytest.raises(BackendError, match=message):
        complete(backend_for(server), request_for(token_probabilities=True))
    through_litellm = backend_for(server, "openai/fake").score_options([CHOICE])
    if change.get("logprob") == "-0.1":  # LiteLLM converts texts and truth values to numbers
        assert run(through_litellm).answers
    else:
        with pytest.raises(BackendError, match="logprob is" if change.get("logprob") is True else message):
            run(through_litellm)


def test_infinite_log_probabilities_are_numbers(server: FakeOpenAI) -> None:
    for value in (float("-inf"), -1e400, -(10**400)):
        server.reply = logprobs_reply({**GOOD, "top_logprobs": [{"token": "No", "logprob": value}]})
        assert isinstance(run(backend_for(server).score_options([CHOICE])), ChoiceResult)
    for value in (float("nan"), 10**400, 1e308):
        server.reply = logprobs_reply({**GOOD, "logprob": value})
        with pytest.raises(BackendError, match="logprob is a number, not the logarithm"):
            run(backend_for(server).score_options([CHOICE]))


@pytest.mark.parametrize("listed", [None, [], [{"token": "Yes", "logprob": -0.7}]])
def test_without_alternatives_the_other_option_is_not_guessed(server: FakeOpenAI, listed: Any) -> None:
    server.reply = logprobs_reply({**GOOD, "logprob": -0.7, "top_logprobs": listed})
    with pytest.raises(BackendError, match=r"top_logprobs is .*, not a list of all likely tokens"):
        run(backend_for(server).score_options([CHOICE]))
    server.reply = logprobs_reply({**GOOD, "logprob": 0.0, "top_logprobs": listed})
    (answer,) = run(backend_for(server).score_options([CHOICE])).answers
    assert answer.probabilities["Yes"] > 0.99  # nothing is left for the other


# --- one case among others


ODD_REPLIES = [
    envelope(CONTENT, {"a": 1}),
    envelope(CONTENT, 7),
    envelope(REASONING, {"a": 1}),
    envelope("choices.0.message", []),
    RawReply(b"\xff\xfe"),
    RawReply({"choices": [None]}),
    RawReply({"error": {"message": ["odd"]}}, 400),
    RawReply([[[]]], 418),
]


@pytest.mark.parametrize("model", MODELS)
def test_an_odd_reply_is_the_failure_of_its_case_alone(server: FakeOpenAI, model: str) -> None:
    server.reply = lambda body: next(
        (reply for i, reply in enumerate(ODD_REPLIES) if f"odd-{i}-" in body["messages"][-1]["content"]), None
    )
    cases = [
        Case("p", "q", {"a": f"odd-{i}- 4" if odd else f"fine-{i}- 4"})
        for i in range(len(ODD_REPLIES))
        for odd in (True, False)
    ]
    outcomes = judge_for(server, model, attempts=2).judge_batch(cases)
    assert [isinstance(outcome, JudgeFailure) for outcome in outcomes] == [True, False] * len(ODD_REPLIES)


@pytest.mark.parametrize("readout", ["generate", "logits"])
def test_odd_log_probabilities_are_the_failure_of_their_case_alone(server: FakeOpenAI, readout: str) -> None:
    odd = {"content": "Yes", "tokens": [{"token": None, "logprob": "x", "top_logprobs": {}}]}
    server.reply = lambda body: odd if "odd" in body["messages"][-1]["content"] else usual_reply(body, readout)
    judge = judge_for(server, readout=readout, expected_scores=readout == "generate")
    outcomes = judge.judge_batch([a_case("odd 4"), a_case("is 4"), a_case("odd 3"), a_case("is 3")])
    assert [isinstance(outcome, Verdict) for outcome in outcomes] == [False, True, False, True]


# --- refusals and failures while generating


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("reply", "error_type", "message", "kept"),
    [
        (
            {"content": None, "refusal": "I cannot judge this."},
            "RefusalError",
            "refused to answer: I cannot",
            "I cannot",
        ),
        ({"content": [{"type": "refusal", "refusal": "I cannot."}]}, "RefusalError", "refused to answer", "I cannot."),
        ({"content": "So far", "finish_reason": "content_filter"}, "RefusalError", "content filter stopped", "So far"),
    ],
)
def test_a_refusal_is_a_failure_that_is_not_retried(
    server: FakeOpenAI, model: str, reply: dict[str, Any], error_type: str, message: str, kept: str
) -> None:
    server.reply = reply
    (outcome,) = judge_for(server, model).judge_batch([a_case()])
    assert isinstance(outcome, JudgeFailure)
    assert outcome.error_type == error_type
    assert message in outcome.message
    assert kept in (outcome.raw_output or "")
    assert outcome.usage.prompt_tokens > 0
    assert server.count == 1


@pytest.mark.parametrize("model", MODELS)
def test_a_provider_error_while_generating_is_a_failure_with_its_message(server: FakeOpenAI, model: str) -> None:
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": VERDICT},
        "finish_reason": "error",
        "error": {"code": 502, "message": "upstream fell over"},
    }
    server.reply = RawReply({**ENVELOPE, "choices": [choice]})
    (outcome,) = judge_for(server, model).judge_batch([a_case()])
    assert isinstance(outcome, JudgeFailure)
    assert "stopped with an error: upstream fell over" in outcome.message
    assert outcome.raw_output == VERDICT
    assert server.count == 1


@pytest.mark.parametrize("place", ["error", "choices.0.error"])
def test_an_error_next_to_the_answer_is_a_failure(server: FakeOpenAI, place: str) -> None:
    server.reply = envelope(place, {"code": 502, "message": "upstream fell over"})
    (outcome,) = judge_for(server).judge_batch([a_case()])
    assert isinstance(outcome, JudgeFailure) and outcome.raw_output == VERDICT and server.count == 1
    assert "stopped with an error: upstream fell over" in outcome.message
    for nothing in (None, False, {}, ""):
        server.reply = envelope(place, nothing)
        assert isinstance(judge_for(server).judge_batch([a_case()])[0], Verdict)


@pytest.mark.parametrize(
    ("reason", "error_type"),
    [
        ("content_filter: PROHIBITED_CONTENT", "RefusalError"),
        ("RECITATION", "RefusalError"),
        ("guardrail_intervened", "RefusalError"),
        ("insufficient_system_resource", "BackendError"),
        ("network_error", "BackendError"),
    ],
)
def test_reasons_to_finish_of_other_providers(server: FakeOpenAI, reason: str, error_type: str) -> None:
    server.reply = envelope("choices.0.finish_reason", reason)
    (outcome,) = judge_for(server).judge_batch([a_case()])
    assert isinstance(outcome, JudgeFailure) and (outcome.error_type, server.count) == (error_type, 1)


def test_a_request_that_a_content_filter_rejects_is_a_refusal(server: FakeOpenAI) -> None:
    server.reply = Fault.status(403, "This model requires moderation. Your input was flagged.")
    with pytest.raises(RefusalError, match="flagged"):
        complete(backend_for(server))
    server.requests.clear()
    for model in MODELS:
        server.reply = Fault.status(400, "The prompt triggered the content management policy.", code="content_filter")
        with pytest.raises(RefusalError, match="content management policy"):
            complete(backend_for(server, model))
    assert server.count == 2
