"""Answers under principles, as tests; with the embedded judge on this machine's CPU.

    pip install "rewardanything-core[local,pytest]"
    pytest examples/pytest --ra-update    # record today's answers in examples/pytest/__baselines__
    pytest examples/pytest                # the judge is downloaded once, and asked only about what changed

Change an answer and run it again. Set RA_JUDGE_MODEL, or write a ra-judge.toml, for another judge: the embedded one is
small, and good for a first look only.
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
    """Stands for the prompt, chain or agent under test."""
    return ANSWERS[question]


@pytest.mark.parametrize("question", ANSWERS)
def test_answers_are_to_the_point(assert_principle: AssertPrinciple, question: str) -> None:
    assert_principle(answer(question), "Answer the question correctly, in one short sentence.", prompt=question)


def test_no_worse_than_what_was_recorded(assert_not_worse: AssertNotWorse) -> None:
    answers = [answer(question) for question in ANSWERS]
    assert_not_worse(answers, principle="Answer in one short sentence.", prompt=list(ANSWERS))
