"""The assertions of the pytest plugin in real runs of pytest, with judges that work and judges that fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pytest_projects import baselines, output, scripted_project, write
from servers import Fault

pytest_plugins = ["pytester"]

project = pytest.fixture(scripted_project)

RUNS = """
import json
from rewardanything_core.backends import verdict_reply

def reply(request):
    responses = json.loads(request.messages[1]["content"])["responses"]
    ends = {name: run if isinstance(run, str) else run[-1]["text"] for name, run in responses.items()}
    return verdict_reply({name: 5 if "please" in end else 2 for name, end in ends.items()})
"""
"""A judge that scores runs by their last texts."""


# --- assert_principle


def test_a_failure_shows_the_judges_reasoning(project):
    write(
        project,
        """
def test_good(assert_principle):
    assert_principle("The salt, please.", POLITE, prompt=ASK, min_score=5)

def test_bad(assert_principle):
    assert_principle("Salt!\\nNow!", POLITE, prompt=ASK)
""",
    )
    result = project.runpytest()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        [
            '>*assert_principle("Salt!\\nNow!", POLITE, prompt=ASK)*',
            'E*AssertionError: score 2.00, judged again 2.00, below 3, under "Be polite."',
            "E * principle: Be polite.",
            "E * prompt: Ask for the salt.",
            "E * response:",
            "E *   Salt!",
            "E *   Now!",
            "E * because: The response says 'Salt!\\nNow!'",
            "E * again, 2.00:",
            "E * records: ra-judge log *, ra-judge log *",
            "*= rewardanything =*",
            "3 judgements by scripted: 6 calls, *",  # 1 + 1, and 4 passes of the second look
            "lowest scores:",
            '  2.00  test_answers.py::test_bad  "Be polite."',
            '  5.00  test_answers.py::test_good  "Be polite."',
        ]
    )
    record = result.stdout.str().partition("ra-judge log ")[2].partition(",")[0]
    shown = subprocess.run(
        [Path(sys.executable).with_name("ra-judge"), "log", record], capture_output=True, text=True, check=True
    )
    assert "Ask for the salt." in shown.stdout
    again = project.runpytest()
    again.stdout.fnmatch_lines(["3 judgements by scripted: all from the store"])


def test_an_unconfirmed_low_score_passes_with_a_remark(project):
    write(
        project,
        """
def test_one(assert_principle):
    assert_principle("wavering", POLITE, prompt=ASK)

def test_two(assert_not_worse):
    assert_not_worse("wavering", "please", POLITE, prompt=ASK)
""",
    )
    result = project.runpytest()
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "*::test_one: suspected, not confirmed: score 1.00, judged again 5.00 (3 is required) under *",
            "*::test_two: suspected, not confirmed: -4.00 against the baseline, judged again +0.00 *",
        ]
    )


def test_lists_are_judged_with_the_prompt_and_reference_of_each_response(project):
    write(
        project,
        """
def test_all(assert_principle):
    prompts = [ASK, [{"role": "user", "content": "Ask for the pepper."}], "Ask."]
    assert_principle(
        ["Salt, please.", "Pepper!", "Just ask."], [POLITE, "Be kind."], prompt=prompts, reference=["r1", "r2", "r3"]
    )

def test_one_chat_for_all(assert_principle):
    chat = [{"role": "system", "content": "Be nice."}, {"role": "user", "content": "Ask."}]
    assert_principle(["1, please", "2, please"], POLITE, prompt=chat, context="at table")

@pytest.mark.parametrize("wrong", [{"prompt": ["one"]}, {"prompt": ASK, "min_score": 0.5}, {"prompt": ""}])
def test_wrong(assert_principle, wrong):
    with pytest.raises(ValueError):
        assert_principle(["a", "b"], POLITE, **wrong)
""",
    )
    result = project.runpytest()
    result.assert_outcomes(passed=4, failed=1)
    text = output(result)
    assert "4 of 6 scores are too low" in text
    assert "user: Ask for the pepper." in text
    assert "and 1 more (pytest -vv)" in text
    assert "and 1 more" not in output(project.runpytest("-vv"))


# --- assert_not_worse


def test_a_pair_is_judged_together_in_both_orders(project, monkeypatch):
    body = """
def test_better(assert_not_worse):
    assert_not_worse("please", "no", POLITE, prompt=ASK)

def test_equal(assert_not_worse):
    assert_not_worse("no", "no", POLITE, prompt=ASK)

def test_worse(assert_not_worse):
    assert_not_worse("no", "please", POLITE, prompt=ASK)

def test_worse_within_the_margin(assert_not_worse):
    assert_not_worse("no", "please", POLITE, prompt=ASK, margin=3)
"""
    write(project, body)
    result = project.runpytest()
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            'E*AssertionError: -3.00 against the baseline, judged again -3.00 (-0.5 is allowed), under "Be polite."',
            "E * baseline, 5.00: please",
            "E * candidate, 2.00: no",
            "E * because:*",
            "E *baseline says 'please'*",
            "E * records: ra-judge log *, ra-judge log *",
        ]
    )
    monkeypatch.setenv("RA_JUDGE_MODEL", "scripted:script:first_is_better")
    monkeypatch.setenv("RA_JUDGE_STORE", "another.sqlite3")
    project.runpytest().assert_outcomes(passed=4)  # a preference for the first position cancels out


def test_many_inputs_are_tested_for_significance(project):
    write(
        project,
        """
QUESTIONS = [f"Question {i}" for i in range(40)]

def test_dropped(assert_not_worse):
    assert_not_worse(["no"] * 40, ["please"] * 40, POLITE, prompt=QUESTIONS)

def test_no_drop(assert_not_worse):
    assert_not_worse(["please"] * 40, ["no"] * 40, POLITE, prompt=QUESTIONS, on_inconclusive="fail")

@pytest.mark.parametrize("then", ["report", "fail"])
def test_open(assert_not_worse, then):
    assert_not_worse(["no", "please"] * 20, ["please", "no"] * 20, POLITE, prompt=QUESTIONS, on_inconclusive=then)

def test_wavering(assert_not_worse):
    assert_not_worse(["wavering"] * 40, ["no"] * 40, POLITE, prompt=QUESTIONS)

def test_few_compare_means(assert_not_worse):
    assert_not_worse(["no", "no", "please"], ["no", "please", "no"], POLITE, prompt=QUESTIONS[:3])
    with pytest.raises(AssertionError, match="-2.00 against"):
        assert_not_worse(["no", "no", "no"], ["no", "please", "please"], POLITE, prompt=QUESTIONS[:3])

def test_lengths(assert_not_worse):
    with pytest.raises(ValueError, match="2 candidates and 1 baselines"):
        assert_not_worse(["a", "b"], ["a"], POLITE, prompt=ASK)
    with pytest.raises(TypeError, match="lists of both"):
        assert_not_worse(["a", "b"], "a", POLITE, prompt=ASK)
    with pytest.raises(TypeError, match="needs a principle"):
        assert_not_worse("a", POLITE, prompt=ASK)
""",
    )
    result = project.runpytest()
    result.assert_outcomes(passed=5, failed=2)
    result.stdout.fnmatch_lines(
        [
            'E*AssertionError: worse than the baseline under "Be polite.": The mean score changed by -3.00 *',
            "E*and 37 more (pytest -vv)",
            'E*AssertionError: inconclusive under "Be polite.": *',
            "*::test_open?report?: inconclusive under *About * cases would settle it*",
            "*::test_wavering: *At first -1.00, judged again +3.00.",
            "*2 failed, 5 passed*",
        ]
    )


ODD_RECORDS = """
from collections import namedtuple

Pair = namedtuple("Pair", "answer category")

class Record:  # iterates over the names of its fields, as a prediction of DSPy and a data frame
    def keys(self):
        return ["please"]

    def __iter__(self):
        return iter(self.keys())
"""


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            'worse({"answer": "no"}, {"answer": "please"}, POLITE, prompt=ASK)',
            "candidate must be a text or a list, not dict",
        ),
        ('worse(["no"], {"answer": "please"}, POLITE, prompt=ASK)', "baseline must be a text or a list, not dict"),
        ('worse({"answer": "no"}, principle=POLITE, prompt=ASK)', "candidate must be a text or a list, not dict"),
        ('worse([{"answer": "no"}], [{"answer": "please"}], POLITE, prompt=ASK)', "not a known form of a conversation"),
        ('worse("no", "please", {"polite": POLITE}, prompt=ASK)', "principle must be a text or a list, not dict"),
        ('reaches({"goodness": "no"}, POLITE, prompt=ASK)', "response must be a text or a list, not dict"),
        ('reaches({"please": "no"}.keys(), POLITE, prompt=ASK)', "response must be a text or a list, not dict_keys"),
        ('reaches({"please", "no"}, POLITE, prompt=ASK)', "response must be a text or a list, not set"),
        ("reaches(Record(), POLITE, prompt=ASK)", "response must be a text or a list, not Record"),
        ("worse(Record(), Record(), POLITE, prompt=ASK)", "candidate must be a text or a list, not Record"),
        ('reaches(Pair("no", "please"), POLITE, prompt=ASK)', "response must be a text or a list, not Pair"),
        ('reaches(b"no", POLITE, prompt=ASK)', "response must be a text or a list, not bytes"),
        ("reaches(None, POLITE, prompt=ASK)", "response must be a text or a list, not NoneType"),
        ("reaches([None], POLITE, prompt=ASK)", "must be a string"),
        ('reaches("please", {"goodness": POLITE}, prompt=ASK)', "principle must be a text or a list, not dict"),
        (
            'reaches(["please"], POLITE, prompt={"role": "user", "content": ASK})',
            "prompt must be a text or a list, not dict",
        ),
        (
            'reaches(["please"], POLITE, prompt=ASK, reference={"a": "b"})',
            "reference must be a text or a list, not dict",
        ),
        ('reaches("please", POLITE, prompt=ASK, reference={"a": "b"})', "reference must be a string"),
        ('reaches(["please"], POLITE, prompt=ASK, context={"a": "b"})', "context must be a text or a list, not dict"),
    ],
)
def test_only_texts_and_lists_of_texts_are_accepted(project, monkeypatch, call, message):
    """The keys of a mapping, or its items in any order, would otherwise be judged instead of the texts."""
    monkeypatch.setenv("CALLS", "calls")
    records = "    from odd_records import Pair, Record\n" if "Record" in call or "Pair" in call else ""
    (project.path / "odd_records.py").write_text(ODD_RECORDS)
    body = f"{records}    reaches, worse = assert_principle, assert_not_worse\n    {call}\n"
    write(project, f"def test_it(assert_principle, assert_not_worse):\n{body}")
    result = project.runpytest("--ra-judge-failures=skip")
    result.assert_outcomes(failed=1)
    assert "InvalidCaseError" in output(result) and message in output(result)
    assert not (project.path / "calls").exists()


def test_an_agents_run_is_one_response_and_can_be_recorded(project):
    write(
        project,
        """
def run(text):
    function = {"name": "ask", "arguments": '{"text": "salt,\\nplease"}'}
    call = {"id": "1", "type": "function", "function": function}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "two\\nlines"},
        {"role": "assistant", "content": text},
    ]

def test_principle(assert_principle):
    assert_principle(run("Done."), POLITE, prompt=ASK, min_score=2)
    assert_principle([run("Done."), "Salt, please."], POLITE, prompt=ASK, min_score=1)

def test_recorded(assert_not_worse):
    assert_not_worse(run("Thank you, please."), principle=POLITE, prompt=ASK)
    assert_not_worse([run("1"), "2"], principle=POLITE, prompt=ASK)
""",
    )
    (project.path / "script.py").write_text(RUNS, encoding="utf-8")
    project.runpytest("--ra-update").assert_outcomes(passed=2)
    recorded = baselines(project)["test_recorded"]
    assert [message["content"] for message in recorded["1"]["response"]] == [
        None,
        ["two", "lines"],
        "Thank you, please.",
    ]
    assert recorded["2"][1]["response"] == "2"
    project.runpytest().assert_outcomes(passed=2)
    text = (project.path / "test_answers.py").read_text(encoding="utf-8")
    write(project, text.replace("Thank you, please.", "Thanks."))
    result = project.runpytest()
    result.assert_outcomes(passed=1, failed=1)
    assert "[1] assistant calls ask" in output(result)


def test_iterators_are_read_once(project):
    write(
        project,
        """
def test_it(assert_principle, assert_not_worse):
    texts, prompts = {"a": "1, please", "b": "2, please"}, [ASK, "Ask."]
    assert_principle(texts.values(), (p for p in [POLITE]), prompt=(p for p in prompts), reference=iter(["r1", "r2"]))
    assert_not_worse(iter(texts.values()), iter(["1", "2"]), POLITE, prompt=(p for p in prompts))
""",
    )
    project.runpytest().assert_outcomes(passed=1)


# --- failing judges

FAILING = """
def test_gibberish(assert_principle):
    assert_principle("gibberish", POLITE, prompt=ASK)

def test_again(assert_principle):
    assert_principle("unsure", POLITE, prompt=ASK)

def test_pair(assert_not_worse):
    assert_not_worse("gibberish", "please", POLITE, prompt=ASK)

def test_pair_again(assert_not_worse):
    assert_not_worse("unsure", "please", POLITE, prompt=ASK)

def test_many(assert_not_worse):
    assert_not_worse(["gibberish"] * 20, ["please"] * 20, POLITE, prompt=[f"Question {i}" for i in range(20)])

def test_many_again(assert_not_worse):
    assert_not_worse(["unsure"] * 20, ["please"] * 20, POLITE, prompt=[f"Question {i}" for i in range(20)])

@pytest.mark.xfail(raises=AssertionError)
def test_expected_to_fail(assert_principle):
    with pytest.raises(AssertionError):
        assert_principle("gibberish", POLITE, prompt=ASK)
"""


def test_a_failed_judgement_is_neither_a_pass_nor_an_assertion_error(project):
    write(project, FAILING)
    result = project.runpytest()
    result.assert_outcomes(failed=7)
    result.stdout.fnmatch_lines(
        [
            "E * rewardanything_pytest.NotJudgedError: could not be judged: VerdictParseError in 1 of 1 judgements",
            "E * VerdictParseError: *no JSON object*",
            "E * reply: I would rather not.",
            "E * record: ra-judge log *",
            "* could not be judged",
        ]
    )
    assert "when a low score was judged again" in output(result)
    assert "\nE   AssertionError" not in output(result)
    project.runpytest("--ra-judge-failures=skip").assert_outcomes(skipped=7)


def test_an_unreachable_endpoint_is_not_judged(project, monkeypatch):
    monkeypatch.setenv("RA_JUDGE_MODEL", "hosted_vllm/none")
    project.makefile(".toml", **{"ra-judge": '[judge]\napi_base = "http://127.0.0.1:9/v1"\nattempts = 1\n'})
    write(project, FAILING)
    result = project.runpytest_subprocess("-k", "test_gibberish")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*NotJudgedError: could not be judged: BackendConnectionError in 1 of 1 *"])


def test_a_refused_key_is_not_skipped(project, monkeypatch, server):
    server.reply = lambda body: Fault.status(401, "no such key")
    monkeypatch.setenv("RA_JUDGE_MODEL", "hosted_vllm/none")
    project.makefile(".toml", **{"ra-judge": f'[judge]\napi_base = "{server.url}"\n'})
    write(project, FAILING)
    result = project.runpytest_subprocess("-k", "not expected", "--ra-judge-failures=skip")
    result.assert_outcomes(failed=6, deselected=1)
    assert "AuthenticationError" in output(result)


def test_wrong_settings_are_an_error_even_where_failures_skip(project, monkeypatch):
    monkeypatch.setenv("RA_JUDGE_PASSES", "0")
    write(project, FAILING)
    result = project.runpytest("--ra-judge-failures=skip")
    result.assert_outcomes(errors=7)
    assert "ConfigError" in output(result)
