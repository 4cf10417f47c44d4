"""Rubrics in DSPy: the score, the feedback by criterion, and a row without a verdict."""

from __future__ import annotations

from collections.abc import Iterator

import dspy
import pytest
from dspy_programs import Echo, clean_settings, example, improvable_lm
from rubric_rows import BAD, GATED, GOOD, RUBRIC, one_criterion_missing
from servers import FakeOpenAI

from rewardanything_core import BaseJudge, Rubric, from_endpoint
from rewardanything_dspy import BestOfN, NotJudged, PrincipleMetric, reward_fn

settings = pytest.fixture(autouse=True)(clean_settings)


@pytest.fixture
def judge(server: FakeOpenAI) -> Iterator[BaseJudge]:
    server.reply = one_criterion_missing
    server.fault_rate = 0.1
    with from_endpoint("hosted_vllm/fake", api_base=server.url, api_key="x") as made:
        yield made


def test_the_score_is_the_weighted_mean_and_feedback_has_each_criterion(judge: BaseJudge) -> None:
    for rubric in (RUBRIC, RUBRIC.to_json()):
        score = PrincipleMetric(rubric, judge=judge)(example("?"), dspy.Prediction(answer=GOOD))
        assert score == 0.75 and score.criteria == {"faithful": 1.0, "brief": 0.0}
    assert score.feedback == (
        "Score 4 on a scale from 1 to 5 (best), the weighted mean of these criteria.\n\n"
        "faithful: score 5, under this rule: Every claim is supported.\n"
        "The judge's reasoning: By faithful in the text of the response.\n\n"
        "brief: score 1, under this rule: Is short.\n"
        "The judge's reasoning: By brief in the text of the response."
    )


def test_missed_requirements_come_first_in_the_feedback_of_gepa(judge: BaseJudge) -> None:
    rubric = Rubric(dict(reversed(RUBRIC.criteria.items())))
    feedback = PrincipleMetric(rubric, judge=judge)(example("?"), dspy.Prediction(answer=GATED), pred_name="predict")
    assert feedback.score == 0
    whole, first, second = feedback.feedback.split("\n\n")
    assert "a required criterion is missed: faithful. Correct this first." in whole
    assert first.startswith("faithful: score 2, and at least 3 is required, under this rule")
    assert second.startswith("brief: score 4, under this rule")


def test_one_faulty_reply_harms_its_own_row_only(judge: BaseJudge) -> None:
    devset = [example(f"{text} {index}") for index in range(10) for text in (GOOD, GATED)] + [example(BAD)]
    metric = PrincipleMetric(RUBRIC, judge=judge)
    result = dspy.Evaluate(devset=devset, metric=metric, num_threads=8)(Echo())
    scores = [score for *_, score in result.results]
    assert sum(isinstance(score, NotJudged) for score in scores) == 1
    assert [score for score in scores if not isinstance(score, NotJudged)] == [0.75, 0.0] * 10
    assert result.score == pytest.approx(37.5)


def test_gepa_improves_the_instruction_by_feedback_on_criteria(server: FakeOpenAI) -> None:
    rubric = Rubric({"number": "The higher the number in the answer, the better.", "kind": "Is kind."})

    with FakeOpenAI() as judge_server, from_endpoint("hosted_vllm/fake", api_base=judge_server.url) as judge:
        metric = PrincipleMetric(rubric, judge=judge)
        with dspy.context(lm=improvable_lm(server)):
            devset = [example(f"item {1 + i % 4}, number {'abcdefghijkl'[i]}") for i in range(12)]
            optimizer = dspy.GEPA(
                metric=metric, max_metric_calls=60, reflection_lm=dspy.settings.lm, reflection_minibatch_size=2
            )
            program = optimizer.compile(dspy.Predict("question -> answer"), trainset=devset[:6], valset=devset[6:])
            assert dspy.Evaluate(devset=devset, metric=metric, num_threads=4)(program).score == 100.0
    assert any("number: score" in str(body) and "kind: score" in str(body) for body in server.bodies)


def test_best_of_n_and_rewards_take_rubrics(judge: BaseJudge) -> None:
    reward = reward_fn(RUBRIC, judge=judge)
    assert reward({"question": "?"}, dspy.Prediction(answer=GOOD)) == 0.75
    answers = iter([GATED, GOOD])

    class Sampled(dspy.Module):
        def forward(self, question: str) -> dspy.Prediction:
            return dspy.Prediction(answer=next(answers))

        def get_lm(self) -> dspy.LM:
            return dspy.LM("hosted_vllm/task", api_base="http://127.0.0.1:1")

        def set_lm(self, lm: dspy.LM) -> None:
            pass

    assert BestOfN(Sampled(), 2, RUBRIC, judge=judge)(question="?").answer == GOOD
