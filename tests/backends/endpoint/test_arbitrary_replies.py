"""Arbitrary JSON in the form of a reply, each field of any type, is a completion or an error of that one request."""

from __future__ import annotations

from typing import Any

import pytest
from arbitrary_replies import READOUTS, replies, reply_oddly
from endpoints import CHOICE, MODELS, a_case, backend_for, judge_for, request_for, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import FakeOpenAI, RawReply

from rewardanything_core import JudgeFailure, Verdict
from rewardanything_core.backends.base import ChoiceResult, Completion
from rewardanything_core.errors import RewardAnythingError

# LiteLLM's warnings about odd values
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reply=replies("generate"), code=st.sampled_from([200, 200, 200, 400, 422, 500]))
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


@pytest.mark.parametrize("readout", READOUTS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_json_is_one_outcome_of_its_case(
    server: FakeOpenAI, readout: str, data: st.DataObject, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.clear()
    reply_oddly(server, readout, data.draw(replies(readout)))
    judge = judge_for(server, attempts=1, readout=readout, retries=0)
    first, odd, last = judge.judge_batch([a_case(), a_case("odd 4"), a_case("is 1", "is 5")])
    assert isinstance(odd, Verdict | JudgeFailure)
    assert isinstance(first, Verdict) and isinstance(last, Verdict)
    assert not [record for record in caplog.records if record.exc_info]  # no exception of another kind was caught
