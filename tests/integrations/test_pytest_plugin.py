"""The pytest plugin in real runs of pytest: what it imports, other plugins, other contexts, the documentation."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from paths import ROOT
from pytest_projects import output, scripted_project, write

from rewardanything_core import Judge, SamplingParams

pytest_plugins = ["pytester"]

project = pytest.fixture(scripted_project)


# --- pytest, other plugins and other contexts

UNUSED = """
import sys

def test_nothing():
    pass

def teardown_module():
    heavy = {"rewardanything_core", "numpy", "scipy", "asyncio", "sqlite3"}
    print("LOADED", sorted(name for name in sys.modules if name.startswith("rewardanything") or name in heavy))
"""


@pytest.mark.parametrize("options", [(), ("-n", "1"), ("--ra-update",)])
def test_a_run_that_does_not_judge_imports_nothing(project, options):
    project.makepyfile(UNUSED)
    result = project.runpytest_subprocess("-s", "-W", "error", "--strict-config", "--strict-markers", *options)
    result.assert_outcomes(passed=1)
    assert "rewardanything =" not in output(result)
    if "-n" in options:
        return  # what workers print is lost
    result.stdout.fnmatch_lines(["*LOADED ??rewardanything_pytest', 'rewardanything_pytest.plugin'?"])


def test_the_plugin_imports_only_pytest():
    code = "import pytest, rewardanything_pytest.plugin"
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
    )
    lines = [line.removeprefix("import time:").split("|") for line in result.stderr.splitlines()]
    loaded = {line[2].strip(): line[1] for line in lines if len(line) == 3}
    after_pytest = [name for name in list(loaded)[list(loaded).index("pytest") :] if name != "pytest"]
    assert after_pytest == ["rewardanything_pytest", "rewardanything_pytest.plugin"]
    assert int(loaded["rewardanything_pytest.plugin"]) < 20_000  # microseconds: 1,000 on an idle machine


def test_pytest_loads_the_plugin_automatically_and_can_run_without_it(project, monkeypatch):
    write(project, "def test_ask(assert_principle):\n    assert_principle('please', POLITE, prompt=ASK)\n")
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    # Whatever else is installed here may warn of its own settings, as pytest-asyncio does.
    others = {plugin.name for plugin in entry_points(group="pytest11")} - {"rewardanything"}
    project.makeini("[pytest]\naddopts = " + " ".join(f"-p no:{name}" for name in sorted(others)) + "\n")
    loaded = project.runpytest_subprocess("--strict-markers", "--strict-config", "-W", "error")
    loaded.assert_outcomes(passed=1)
    loaded.stdout.fnmatch_lines(["plugins:*rewardanything-core-*"])
    without = project.runpytest_subprocess("-p", "no:rewardanything")
    without.assert_outcomes(errors=1)
    assert "fixture 'assert_principle' not found" in output(without)


def test_a_project_may_define_its_own_judge(project):
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
    project.makeconftest("import pytest\n\n@pytest.fixture\ndef judge():\n    return 7\n")
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    assert "judge must be a Judge or Jury" in output(result)


def test_assertions_work_in_event_loops_threads_and_fixtures(project):
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
def judged_twice(assert_principle):
    assert_principle("please", POLITE, prompt=ASK)
    yield
    assert_principle("no", POLITE, prompt=ASK)

def test_in_fixtures(judged_twice):
    pass
""",
    )
    result = project.runpytest()
    result.assert_outcomes(passed=4, errors=1)
    result.stdout.fnmatch_lines(["20 judgements by scripted*"])


def test_the_packages_names_are_imported_when_used():
    import rewardanything_pytest

    assert all(getattr(rewardanything_pytest, name).__name__ == name for name in rewardanything_pytest.__all__)
    with pytest.raises(AttributeError):
        _ = rewardanything_pytest.nothing


# --- documentation and example


def test_the_code_of_the_documentation_runs(project):
    page = (ROOT / "docs/integrations/pytest.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    project.makepyfile(app="def answer(question):\n    return f'Ask us, please: {question}'\n")
    project.makepyfile(
        **{f"test_block_{i}": block for i, block in enumerate(blocks) if not block.startswith("# conftest.py")}
    )
    project.runpytest("--ra-update").assert_outcomes(passed=8)
    project.runpytest().assert_outcomes(passed=8)
    (conftest,) = (block for block in blocks if block.startswith("# conftest.py"))
    project.makeconftest(conftest)
    project.runpytest_subprocess("--setup-only").assert_outcomes()
    options = project.runpytest("--help").stdout.str()
    assert [name for name in re.findall(r"--ra-[a-z-]+", page) if name not in options] == []


real_judge: dict[str, Judge] = {}  # for runs of pytest within this process


@pytest.mark.model
def test_the_example_with_a_real_model(project, small_model):
    judge = Judge(small_model, sampling=SamplingParams(thinking_budget=8))
    judge.score("Be brief.", "2+2?", "4")  # imports everything before pytest runs within this process

    real_judge["judge"] = judge
    project.makeconftest("""
import pytest
from test_pytest_plugin import real_judge

@pytest.fixture
def judge():
    return real_judge["judge"]
""")

    def run(*options: str):
        return project.runpytest_inprocess("-k", "recorded", *options)

    shutil.copy(ROOT / "examples/pytest/test_answers.py", project.path)
    run("--ra-update").assert_outcomes(passed=1, deselected=3)
    path = project.path / "test_answers.py"
    path.write_text(path.read_text().replace('"Paris."', '"Paris, I would say, if I had to guess."'))
    result = run()
    outcomes = result.parseoutcomes()  # the model's verdict is a matter of chance and not tested
    assert outcomes.get("passed", 0) + outcomes.get("failed", 0) == 1
    assert "NotJudgedError" not in output(result)
    result.stdout.fnmatch_lines(["* judgements by smollm2-135m: * calls, * tokens read, * written"])
    again = run()
    assert again.parseoutcomes() == outcomes
    again.stdout.fnmatch_lines(["* judgements by smollm2-135m: all from the store"])
