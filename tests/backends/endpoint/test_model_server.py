"""Judging with a real model server on this machine."""

import pytest
from model_server import LlamaServer

from rewardanything_core import Case, JudgeFailure, SamplingParams, Verdict, from_endpoint

pytestmark = pytest.mark.model

CASES = [
    Case(
        "Prefer the shortest answer.",
        f"What is the capital of country {i}?",
        {"a": "Paris.", "b": "It is Paris, surely."},
    )
    for i in range(3)
]


@pytest.fixture(scope="module")
def llama():
    from rewardanything_core.weights.fetch import fetch_gguf

    with LlamaServer(fetch_gguf("smollm2-135m")) as running:
        yield running


def test_a_schema_makes_a_small_model_write_complete_verdicts(llama):
    sampling = SamplingParams(thinking_budget=0, max_tokens=200)
    judge = from_endpoint("hosted_vllm/smollm2-135m", llama.url, cache="off", sampling=sampling)
    outcomes = judge.judge_batch(CASES)
    verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
    # A schema cannot require that the ranking agrees with the scores; where it does not, there is no score.
    assert verdicts
    for outcome in outcomes:
        if isinstance(outcome, Verdict):
            assert set(outcome.scores) == {"a", "b"}
            assert outcome.usage.completion_tokens > 0
        else:
            assert outcome.error_type == "VerdictParseError"
            assert outcome.raw_output


def test_expected_scores_from_the_token_probabilities_of_a_real_server(llama):
    sampling = SamplingParams(thinking_budget=0, max_tokens=200)
    judge = from_endpoint(
        "hosted_vllm/smollm2-135m", llama.url, cache="off", sampling=sampling, expected_scores=True, retries=4
    )
    verdicts = [outcome for outcome in judge.judge_batch(CASES) if isinstance(outcome, Verdict)]
    assert verdicts
    scores = [score for verdict in verdicts for score in verdict.scores.values()]
    assert all(1 <= score <= 5 for score in scores)
    assert any(score != round(score) for score in scores)


def test_a_small_model_without_a_schema_fails_with_its_reply(llama):
    sampling = SamplingParams(thinking_budget=0, max_tokens=60)
    judge = from_endpoint(
        "hosted_vllm/smollm2-135m", llama.url, cache="off", sampling=sampling, response_format="off", retries=0
    )
    outcomes = judge.judge_batch(CASES[:2])
    assert all(isinstance(outcome, JudgeFailure) for outcome in outcomes)
    assert all(outcome.raw_output for outcome in outcomes)
