"""Arbitrary JSON in the form of a reply, each field of any type, is a completion or an error of that one request."""

from __future__ import annotations

from typing import Any

import pytest
from endpoints import CHOICE, MODELS, a_case, backend_for, judge_for, request_for, run, usual_reply
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import FakeOpenAI, RawReply

from rewardanything_core import JudgeFailure, Verdict
from rewardanything_core.backends.base import ChoiceResult, Completion
from rewardanything_core.errors import RewardAnythingError

# LiteLLM's warnings about odd values
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")

VERDICT = '{"scores": {"model-1": 4, "model-2": 2}, "best-to-worst": ["model-1", "model-2"]}'

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["text", "thinking", "length", "error", "content_filter", VERDICT, "Yes"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "thinking", "token", "message", "content"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


def maybe(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return usual | JSON


def record(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional={name: maybe(strategy) for name, strategy in fields.items()})


TOKEN = {"token": st.just("Yes"), "bytes": st.none() | st.just([89]), "logprob": st.floats()}
ENTRY = record(**TOKEN, top_logprobs=st.lists(maybe(record(**TOKEN)), max_size=2))
PART = record(
    type=st.sampled_from(["text", "thinking", "refusal"]), text=st.just(VERDICT), thinking=st.text(max_size=5)
)
MESSAGE = record(
    role=st.just("assistant"),
    content=st.just(VERDICT) | st.lists(maybe(PART), max_size=3),
    reasoning_content=st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2),
    refusal=st.none() | st.text(max_size=3),
    tool_calls=st.none(),
)
CHOICES = record(
    index=st.just(0),
    message=MESSAGE,
    finish_reason=st.sampled_from(["stop", "length", "error"]),
    logprobs=st.none() | record(content=st.lists(maybe(ENTRY), max_size=2)),
    error=record(code=st.integers(), message=st.text(max_size=5)),
)
REPLY = record(
    id=st.text(max_size=3),
    choices=st.lists(maybe(CHOICES), min_size=1, max_size=2),
    usage=record(prompt_tokens=st.integers(), completion_tokens=st.text(max_size=3)),
    model=st.just("fake"),
    error=record(code=st.integers(0, 600), message=st.text(max_size=5)),
)


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reply=maybe(REPLY), code=st.sampled_from([200, 200, 200, 400, 422, 500]))
def test_any_json_is_a_completion_or_an_error_of_ours(server: FakeOpenAI, model: str, reply: Any, code: int) -> None:
    server.reply = RawReply(reply, code)
    backend = backend_for(server, model, attempts=1)
    for attempt in (
        backend.complete(request_for()),
        backend.complete(request_for(token_probabilities=True)),
        backend.score_options([CHOICE]),
    ):
        try:
            result = run(attempt)
        except RewardAnythingError as error:
            assert str(error)
        else:
            assert isinstance(result, Completion | ChoiceResult)
            if isinstance(result, Completion):
                result.raw.encode()


@pytest.mark.parametrize("readout", ["generate", "logits"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reply=maybe(REPLY))
def test_any_json_is_one_outcome_of_its_case(server: FakeOpenAI, readout: str, reply: Any) -> None:
    server.reply = lambda body: (
        RawReply(reply) if "odd" in body["messages"][-1]["content"] else usual_reply(body, readout)
    )
    judge = judge_for(server, attempts=1, readout=readout, retries=0)
    first, odd, last = judge.judge_batch([a_case(), a_case("odd 4"), a_case("is 1", "is 5")])
    assert isinstance(odd, Verdict | JudgeFailure)
    assert isinstance(first, Verdict) and isinstance(last, Verdict)
