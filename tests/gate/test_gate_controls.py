"""Controls: the gate tests the judge before it lets anything pass."""

import json
from pathlib import Path

import pytest
from check_reports import a_comparison, a_report
from checks import complaint, ra_judge, write_jsonl

from rewardanything_core import ConfigError, Judge, ScriptedBackend
from rewardanything_core.backends import Request, verdict_reply
from rewardanything_core.gate import CheckReport, Control, Requirement, check
from rewardanything_core.gate.reports.html import html_report
from rewardanything_core.gate.reports.junit import junit_report
from rewardanything_core.gate.reports.markdown import markdown_report
from rewardanything_core.gate.reports.terminal import terminal_report
from rewardanything_core.principles import Principle

ANSWER = "You can send shoes back within 30 days if nobody has worn them outside, and we pay the postage for it."
LONGER = " Our shop has been in the same street since 1923, and many of our customers came here with their parents."


def judge_disliking(*disliked: str):
    """A judge that scores 5, or 2 for a text that contains one of ``disliked``; and the sets of texts it judged."""
    asked = []

    def reply(request: Request) -> str:
        texts = json.loads(request.messages[1]["content"])["responses"]
        asked.append(set(texts.values()))
        return verdict_reply({name: 2 if any(word in text for word in disliked) else 5 for name, text in texts.items()})

    return Judge(ScriptedBackend(reply), cache="off"), asked


def rows(ending: str = "", number: int = 20, **columns: object) -> list[dict[str, object]]:
    return [{"prompt": f"Question {i}?", "response": f"{i}: {ANSWER}{ending}", **columns} for i in range(number)]


def compare(judge: Judge, *sides: list[dict[str, object]], **settings: object) -> CheckReport:
    return check(*sides, "Short and to the point.", judge=judge, margin=0.8, **settings)


def test_longer_answers_do_not_pass_with_a_judge_that_overlooks_padding() -> None:
    blind, asked = judge_disliking()
    report = compare(blind, rows(), rows(LONGER))
    (found,) = report.comparisons
    assert (report.outcome, found.outcome, report.exit_code) == ("inconclusive", "inconclusive", 3)
    (control,) = found.controls
    assert (control.kind, control.noticed, control.n, control.difference) == ("padded", False, 12, 0.0)
    assert "in 20 of 20 inputs the candidate's answer is much longer" in report.reason
    assert "does not notice when the baseline's answers are padded with empty sentences" in report.reason
    assert found.cases_needed is None  # more of the same would not help
    assert len(asked) == 2 * (20 + 12) and report.usage.calls == 64


def test_longer_answers_pass_with_a_judge_that_notices_padding() -> None:
    keen, _ = judge_disliking("open mind", "several sides", "depends on", "went before")
    report = compare(keen, rows(), rows(LONGER))
    (control,) = report.comparisons[0].controls
    assert report.outcome == "passed"
    assert (control.kind, control.noticed, control.difference) == ("padded", True, -3.0)
    assert control.p_drop == pytest.approx(2**-12)


def test_shorter_answers_require_the_cut_control() -> None:
    blind, asked = judge_disliking()
    report = compare(blind, rows(LONGER), rows())
    assert [(control.kind, control.noticed) for control in report.comparisons[0].controls] == [("cut", False)]
    assert "is much shorter" in report.reason and "cut in half" in report.reason
    halves = [min(texts, key=len) for texts in asked[40:]]
    assert all(f"{half[:3]}" and (ANSWER + LONGER).startswith(half[3:].strip()) for half in halves)
    assert not any(half.endswith((".", " ")) for half in halves)


def test_answers_of_similar_length_require_no_control() -> None:
    judge, asked = judge_disliking()
    assert compare(judge, rows(), rows(" Yes.")).outcome == "passed"
    short = [row | {"response": "Yes."} for row in rows()]
    assert compare(judge, short, [row | {"response": "Yes, you can."} for row in rows()]).outcome == "passed"
    few = [row | {"response": str(row["response"]) + LONGER * (i < 4)} for i, row in enumerate(rows())]
    assert compare(judge, rows(), few).outcome == "passed"
    assert compare(judge, rows(), rows()).outcome == "passed"
    assert len(asked) == 2 * (20 + 20 + 4)
    assert "much longer" in compare(judge, rows(), few[:16], common_only=True).reason


def test_named_controls_apply_to_every_change() -> None:
    judge, _ = judge_disliking("fool")
    report = compare(judge, rows(), rows(" Yes."), controls=["swapped", "rude"])
    assert [(control.kind, control.noticed) for control in report.comparisons[0].controls] == [
        ("rude", True),
        ("swapped", False),
    ]
    assert report.outcome == "inconclusive" and "swapped with answers to other questions" in report.reason
    assert compare(judge, rows(), rows(" Yes."), controls="rude").outcome == "passed"
    assert compare(judge, rows(), rows(LONGER), controls="none").outcome == "passed"
    assert compare(judge, rows(), rows(LONGER), controls=()).outcome == "passed"


def test_worse_answers_from_the_user_are_a_control() -> None:
    worse = rows(worse="You can always send shoes back.")
    judge, _ = judge_disliking()
    report = compare(judge, worse, rows(" Yes."))
    assert report.outcome == "inconclusive" and "the worse answers that the cases provide" in report.reason
    judge, _ = judge_disliking("always")
    report = compare(judge, worse, rows(" Yes."))
    assert report.outcome == "passed"
    assert report.comparisons[0].controls[0].kind == "worse"
    with pytest.raises(ConfigError, match=r"Row 1 of the baseline cannot be judged: .*'worse'"):
        compare(judge, rows(worse=3), rows())


def test_each_principle_has_its_own_controls() -> None:
    judge, _ = judge_disliking()
    asked = [
        Requirement(principle=Principle("Polite.", name="polite"), margin=0.8, controls="none"),
        Requirement(principle=Principle("Short.", name="short"), margin=0.8),
    ]
    report = check(rows(), rows(LONGER), asked, judge=judge)
    assert [found.outcome for found in report.comparisons] == ["passed", "inconclusive"]


def test_a_control_without_degradable_answers_is_inconclusive() -> None:
    judge, _ = judge_disliking()
    same = [{"prompt": f"Question {i}?", "response": "Yes."} for i in range(20)]
    report = compare(judge, same, [row | {"response": "Yes, sure."} for row in same], controls="cut")
    (control,) = report.comparisons[0].controls
    assert report.outcome == "inconclusive"
    assert (control.n, control.difference, control.noticed) == (0, None, False)
    assert "none of the baseline's answers could be cut in half" in report.reason


def test_several_candidates_and_looks_share_the_judgements_of_a_control() -> None:
    judge, asked = judge_disliking()
    sides = {"one": rows(LONGER), "two": rows(LONGER + " ")}
    report = check(rows(), sides, "Short.", judge=judge, margin=0.8, sequential=True)
    assert [found.controls[0].n for found in report.comparisons] == [12, 12]
    assert sum(len(texts) == 2 for texts in asked) == 24


def test_only_a_pass_costs_controls() -> None:
    judge, asked = judge_disliking("1923")
    report = compare(judge, rows(), rows(LONGER))
    assert report.outcome == "regression" and report.comparisons[0].controls == ()
    assert len(asked) == 80  # twice in both orders
    judge, asked = judge_disliking()
    report = compare(judge, rows(number=3), rows(LONGER, number=3))
    assert report.outcome == "inconclusive" and report.comparisons[0].controls == () and len(asked) == 6


def test_a_judge_that_fails_on_controls_makes_the_check_inconclusive() -> None:
    def reply(request: Request) -> str:
        texts = json.loads(request.messages[1]["content"])["responses"]
        return "No." if any("open mind" in text for text in texts.values()) else verdict_reply(dict.fromkeys(texts, 4))

    report = compare(Judge(ScriptedBackend(reply), cache="off", retries=0), rows(), rows(LONGER))
    assert (report.outcome, report.exit_code) == ("inconclusive", 3)


@pytest.mark.parametrize("given", ["louder", ["cut", "auto"], ["none", "rude"], [""]])
def test_unknown_controls_are_reported_before_anything_is_judged(given: object) -> None:
    judge, asked = judge_disliking()
    with pytest.raises(ConfigError, match="There is no control") as raised:
        compare(judge, rows(), rows(LONGER), controls=given)
    assert "cut, padded, rude, swapped, worse" in raised.value.hint and asked == []


def test_every_report_shows_controls() -> None:
    control = Control(kind="padded", why="x", n=12, difference=-0.02, low=-0.1, high=0.1, p_drop=0.4, noticed=False)
    report = a_report([a_comparison(outcome="inconclusive", controls=(control,))], outcome="inconclusive")
    expected = "padded -0.02 (12 inputs), not noticed"
    for written in (terminal_report(report, width=200), junit_report(report), html_report(report)):
        assert expected in written.replace("−", "-").replace("<b>", "").replace("</b>", "")
    assert "not noticed" in markdown_report(report)
    (plain,) = report.to_dict()["comparisons"]
    assert plain["controls"][0]["noticed"] is False and plain["requirement"]["name"] == "brief"


def test_the_command_takes_controls_from_options_and_settings(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, ending in (("a", ""), ("b", LONGER)):
        write_jsonl(
            f"{name}.jsonl", [row | {"id": f"q{i}", "response": f"4 {ANSWER}{ending}"} for i, row in enumerate(rows())]
        )
    files = ("check", "--baseline", "a.jsonl", "--candidate", "b.jsonl", "--margin", "0.8")
    asked = ("--principle", "p")
    assert "does not notice" in " ".join(ra_judge(*files, *asked, code=3).stdout.split())
    ra_judge(*files, *asked, "--controls", "none")
    assert "There is no control 'louder'" in complaint(*files, *asked, "--controls", "louder")
    Path("ra-judge.toml").write_text('[check]\ncontrols = "none"\n')
    ra_judge(*files, *asked)
    Path("ra-judge.toml").write_text('[[check.principles]]\ntext = "p"\ncontrols = ["padded"]\n')
    ra_judge(*files, code=3)
