"""The pytest plugin in real runs of pytest: recorded baselines, also with pytest-xdist."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pytest_projects import baselines, output, scripted_project, write

pytest_plugins = ["pytester"]

project = pytest.fixture(scripted_project)

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


def test_baselines_are_recorded_in_readable_files_and_compared_with(project, monkeypatch):
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
    recorded = baselines(project)
    assert list(recorded) == ["TestSalt::test_ask[big]", "TestSalt::test_ask[small]", "test_several"]
    assert recorded["TestSalt::test_ask[big]"] == {
        "1": {"prompt": "Ask for the salt.", "response": ["The big one,", "please: é"]}
    }
    assert list(recorded["test_several"]) == ["1", "2", "a", "b"]
    assert recorded["test_several"]["1"]["prompt"] == [{"role": "user", "content": ["Ask", "me."]}]
    assert [row["response"] for row in recorded["test_several"]["2"]] == ["2, please", "3, please"]
    text = (project.path / "__baselines__" / "test_answers.json").read_text(encoding="utf-8")
    assert "é" in text
    assert text.endswith("}\n")

    project.runpytest().assert_outcomes(passed=3)
    assert not Path("calls").exists()  # identical responses are not judged
    write(project, RECORDED.replace("please: é", "é now!").replace('prompt=[ASK, "Ask."]', 'prompt=[ASK, "Ask!"]'))
    worse = project.runpytest()
    worse.assert_outcomes(failed=3)
    worse.stdout.fnmatch_lines(
        [
            "E*-3.00 against the baseline*",
            "E * baseline, 5.00:",
            "E * The big one,",
            "E*the baseline '2' of test_several in * belongs to other prompts; *",
        ]
    )
    assert baselines(project) == recorded
    project.runpytest("--ra-update", "-k", "small").assert_outcomes(passed=1, deselected=2)
    after = baselines(project)
    assert after["TestSalt::test_ask[small]"]["1"]["response"] == ["The small one,", "é now!"]
    assert after | {"TestSalt::test_ask[small]": recorded["TestSalt::test_ask[small]"]} == recorded


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


def test_duplicate_names_and_damaged_files_are_errors(project):
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
    assert "Two baselines of this test are named 'same'" in output(result)
    write(project, RECORDED)
    project.runpytest("--ra-update")
    path = project.path / "__baselines__" / "test_answers.json"
    path.write_text("<<<<<<< ours\n" + path.read_text())
    for options in [(), ("--ra-update",)]:
        result = project.runpytest(*options)
        result.assert_outcomes(failed=3)
        assert "is not a valid baseline file" in output(result)
        assert path.read_text().startswith("<<<<<<<")


def test_unused_baselines_are_reported_and_removed_by_complete_runs_only(project):
    write(project, RECORDED)
    write(project, RECORDED, name="test_gone")
    project.runpytest("--ra-update").assert_outcomes(passed=6)
    (project.path / "test_gone.py").unlink()
    write(
        project,
        RECORDED.replace('"small"', '"tiny"').replace('["b", "a"]', '["b"]')
        + """
def test_skipped(assert_not_worse):
    pytest.skip()
""",
    )
    path = project.path / "__baselines__" / "test_answers.json"
    entries = json.loads(path.read_text())
    entries["test_skipped"] = {"1": {"prompt": "p", "response": "r"}}
    path.write_text(json.dumps(entries))

    for partial in [("-k", "several"), ("test_answers.py::test_several",), ("--deselect", "test_answers.py::TestSalt")]:
        result = project.runpytest(*partial, "--ra-update")
        assert "stale baseline" not in output(result), partial
    assert baselines(project) == entries
    result = project.runpytest()
    result.stdout.fnmatch_lines_random(
        [
            "stale baseline found: __baselines__/test_answers.json: TestSalt::test_ask?small? / 1",
            "stale baseline found: __baselines__/test_answers.json: test_several / a",
            "stale baseline found: __baselines__/test_gone.json: test_several / 2",
            "To remove stale baselines, run pytest --ra-update*",
        ]
    )
    assert "test_skipped" not in output(result).partition("rewardanything =")[2]
    assert baselines(project) == entries
    project.runpytest("--ra-update", "--exitfirst", "-n", "2")
    after = baselines(project)
    assert set(after) == {
        "TestSalt::test_ask[big]",
        "TestSalt::test_ask[tiny]",
        "test_several",
        "test_skipped",
    }
    assert set(after["test_several"]) == {"1", "2", "b"}
    assert not (project.path / "__baselines__" / "test_gone.json").exists()


def test_an_incomplete_run_reports_no_unused_baselines(project):
    write(project, RECORDED)
    project.runpytest("--ra-update")
    write(project, "def test_fails():\n    assert False\n" + RECORDED)
    assert "stale baseline" not in output(project.runpytest("-x"))
    write(project, "not python")
    assert "stale baseline" not in output(project.runpytest())


# --- pytest-xdist


def test_workers_report_all_judgements_and_baselines(project):
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
    assert "stale baseline" not in output(result)


def test_xdist_groups_do_not_change_the_names_of_baselines(project):
    write(project, RECORDED.replace("class TestSalt", '@pytest.mark.xdist_group("g")\nclass TestSalt'))
    project.runpytest_subprocess("-n", "2", "--ra-update", "--dist", "loadgroup").assert_outcomes(passed=3)
    project.runpytest().assert_outcomes(passed=3)


def test_baselines_of_a_crashed_worker_are_written(project):
    write(project, RECORDED + "\ndef test_zz_crash():\n    import os; os._exit(1)\n")
    result = project.runpytest_subprocess("-n", "1", "--ra-update")
    result.assert_outcomes(passed=3, failed=1)
    assert len(baselines(project)) == 3
