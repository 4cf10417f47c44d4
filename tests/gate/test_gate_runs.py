"""The gate on agent runs: pairing, controls, and reports that show runs turn by turn."""

from __future__ import annotations

import json
import re

import pytest
from agent_runs import CAREFUL, HASTY, asks_first, called, returned
from check_reports import NASTY, Page, a_pair, a_report

from rewardanything_core import Case, ConfigError, Judge, ScriptedBackend
from rewardanything_core.conversations import Trajectory
from rewardanything_core.conversations.comparison import TurnPair, compare_turns, difference
from rewardanything_core.gate import check
from rewardanything_core.gate.reports.html import html_report


def judge(seen: list[str] | None = None) -> Judge:
    def reply(request):
        if seen is not None:
            seen.append(request.messages[1]["content"])
        return asks_first(request)

    return Judge(ScriptedBackend(reply), cache="off")


def rows(run: object, number: int = 20, **more: object) -> list[dict[str, object]]:
    return [{"prompt": f"{n}: Clean up.", "response": run, **more} for n in range(number)]


def read(run: object) -> Trajectory:
    response = Case("-", "-", [run]).responses["0"]
    assert isinstance(response, Trajectory)
    return response


def test_runs_with_the_same_last_text_are_different_answers():
    report = check(rows(CAREFUL), rows(HASTY), "Ask first.", judge=judge())
    assert (report.outcome, report.comparisons[0].difference) == ("regression", -3.0)
    assert check(rows(CAREFUL), rows(list(CAREFUL)), "Ask first.", judge=judge()).pairs[0].unchanged
    with pytest.raises(ConfigError, match=r"Row 1 of the candidate cannot be judged: .*message 0, content part 0"):
        broken = [{"role": "assistant", "content": [{"type": "audio", "data": "x"}]}]
        check(rows(CAREFUL), rows(broken), "Ask first.", judge=judge())


def test_controls_change_the_last_text_of_a_run_and_leave_what_it_did():
    seen: list[str] = []
    polite = [*CAREFUL[:-1], {"role": "assistant", "content": f"{CAREFUL[-1]['content']} Goodbye."}]
    report = check(rows(CAREFUL), rows(polite), "Ask first.", judge=judge(seen), margin=0.8, controls=["rude"])
    (control,) = report.comparisons[0].controls
    assert (report.outcome, control.noticed, control.difference) == ("passed", True, -4.0)
    degraded = [turns for text in seen if "fool" in text for turns in json.loads(text)["responses"].values()]
    assert {json.dumps(turns[:-1]) for turns in degraded} == {json.dumps(degraded[0][:-1])}
    assert all(turns[-1]["role"] == "assistant" for turns in degraded)

    silent = [*CAREFUL[:-1], called("3", "stop")]
    ends = [*silent, returned("3", "stopped")]
    report = check(rows(silent), rows(ends), "Ask first.", judge=judge(), margin=0.8, controls=["cut"])
    assert report.outcome == "inconclusive"
    assert "none of the baseline's answers could be cut in half" in report.reason


def test_turns_are_aligned_from_those_that_both_runs_share():
    careful, hasty = read(CAREFUL).messages, read(HASTY).messages
    assert difference(careful, hasty) == ([1, 2], [])
    other = [called("9", "delete_files", before="2020-01-01"), *HASTY[1:]]
    other[1] = returned("9", "214 deleted")
    assert compare_turns(hasty, read(other).messages) == [
        TurnPair(1, 1, False), TurnPair(2, 2, True), TurnPair(3, 3, True),
    ]  # fmt: skip
    assert difference(hasty, read([HASTY[-1], HASTY[-1]]).messages) == ([1, 2], [2])


def test_a_report_shows_runs_turn_by_turn_and_hostile_ones_as_text():
    nasty = "".join(text for text in NASTY if text != "\ud800")
    hostile = read(
        [called("1", "x<script>", text=nasty), returned("1", nasty * 3), {"role": "assistant", "content": nasty}]
    )
    shared = [called("1", "search", query="q"), returned("1", "row\n" * 30)] * 3
    longer = read([*shared, *HASTY])
    page = html_report(a_report(pairs=[
        a_pair(1, baseline_response=read(CAREFUL), candidate_response=read(HASTY)),
        a_pair(2, baseline_response=longer, candidate_response=read([*shared, *CAREFUL])),
        a_pair(3, baseline_response=hostile, candidate_response="A text."),
    ]))  # fmt: skip
    read_page = Page(page)
    text = re.sub(r"\s+", " ", read_page.text)
    assert read_page.open == []
    assert "<script>alert" not in page.split("</style>")[1].rsplit("<script>", 1)[0]
    assert "1 assistant only here" in text
    assert "3 assistant same as turn 1" in text
    assert text.count("Turns 1 to 6: the same in both runs") == 2
    assert "differs from turn 3" in text  # the text, and the last turn of the run that it is compared with
