"""The assertions of the pytest plugin under rubrics, in real runs of pytest with a judge behind HTTP."""

from __future__ import annotations

import json

import pytest
from pytest_projects import output, scripted_project, write

pytest_plugins = ["pytester"]

RUBRIC = """
from rewardanything_core import Rubric
RAG = Rubric(
    {"faithful": "Every claim is supported.", "brief": "Is short."}, required={"faithful": 3}, name="rag"
)
"""


@pytest.fixture
def project(pytester, own_store, monkeypatch, server):
    project = scripted_project(pytester, own_store, monkeypatch)
    monkeypatch.setenv("RA_JUDGE_MODEL", "hosted_vllm/fake")
    monkeypatch.setenv("RA_JUDGE_API_BASE", server.url)
    monkeypatch.setenv("RA_JUDGE_RETRIES", "0")
    return project


def test_a_failure_names_the_criterion_with_its_reasoning(project):
    write(
        project,
        RUBRIC
        + """
def test_good(assert_principle):
    assert_principle("faithful=4 brief=1", RAG, prompt=ASK, min_score=2.5)

def test_required(assert_principle):
    assert_principle("faithful=2 brief=5", RAG, prompt=ASK, min_score=1)

def test_by_criterion(assert_principle):
    assert_principle(["faithful=5 brief=4", "faithful=4 brief=3"], RAG, prompt=ASK, min_score={"brief": 4})

def test_whole(assert_principle):
    assert_principle("faithful=3 brief=2", RAG, prompt=ASK)

def test_unknown(assert_principle):
    assert_principle("x", RAG, prompt=ASK, min_score={"breif": 4})
""",
    )
    result = project.runpytest()
    result.assert_outcomes(passed=1, failed=4)
    result.stdout.fnmatch_lines(
        [
            'E*AssertionError: faithful 2.00, judged again 2.00, below 3, under "rag"',
            "E * faithful: Every claim is supported.",
            "E * faithful, 2.00: By faithful in the text of the response.",
            "E * again, 2.00:*",
            "E *records: ra-judge log *, ra-judge log *",
            'E*1 of 2 scores are too low; the lowest: brief 3.00, judged again 3.00, below 4, under "rag"',
            "E * brief: Is short.",
            'E*AssertionError: score 2.50, judged again 2.50, below 3, under "rag"',
            "E*ValueError: min_score names a criterion 'breif' of \"rag\", which has: faithful, brief.",
        ]
    )


def test_worse_answers_name_the_criterion(project, server):
    write(
        project,
        RUBRIC
        + """
def test_worse(assert_not_worse):
    assert_not_worse("faithful=4 brief=3", "faithful=4 brief=5", [RAG, POLITE], prompt=ASK, margin=1)

def test_equal(assert_not_worse):
    assert_not_worse("faithful=5 brief=4", "faithful=5 brief=3", RAG, prompt=ASK)
""",
    )
    result = project.runpytest()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            'E*-2.00 against the baseline, judged again -2.00 (-1 is allowed), under "rag: brief"',
            "E * brief: Is short.",
            "E * baseline, 5.00: faithful=4 brief=5",
            "E * candidate, 3.00: faithful=4 brief=3",
            "E * By brief in the text of *.",
            "*records: ra-judge log *",
        ]
    )
    # Two orders of three judgements, and four passes of the rubric in the second look.
    assert "4 judgements" in output(result) and server.count == 3 * 2 + 4


def test_an_incomplete_reply_is_one_judgement_without_a_result(project, server):
    server.reply = json.dumps({"faithful": {"reasoning": "r", "scores": {"model-1": 5, "model-2": 5}}})
    write(
        project,
        RUBRIC
        + """
def test_it(assert_principle):
    assert_principle("a", RAG, prompt=ASK)

def test_both(assert_not_worse):
    assert_not_worse("a", "b", RAG, prompt=ASK)
""",
    )
    result = project.runpytest()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["E*NotJudgedError: could not be judged: VerdictParseError in 1 of 1 judgements*"] * 2)
