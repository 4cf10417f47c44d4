"""Tests that judge answers under principles, with the built-in small model on this machine's CPU.

    pip install ".[local,pytest]"
    pytest examples/pytest --ra-update    # record today's answers in examples/pytest/__baselines__
    pytest examples/pytest                # downloads the model once; judges only what has changed

Change an answer and run it again. Set RA_JUDGE_MODEL, or write a ra-judge.toml, for another judge: the built-in model
is small and only shows how things work.
"""

from __future__ import annotations

import pytest

from rewardanything_pytest import AssertNotWorse, AssertPrinciple

ANSWERS = {
    "How many legs does a spider have?": "Eight.",
    "What is the capital of France?": "Paris.",
    "What is water made of?": "Water is made of hydrogen and oxygen.",
}


def answer(question: str) -> str:
    """The prompt, chain or agent under test would be called here."""
    return ANSWERS[question]


@pytest.mark.parametrize("question", ANSWERS)
def test_answers_are_short_and_correct(assert_principle: AssertPrinciple, question: str) -> None:
    assert_principle(answer(question), "Answer the question correctly, in one short sentence.", prompt=question)


def test_answers_are_no_worse_than_the_recorded_ones(assert_not_worse: AssertNotWorse) -> None:
    answers = [answer(question) for question in ANSWERS]
    assert_not_worse(answers, principle="Answer in one short sentence.", prompt=list(ANSWERS))
