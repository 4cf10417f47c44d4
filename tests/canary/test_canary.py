"""The canary: its false alarms and its power by simulation, and recording and judging again."""

import dataclasses
import itertools
import json
import random

import numpy as np
import pytest
from scripts import by_length

from rewardanything_core import ConfigError, Judge, Rubric, ScriptedBackend
from rewardanything_core.backends import verdict_reply
from rewardanything_core.bench.labels import read_labels
from rewardanything_core.canary import Canary, record_canary, run_canary
from rewardanything_core.canary.drift import drift_tests, holm, smallest_p_value
from rewardanything_core.errors import VerdictParseError

PROMPTS, RUNS = 40, 3


def alarms(change, *, noise=0.5, skewed=False, runs=RUNS, prompts=PROMPTS, reps=120, figures=None):
    """Share of simulated runs with an alarm: whole scores of two responses to each prompt, people prefer the better."""
    generator = np.random.default_rng(7)
    cases = np.repeat(np.arange(prompts), 2)
    found = 0
    for seed in range(reps):
        quality = generator.uniform(1.5, 4.5, 2 * prompts)
        scale = noise * (generator.choice([0, 0, 1, 3], 2 * prompts) if skewed else 1)
        means = np.stack([quality] * runs + [change(generator, quality)])
        scores = np.clip(np.round(means + scale * generator.normal(size=means.shape)), 1, 5)
        pairs = np.where(quality[::2] > quality[1::2], 0, 1)
        pairs = np.stack([2 * np.arange(prompts) + pairs, 2 * np.arange(prompts) + 1 - pairs], axis=1)
        tests = drift_tests(scores, cases, pairs, alpha=0.05, seed=seed)
        found += any(test.moved for test in tests if figures is None or test.figure in figures)
    return found / reps


@pytest.fixture(autouse=True)
def fewer_permutations(monkeypatch):
    monkeypatch.setattr("rewardanything_core.canary.drift.PERMUTATIONS", 399)


def unchanged(_, quality):
    return quality


@pytest.mark.parametrize(
    "options", [{}, {"skewed": True}, {"runs": 1}, {"prompts": 5}, {"noise": 0.0}], ids=lambda options: str(options)
)
def test_an_unchanged_judge_gives_few_alarms(options):
    """At most 5%: with 120 runs, more than 12 alarms would come by chance once in 100."""
    assert alarms(unchanged, **options) <= 0.1


def test_a_small_shift_is_found():
    assert alarms(lambda _, quality: quality - 0.4, figures={"shift"}) > 0.95


def test_a_compressed_scale_is_found():
    assert alarms(lambda _, quality: 3 + 0.6 * (quality - 3), figures={"spread"}) > 0.75


def test_changes_that_cancel_out_are_found():
    def change(generator, quality):
        return quality + 0.8 * generator.choice([-1, 1], len(quality))

    assert alarms(change, figures={"changes"}) > 0.9
    assert alarms(change, figures={"shift"}) < 0.2


def test_a_judge_that_agrees_less_with_people_is_found():
    def change(generator, quality):
        return quality.reshape(-1, 2)[:, ::-1].ravel()

    assert alarms(change, figures={"agreement"}, reps=20) == 1


def test_one_run_is_chosen_for_each_prompt_and_few_prompts_are_enumerated():
    scores = np.array([[3.0, 3.0, 3.0, 3.0]] * 3 + [[2.0, 2.0, 2.0, 2.0]])
    cases = np.array([0, 0, 1, 1])
    shift = drift_tests(scores, cases, np.empty((0, 2), int), alpha=0.05)[0]
    # One of the 16 choices is as low, and the test is two-sided and the second of three by its p-value.
    assert shift.p_value == pytest.approx(2 * 2 / 16)
    assert [test.figure for test in drift_tests(scores[:2], cases, np.empty((0, 2), int), alpha=0.05)] == [
        "shift",
        "spread",
    ]
    assert smallest_p_value(4, 2, 3) == pytest.approx(3 / 16)
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


# --- recording and judging again


class Scripted:
    """A judge whose scores can be shifted, and which can fail."""

    def __init__(self):
        self.__qualname__ = "reply"  # as of a function, which the file of a canary can name
        self.shift, self.noise, self.fails, self.calls = 0.0, 0.0, lambda prompt: False, itertools.count()

    def __call__(self, request):
        case = json.loads(request.messages[1]["content"])
        if self.fails(case["prompt"]):
            return "no verdict"
        draw = random.Random(next(self.calls)).gauss(0, self.noise)
        return verdict_reply(
            {name: min(5, max(1, round(len(text) + self.shift + draw))) for name, text in case["responses"].items()}
        )


def items(tmp_path, number=12):
    rows = [
        {
            "id": f"c{i}",
            "prompt": f"q{i}",
            "responses": {"a": "xx", "b": "xxx"},
            "winner": "b",
            "principle": "p",
        }
        for i in range(number)
    ]
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return read_labels([str(path)], unlabelled="keep")


@pytest.fixture
def script():
    return Scripted()


@pytest.fixture
def judge(script):
    return Judge(ScriptedBackend(script), retries=0)


def test_the_same_judge_is_stable_and_a_shifted_one_has_moved(tmp_path, script, judge):
    canary = record_canary(items(tmp_path), judge)
    assert (len(canary.runs), len(canary.cases)) == (3, 12)
    assert canary.runs[0]["c0"] == {"a": 2.0, "b": 3.0}
    canary.save(tmp_path / "canary.json")
    canary = Canary.load(tmp_path / "canary.json")
    stable = run_canary(canary, judge)
    assert (stable.outcome, stable.exit_code, stable.changed, stable.settings) == ("stable", 0, (), ())
    assert {test.figure for test in stable.tests} == {"shift", "changes", "spread", "agreement"}
    script.shift = 1
    moved = run_canary(canary, judge)
    assert (moved.outcome, moved.exit_code) == ("moved", 1)
    assert "the mean score was 2.500 and is 3.500" in moved.reason
    assert len(moved.changed) == 24
    assert json.loads(json.dumps(moved.to_dict()))["outcome"] == "moved"


def test_stored_verdicts_are_neither_used_nor_written(tmp_path, judge):
    cases = items(tmp_path)
    judge.judge_batch([item.case_fields() for item in cases])
    before = judge.backend.calls
    canary = record_canary(cases, judge, runs=2)
    run_canary(canary, judge)
    assert judge.backend.calls == before + 3 * 12
    assert judge.store.count() == 12


def test_noise_of_the_judge_is_no_movement(tmp_path, script, judge):
    script.noise = 0.6
    canary = record_canary(items(tmp_path, 30), judge)
    report = run_canary(canary, judge)
    assert report.outcome == "stable" and report.changed
    assert "no more than the judge's own variation explains" in report.reason


def test_changed_settings_are_named(tmp_path, judge):
    report = run_canary(record_canary(items(tmp_path), judge, runs=1), judge.with_options(seed=5))
    assert report.settings == ("seed",)


def test_failures_are_left_out_and_too_many_are_inconclusive(tmp_path, script, judge):
    script.fails = lambda prompt: prompt == "q3"
    canary = record_canary(items(tmp_path), judge, max_failures=0.1)
    assert [each.case.id for each in canary.cases if each.case.id == "c3"] == [] and len(canary.cases) == 11
    with pytest.raises(VerdictParseError):
        record_canary(items(tmp_path), judge, max_failures=0.05)
    script.fails = lambda prompt: prompt in ("q1", "q2")
    report = run_canary(canary, judge)
    assert (report.outcome, report.exit_code, report.tests) == ("inconclusive", 3, ())
    assert len(report.failures) == 2
    assert run_canary(canary, judge, max_failures=0.2).outcome == "stable"


def test_too_few_cases_are_inconclusive_instead_of_stable(tmp_path, script, judge):
    canary = record_canary(items(tmp_path, 2), judge, runs=1)
    script.shift = 2
    report = run_canary(canary, judge)
    assert report.outcome == "inconclusive" and "too few to find any change" in report.reason


def test_scores_by_people_of_single_responses_are_compared_between_cases(tmp_path, judge):
    rows = [{"prompt": f"q{i}", "response": "x" * (i % 4 + 1), "score": i % 4 + 1, "principle": "p"} for i in range(8)]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, rows)))
    canary = record_canary(read_labels([str(tmp_path / "labels.jsonl")]), judge, runs=1)
    agreement = run_canary(canary, judge).tests[-1]
    assert (agreement.figure, agreement.recorded, agreement.now) == ("agreement", 1.0, 1.0)


def test_rubrics_agents_and_messages_survive_the_file(tmp_path):
    rubric = Rubric({"short": {"text": "Is it short?", "required": 2}, "kind": "Is it kind?"})
    run = [{"role": "assistant", "content": "ü", "tool_calls": [{"id": "1", "name": "f", "arguments": {"a": 1}}]}]
    row = {"prompt": [{"role": "user", "content": "q"}], "responses": {"a": run, "b": "text"}}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    judge = Judge(ScriptedBackend(by_length), cache="off", criteria="together")
    (item,) = read_labels([str(tmp_path / "rows.jsonl")], principle=rubric.text, unlabelled="keep")
    canary = record_canary([dataclasses.replace(item, rubric=rubric)], judge, runs=1)
    canary.save(tmp_path / "c.json")
    assert Canary.load(tmp_path / "c.json").cases == canary.cases


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "Cannot read"),
        ("{", "Cannot read"),
        ("[]", "is not a canary of format 1"),
        ('{"format": 2}', "is not a canary of format 1"),
        ('{"format": 1}', "is not a canary: KeyError"),
    ],
)
def test_a_file_that_is_no_canary_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "c.json").write_text(content)
    with pytest.raises(ConfigError, match=message):
        Canary.load(tmp_path / "c.json")


def test_a_damaged_canary_is_refused(tmp_path, judge):
    record_canary(items(tmp_path), judge, runs=1).save(tmp_path / "c.json")
    content = json.loads((tmp_path / "c.json").read_text())
    for damage in ({"runs": []}, {"runs": [{"c0": {"a": 1, "b": 2}}]}, {"cases": []}):
        (tmp_path / "c.json").write_text(json.dumps(content | damage))
        with pytest.raises(ConfigError, match="is not a canary"):
            Canary.load(tmp_path / "c.json")
    for edit in ({"principle": "Another."}, {"human": {"a": "good"}}):
        cases = [content["cases"][0] | edit, *content["cases"][1:]]
        (tmp_path / "c.json").write_text(json.dumps(content | {"cases": cases}))
        with pytest.raises(ConfigError, match="was changed after it was recorded"):
            Canary.load(tmp_path / "c.json")
    content["runs"][0]["c0"]["a"] = float("nan")
    (tmp_path / "c.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match="no score for each response of case 'c0'"):
        Canary.load(tmp_path / "c.json")


def test_wrong_arguments_are_errors_before_anything_is_judged(tmp_path, judge):
    canary = record_canary(items(tmp_path), judge, runs=1)
    before = judge.backend.calls
    for call in (
        lambda: run_canary(canary, judge, alpha=0.5),
        lambda: run_canary(canary, judge, max_failures=2),
        lambda: record_canary(items(tmp_path), judge, runs=0),
        lambda: record_canary([], judge),
    ):
        with pytest.raises(ConfigError):
            call()
    assert judge.backend.calls == before
