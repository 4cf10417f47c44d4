"""The pytest plugin, in real runs of pytest with scripted judges."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy  # noqa: F401  - cannot be loaded anew by each run of pytest within this process
import pytest
import scipy.stats  # noqa: F401
from paths import ROOT

from rewardanything_core import Judge, SamplingParams
from rewardanything_core.gate import check  # noqa: F401

pytest_plugins = ["pytester"]


# 5 with a "please", else 2. What is said to waver does so only for the greedy judge that looks first.
SCRIPT = """
import json, os
from rewardanything_core.backends import verdict_reply

def score(text, again):
    if "gibberish" in text or ("unsure" in text and again):
        return None
    if "wavering" in text:
        return 5 if again else 1
    return 5 if "please" in text else 2

def reply(request):
    if "CALLS" in os.environ:
        with open(os.environ["CALLS"], "a") as calls:
            calls.write("x")
    asked = json.loads(request.messages[1]["content"])
    scores = {name: score(text, request.sampling.temperature > 0) for name, text in asked["responses"].items()}
    if None in scores.values():
        return "I would rather not."
    return verdict_reply(scores, thoughts="; ".join(f"{name} says {asked['responses'][name]!r}" for name in scores))

def first_is_better(request):
    asked = json.loads(request.messages[1]["content"])
    names = list(asked["responses"])
    return verdict_reply({name: 5 - 2 * place for place, name in enumerate(names)}, thoughts="first come")
"""

HEAD = """
import pytest
POLITE, ASK = "Be polite.", "Ask for the salt."
"""


@pytest.fixture
def project(pytester, own_store, monkeypatch):
    """A project whose judge is the script."""
    pytester.makepyfile(script=SCRIPT)
    pytester.syspathinsert()
    # Other plugins in this environment take seconds to load. That pytest finds ours by itself is a test of its own.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\naddopts = -p rewardanything_pytest.plugin -p xdist\n")
    monkeypatch.setenv("RA_JUDGE_MODEL", "scripted:script:reply")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(pytester.path), os.environ.get("PYTHONPATH", "")]))
    return pytester


def write(project, body: str, name: str = "test_answers") -> None:
    project.makepyfile(**{name: HEAD + body})


def baselines(project, name: str = "test_answers") -> dict:
    return json.loads((project.path / "__baselines__" / f"{name}.json").read_text(encoding="utf-8"))


def said(result) -> str:
    return result.stdout.str() + result.stderr.str()


# --- assert_principle -----------------------------------------------------------------------------------------------


def test_a_failure_says_why(project):
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


def test_what_is_not_confirmed_passes_and_is_told(project):
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
            "*::test_one: suspected, not confirmed: score 1.00, judged again 5.00 (3 is asked) under *",
            "*::test_two: suspected, not confirmed: -4.00 against the baseline, judged again +0.00 *",
        ]
    )


def test_lists_go_in_one_batch_with_what_belongs_to_each(project):
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
    text = said(result)
    assert "4 of 6 scores are too low" in text
    assert "user: Ask for the pepper." in text
    assert "and 1 more (pytest -vv)" in text
    assert "and 1 more" not in said(project.runpytest("-vv"))


# --- assert_not_worse -----------------------------------------------------------------------------------------------


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
    project.runpytest().assert_outcomes(passed=4)  # a judge that likes what comes first says nothing


def test_many_are_tested_as_the_gate_does(project):
    write(
        project,
        """
ASKED = [f"Question {i}" for i in range(40)]

def test_dropped(assert_not_worse):
    assert_not_worse(["no"] * 40, ["please"] * 40, POLITE, prompt=ASKED)

def test_no_drop(assert_not_worse):
    assert_not_worse(["please"] * 40, ["no"] * 40, POLITE, prompt=ASKED, on_inconclusive="fail")

@pytest.mark.parametrize("then", ["report", "fail"])
def test_open(assert_not_worse, then):
    assert_not_worse(["no", "please"] * 20, ["please", "no"] * 20, POLITE, prompt=ASKED, on_inconclusive=then)

def test_wavering(assert_not_worse):
    assert_not_worse(["wavering"] * 40, ["no"] * 40, POLITE, prompt=ASKED)

def test_few_go_by_their_mean(assert_not_worse):
    assert_not_worse(["no", "no", "please"], ["no", "please", "no"], POLITE, prompt=ASKED[:3])
    with pytest.raises(AssertionError, match="-2.00 against"):
        assert_not_worse(["no", "no", "no"], ["no", "please", "please"], POLITE, prompt=ASKED[:3])

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


# --- judges that cannot judge ---------------------------------------------------------------------------------------

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
def test_not_even_expected(assert_principle):
    with pytest.raises(AssertionError):
        assert_principle("gibberish", POLITE, prompt=ASK)
"""


def test_a_failed_judgement_neither_passes_nor_fails_as_others_do(project):
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
    assert "when a low score was judged again" in said(result)
    assert "\nE   AssertionError" not in said(result)
    project.runpytest("--ra-judge-failures=skip").assert_outcomes(skipped=7)


def test_an_endpoint_that_is_gone(project, monkeypatch):
    monkeypatch.setenv("RA_JUDGE_MODEL", "hosted_vllm/none")
    project.makefile(".toml", **{"ra-judge": '[judge]\napi_base = "http://127.0.0.1:9/v1"\nattempts = 1\n'})
    write(project, FAILING)
    result = project.runpytest_subprocess("-k", "test_gibberish")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*NotJudgedError: could not be judged: BackendConnectionError in 1 of 1 *"])


def test_settings_that_are_wrong_are_an_error_even_where_failures_skip(project, monkeypatch):
    monkeypatch.setenv("RA_JUDGE_PASSES", "0")
    write(project, FAILING)
    result = project.runpytest("--ra-judge-failures=skip")
    result.assert_outcomes(errors=7)
    assert "ConfigError" in said(result)


# --- recorded baselines ---------------------------------------------------------------------------------------------

RECORDED = """
class TestSalt:
    @pytest.mark.parametrize("size", ["big", "small"])
    def test_ask(self, assert_not_worse, size):
        assert_not_worse(f"The {size} one,\\nplease: é", principle=POLITE, prompt=ASK)

def test_several(assert_not_worse):
    for word in ["b", "a"]:
        assert_not_worse(f"{word}, please", principle=POLITE, prompt=ASK, name=word)
    assert_not_worse("1, please", principle=POLITE, prompt=[{"role": "user", "content": "Ask\\nme."}])
    assert_not_worse(["2, please", "3, please"], principle=POLITE, prompt=[ASK, "Ask."])
"""


def test_baselines_are_recorded_readably_and_compared_with(project, monkeypatch):
    write(project, RECORDED)
    missing = project.runpytest()
    missing.assert_outcomes(failed=3)
    missing.stdout.fnmatch_lines(
        ["E*there is no baseline '1' of TestSalt::test_ask?big? in __baselines__/*--ra-update"]
    )
    assert not (project.path / "__baselines__").exists()

    monkeypatch.setenv("CALLS", "calls")
    update = project.runpytest("--ra-update")
    update.assert_outcomes(passed=3)
    update.stdout.fnmatch_lines(["6 baselines written to __baselines__/test_answers.json"])
    found = baselines(project)
    assert list(found) == ["TestSalt::test_ask[big]", "TestSalt::test_ask[small]", "test_several"]
    assert found["TestSalt::test_ask[big]"] == {
        "1": {"prompt": "Ask for the salt.", "response": ["The big one,", "please: é"]}
    }
    assert list(found["test_several"]) == ["1", "2", "a", "b"]
    assert found["test_several"]["1"]["prompt"] == [{"role": "user", "content": ["Ask", "me."]}]
    assert [row["response"] for row in found["test_several"]["2"]] == ["2, please", "3, please"]
    text = (project.path / "__baselines__" / "test_answers.json").read_text(encoding="utf-8")
    assert "é" in text
    assert text.endswith("}\n")

    project.runpytest().assert_outcomes(passed=3)
    assert not Path("calls").exists()  # the same answers need no judge
    write(project, RECORDED.replace("please: é", "é now!").replace('prompt=[ASK, "Ask."]', 'prompt=[ASK, "Ask!"]'))
    worse = project.runpytest()
    worse.assert_outcomes(failed=3)
    worse.stdout.fnmatch_lines(
        [
            "E*-3.00 against the baseline*",
            "E * baseline, 5.00:",
            "E * The big one,",
            "E*the baseline '2' of test_several in * answers other prompts; *",
        ]
    )
    assert baselines(project) == found
    project.runpytest("--ra-update", "-k", "small").assert_outcomes(passed=1, deselected=2)
    after = baselines(project)
    assert after["TestSalt::test_ask[small]"]["1"]["response"] == ["The small one,", "é now!"]
    assert after | {"TestSalt::test_ask[small]": found["TestSalt::test_ask[small]"]} == found


def test_recording_needs_no_judge(project, monkeypatch):
    monkeypatch.setenv("RA_JUDGE_MODEL", "scripted:nowhere:reply")
    write(project, RECORDED)
    project.runpytest("--ra-update").assert_outcomes(passed=3)


def test_files_are_rewritten_only_where_something_changed(project):
    write(project, RECORDED)
    project.runpytest("--ra-update")
    path = project.path / "__baselines__" / "test_answers.json"
    before = path.stat()
    result = project.runpytest("--ra-update")
    result.stdout.fnmatch_lines(["6 baselines unchanged"])
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_test_that_fails_records_nothing(project):
    write(project, RECORDED + "    assert not word\n")
    result = project.runpytest("--ra-update")
    result.stdout.fnmatch_lines(["2 baselines written*", "4 not recorded, since the test failed"])
    assert "test_several" not in baselines(project)


def test_two_of_a_name_and_files_that_a_merge_broke(project):
    write(
        project,
        """
def test_twice(assert_not_worse):
    for _ in range(2):
        assert_not_worse("please", principle=POLITE, prompt=ASK, name="same")
""",
    )
    result = project.runpytest("--ra-update")
    result.assert_outcomes(failed=1)
    assert "Two baselines of this test are named 'same'" in said(result)
    write(project, RECORDED)
    project.runpytest("--ra-update")
    path = project.path / "__baselines__" / "test_answers.json"
    path.write_text("<<<<<<< ours\n" + path.read_text())
    for options in [(), ("--ra-update",)]:
        result = project.runpytest(*options)
        result.assert_outcomes(failed=3)
        assert "is no file of baselines" in said(result)
        assert path.read_text().startswith("<<<<<<<")


def test_what_no_test_uses_is_told_and_removed_by_a_whole_run_only(project):
    write(project, RECORDED)
    write(project, RECORDED, name="test_gone")
    project.runpytest("--ra-update").assert_outcomes(passed=6)
    (project.path / "test_gone.py").unlink()
    write(
        project,
        RECORDED.replace('"small"', '"tiny"').replace('["b", "a"]', '["b"]')
        + """
def test_not_come_so_far(assert_not_worse):
    pytest.skip()
""",
    )
    path = project.path / "__baselines__" / "test_answers.json"
    kept = json.loads(path.read_text())
    kept["test_not_come_so_far"] = {"1": {"prompt": "p", "response": "r"}}
    path.write_text(json.dumps(kept))

    for partial in [("-k", "several"), ("test_answers.py::test_several",), ("--deselect", "test_answers.py::TestSalt")]:
        result = project.runpytest(*partial, "--ra-update")
        assert "stale baseline" not in said(result), partial
    assert baselines(project) == kept
    result = project.runpytest()
    result.stdout.fnmatch_lines_random(
        [
            "stale baseline found: __baselines__/test_answers.json: TestSalt::test_ask?small? / 1",
            "stale baseline found: __baselines__/test_answers.json: test_several / a",
            "stale baseline found: __baselines__/test_gone.json: test_several / 2",
            "To remove what is stale: pytest --ra-update*",
        ]
    )
    assert "test_not_come_so_far" not in said(result).partition("rewardanything =")[2]
    assert baselines(project) == kept
    project.runpytest("--ra-update", "--exitfirst", "-n", "2")
    after = baselines(project)
    assert set(after) == {
        "TestSalt::test_ask[big]",
        "TestSalt::test_ask[tiny]",
        "test_several",
        "test_not_come_so_far",
    }
    assert set(after["test_several"]) == {"1", "2", "b"}
    assert not (project.path / "__baselines__" / "test_gone.json").exists()


def test_an_early_end_says_nothing_of_what_is_stale(project):
    write(project, RECORDED)
    project.runpytest("--ra-update")
    write(project, "def test_fails():\n    assert False\n" + RECORDED)
    assert "stale baseline" not in said(project.runpytest("-x"))
    write(project, "not python")
    assert "stale baseline" not in said(project.runpytest())


# --- pytest-xdist ---------------------------------------------------------------------------------------------------


def test_workers_lose_nothing(project):
    body = """
@pytest.mark.parametrize("number", range(20))
def test_ask(assert_principle, assert_not_worse, number):
    assert_principle(f"{number}, please", POLITE, prompt=ASK)
    assert_not_worse(f"{number}, please", principle=POLITE, prompt=ASK)

def test_bad(assert_principle):
    assert_principle("no", POLITE, prompt=ASK)
"""
    write(project, body, name="test_one")
    write(project, body, name="test_two")
    result = project.runpytest_subprocess("-n", "2", "--ra-update", "--dist", "loadgroup")
    result.assert_outcomes(passed=40, failed=2)
    result.stdout.fnmatch_lines(
        [
            "E*score 2.00, judged again 2.00, below 3, *",
            "44 judgements by scripted: *",
            "  2.00  test_*.py::test_bad *",
            "20 baselines written to __baselines__/test_one.json",
            "20 baselines written to __baselines__/test_two.json",
        ]
    )
    assert len(baselines(project, "test_one")) == len(baselines(project, "test_two")) == 20
    result = project.runpytest_subprocess("-n", "2", "--ra-judge-failures=skip")
    result.assert_outcomes(passed=40, failed=2)
    result.stdout.fnmatch_lines(["44 judgements by scripted: all from the store"])
    assert "stale baseline" not in said(result)


def test_groups_of_xdist_do_not_change_names(project):
    write(project, RECORDED.replace("class TestSalt", '@pytest.mark.xdist_group("g")\nclass TestSalt'))
    project.runpytest_subprocess("-n", "2", "--ra-update", "--dist", "loadgroup").assert_outcomes(passed=3)
    project.runpytest().assert_outcomes(passed=3)


def test_what_a_crashed_worker_had_done_is_kept(project):
    write(project, RECORDED + "\ndef test_zz_crash():\n    import os; os._exit(1)\n")
    result = project.runpytest_subprocess("-n", "1", "--ra-update")
    result.assert_outcomes(passed=3, failed=1)
    assert len(baselines(project)) == 3


# --- living with others ---------------------------------------------------------------------------------------------

UNUSED = """
import sys

def test_nothing():
    pass

def teardown_module():
    heavy = {"rewardanything_core", "numpy", "scipy", "asyncio", "sqlite3"}
    print("LOADED", sorted(name for name in sys.modules if name.startswith("rewardanything") or name in heavy))
"""


@pytest.mark.parametrize("options", [(), ("-n", "1"), ("--ra-update",)])
def test_a_run_that_does_not_judge_loads_nothing(project, options):
    project.makepyfile(UNUSED)
    result = project.runpytest_subprocess("-s", "-W", "error", "--strict-config", "--strict-markers", *options)
    result.assert_outcomes(passed=1)
    assert "rewardanything =" not in said(result)
    if "-n" in options:
        return  # what workers print is lost
    result.stdout.fnmatch_lines(["*LOADED ??rewardanything_pytest', 'rewardanything_pytest.plugin'?"])


def test_its_import_costs_next_to_nothing():
    code = "import pytest, rewardanything_pytest.plugin"
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    )
    lines = [line.removeprefix("import time:").split("|") for line in result.stderr.splitlines()]
    loaded = {line[2].strip(): line[1] for line in lines if len(line) == 3}
    ours = [name for name in list(loaded)[list(loaded).index("pytest") :] if name != "pytest"]
    assert ours == ["rewardanything_pytest", "rewardanything_pytest.plugin"]
    assert int(loaded["rewardanything_pytest.plugin"]) < 20_000  # microseconds: 1,000 on an idle machine


def test_pytest_finds_it_by_itself_and_does_without_it(project, monkeypatch):
    write(project, "def test_ask(assert_principle):\n    assert_principle('please', POLITE, prompt=ASK)\n")
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    others = ["anyio", "hypothesispytest", "langsmith_plugin", "platformdirs", "schemathesis", "timeout", "xdist"]
    project.makeini("[pytest]\naddopts = " + " ".join(f"-p no:{name}" for name in others) + "\n")
    found = project.runpytest_subprocess("--strict-markers", "--strict-config", "-W", "error")
    found.assert_outcomes(passed=1)
    found.stdout.fnmatch_lines(["plugins:*rewardanything-core-*"])
    without = project.runpytest_subprocess("-p", "no:rewardanything")
    without.assert_outcomes(errors=1)
    assert "fixture 'assert_principle' not found" in said(without)


def test_a_project_has_a_judge_of_its_own(project):
    project.makeconftest("""
import pytest
from rewardanything_core import Judge, ScriptedBackend

@pytest.fixture
def judge(tmp_path):
    return Judge(ScriptedBackend.scoring(lambda text: 4, name="mine"), store=tmp_path / "store")
""")
    write(project, "def test_ask(assert_principle):\n    assert_principle('no', POLITE, prompt=ASK, min_score=4)\n")
    result = project.runpytest()
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["1 judgements by mine: *"])
    project.makeconftest("import pytest\n\n@pytest.fixture\ndef judge():\n    return 'Dredd'\n")
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    assert "The fixture 'judge' gives a str" in said(result)


def test_inside_a_running_loop_and_threads_and_with_the_judge_itself(project):
    write(
        project,
        """
import asyncio
from concurrent.futures import ThreadPoolExecutor
from rewardanything_pytest import AssertPrinciple, NotJudgedError

def test_loop(assert_principle: AssertPrinciple):
    async def main():
        assert_principle("please", POLITE, prompt=ASK)
        with pytest.raises(NotJudgedError):
            assert_principle("gibberish", POLITE, prompt=ASK)
    asyncio.run(main())

def test_threads(assert_principle):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: assert_principle(f"{i}, please", POLITE, prompt=ASK), range(16)))

def test_judge(judge):
    assert judge.score(POLITE, ASK, "please") == 5

@pytest.fixture
def asked(assert_principle):
    assert_principle("please", POLITE, prompt=ASK)
    yield
    assert_principle("no", POLITE, prompt=ASK)

def test_in_fixtures(asked):
    pass
""",
    )
    result = project.runpytest()
    result.assert_outcomes(passed=4, errors=1)
    result.stdout.fnmatch_lines(["20 judgements by scripted*"])


def test_names_are_loaded_when_asked_for():
    import rewardanything_pytest

    assert all(getattr(rewardanything_pytest, name).__name__ == name for name in rewardanything_pytest.__all__)
    with pytest.raises(AttributeError):
        _ = rewardanything_pytest.nothing


# --- what users are told --------------------------------------------------------------------------------------------


def test_the_documentation_runs(project):
    page = (ROOT / "docs/integrations/pytest.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    project.makepyfile(app="def answer(question):\n    return f'Ask us, please: {question}'\n")
    project.makepyfile(
        **{f"test_block_{i}": block for i, block in enumerate(blocks) if not block.startswith("# conftest.py")}
    )
    project.runpytest("--ra-update").assert_outcomes(passed=7)
    project.runpytest().assert_outcomes(passed=7)
    (conftest,) = (block for block in blocks if block.startswith("# conftest.py"))
    project.makeconftest(conftest)
    project.runpytest_subprocess("--setup-only").assert_outcomes()
    options = project.runpytest("--help").stdout.str()
    assert [name for name in re.findall(r"--ra-[a-z-]+", page) if name not in options] == []


held: dict[str, Judge] = {}  # a judge for runs within this process


@pytest.mark.model
def test_the_example_with_a_real_model(project, small_model):
    judge = Judge(small_model, sampling=SamplingParams(thinking_budget=8))
    judge.score("Be brief.", "2+2?", "4")  # whatever it imports is imported before pytest runs within this process

    held["judge"] = judge
    project.makeconftest("""
import pytest
from test_pytest_plugin import held

@pytest.fixture
def judge():
    return held["judge"]
""")

    def run(*options: str):
        return project.runpytest_inprocess("-k", "recorded", *options)

    shutil.copy(ROOT / "examples/pytest/test_answers.py", project.path)
    run("--ra-update").assert_outcomes(passed=1, deselected=3)
    path = project.path / "test_answers.py"
    path.write_text(path.read_text().replace('"Paris."', '"Paris, I would say, if I had to guess."'))
    result = run()
    outcomes = result.parseoutcomes()  # the model is at chance: what it says is not what is tested
    assert outcomes.get("passed", 0) + outcomes.get("failed", 0) == 1
    assert "NotJudgedError" not in said(result)
    result.stdout.fnmatch_lines(["* judgements by smollm2-135m: * calls, * tokens read, * written"])
    again = run()
    assert again.parseoutcomes() == outcomes
    again.stdout.fnmatch_lines(["* judgements by smollm2-135m: all from the store"])
