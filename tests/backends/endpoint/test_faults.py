"""Judging over real HTTP while the server fails."""

import json
import os
import signal
import threading

import pytest
from servers import HANG, RESET, FakeOpenAI, Fault

from rewardanything_core import Case, JudgeFailure, Verdict, VerdictStore, from_endpoint
from rewardanything_core.backends import verdict_reply
from rewardanything_core.backends.endpoint.retry import Backoff


def judge_at(server, model="hosted_vllm/judge", **options):
    judge = from_endpoint(model, server.url, **{"attempts": 8, "timeout": 5, **options})
    judge.backend._client.backoff = Backoff(base=0.01, cap=0.05)
    return judge


def cases(n):
    """Each response ends with its score, so that a score of another response would be noticed."""
    return [
        Case(
            "p", f"question {i}", {f"a{i}": f"{i} says {i % 5 + 1}", f"b{i}": f"{i} says {(i + 2) % 5 + 1}"}, id=str(i)
        )
        for i in range(n)
    ]


def right(i, outcome):
    return outcome.scores == {f"a{i}": i % 5 + 1, f"b{i}": (i + 2) % 5 + 1} and outcome.case_id == str(i)


def final_score(body):
    """A verdict in which each response has the score that it ends with."""
    content = json.loads(body["messages"][-1]["content"])
    return verdict_reply({name: int(text.split()[-1]) for name, text in content["responses"].items()})


def test_2000_cases_with_20_percent_faults_get_the_right_verdicts_in_order(own_store):
    with FakeOpenAI(final_score, fault_rate=0.2, seed=1) as server:
        judge = judge_at(server)
        outcomes = judge.judge_batch(cases(2000))
    assert all(isinstance(outcome, Verdict) and right(i, outcome) for i, outcome in enumerate(outcomes))
    assert judge.usage.calls >= 2000
    assert VerdictStore(own_store).count() == 2000
    assert all(o.cached and right(i, o) for i, o in enumerate(judge.judge_batch(cases(2000))))


def test_hanging_requests_among_other_faults_lose_no_case(own_store):
    faults = (Fault.status(429, retry_after="0"), Fault.status(500), RESET, HANG)
    with FakeOpenAI(final_score, fault_rate=0.2, fault_kinds=faults, seed=3) as server:
        outcomes = judge_at(server, timeout=0.5, attempts=12).judge_batch(cases(300))
    assert all(isinstance(outcome, Verdict) and right(i, outcome) for i, outcome in enumerate(outcomes))
    assert VerdictStore(own_store).count() == 300


@pytest.mark.parametrize("client", ["auto", "litellm"])
def test_a_server_restart_loses_no_case(own_store, client):
    with FakeOpenAI(final_score, latency=0.02) as server:
        judge = judge_at(server, model="openai/judge", client=client, attempts=3)
        outcomes = {}
        for index, outcome in judge.judge_stream(cases(300), window=150):
            outcomes[index] = outcome
            if len(outcomes) == 100:
                server.stop()
                before = server.count
                threading.Timer(0.5, server.start).start()
        assert server.count > before
    assert len(outcomes) == 300
    assert all(isinstance(outcome, Verdict) and right(i, outcome) for i, outcome in outcomes.items())
    assert VerdictStore(own_store).count() == 300


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_and_its_parent_can_both_judge():
    with FakeOpenAI(final_score) as server:
        judge = judge_at(server, cache="off")
        assert right(0, judge.judge(cases(3)[0]))
        child = os.fork()
        if child == 0:  # pragma: no cover
            signal.alarm(60)
            is_right = False
            try:
                is_right = right(1, judge.judge(cases(3)[1]))
            finally:
                os._exit(0 if is_right else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert right(2, judge.judge(cases(3)[2]))
        assert len({received.peer for received in server.requests}) == 2  # the parent's connection is still its own


def test_a_case_that_keeps_failing_is_a_failure_and_the_others_have_verdicts():
    def reply(body):
        return "I would rather not." if "7 says" in body["messages"][-1]["content"] else final_score(body)

    with FakeOpenAI(reply, fault_rate=0.1, seed=2) as server:
        outcomes = judge_at(server).judge_batch(cases(100))
    failed = {i for i, outcome in enumerate(outcomes) if isinstance(outcome, JudgeFailure)}
    assert failed == {i for i in range(100) if i % 10 == 7}
    assert all(right(i, outcome) for i, outcome in enumerate(outcomes) if i not in failed)
    assert all(outcomes[i].raw_output == "I would rather not." and outcomes[i].attempts == 3 for i in failed)


@pytest.mark.parametrize("score", ["95", "NaN", '"4"', "true", "0"])
def test_an_invalid_score_is_a_failure(score):
    reply = '{"scores": {"model-1": 3, "model-2": SCORE}, "best-to-worst": ["model-2", "model-1"]}'.replace(
        "SCORE", score
    )
    with FakeOpenAI(lambda body: reply) as server:
        (outcome,) = judge_at(server).judge_batch(cases(1))
    assert isinstance(outcome, JudgeFailure)
    assert outcome.raw_output == reply


def test_expected_scores_over_http():
    with FakeOpenAI(final_score) as server:
        verdict = judge_at(server, expected_scores=True).judge(cases(1)[0])
    assert set(verdict.scores) == {"a0", "b0"}
    assert all(1 <= score <= 5 for score in verdict.scores.values())


def test_expected_scores_from_a_server_without_probabilities_fail_clearly():
    with FakeOpenAI(final_score, logprobs=False) as server:
        (outcome,) = judge_at(server, expected_scores=True).judge_batch(cases(1))
    assert isinstance(outcome, JudgeFailure)
    assert "expected_scores" in outcome.message
