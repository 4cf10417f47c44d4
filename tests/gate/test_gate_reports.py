"""Reports state the facts in every format, and texts from outside are inert in them."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import pytest
from check_reports import Page, a_comparison, a_failure, a_pair, a_report, anything, hostile, patient
from hypothesis import given
from markdown_it import MarkdownIt
from rich.cells import cell_len

from rewardanything_core.gate.reports import wording
from rewardanything_core.gate.reports.html import html_report
from rewardanything_core.gate.reports.junit import junit_report
from rewardanything_core.gate.reports.markdown import COMMENT_LIMIT, markdown_report
from rewardanything_core.gate.reports.terminal import terminal_report
from rewardanything_core.gate.results import Requirement
from rewardanything_core.principles import Principle
from rewardanything_core.types import Usage

# --- the facts


@pytest.mark.parametrize("written", [terminal_report, markdown_report, junit_report, html_report])
def test_every_report_states_the_numbers_and_the_reasons(written):
    text = written(a_report()).replace("−", "-")
    text = re.sub(r"&#(\d+);", lambda match: chr(int(match[1])), text)
    for fact in ("brief", "-0.43", "-0.61 to -0.25", "0.30", "12 / 41 / 43", "a significant drop", "q1", "q7"):
        assert fact in text, fact
    for fact in ("4.31", "3.88", "0.37", "4%", "VerdictParseError", "5.00", "3.50", "-1.50"):
        assert fact in text, fact
    if written is not junit_report:
        for fact in ("480 calls", "120,333 prompt tokens", "$1.23", "George Eliot, I believe."):
            assert fact in Page(text).text if written is html_report else fact in text, fact


def test_cases_left_out_are_reported():
    report = a_report(planned=200, looked=50, missing=("x1", "x2", "x3", "x4", "x5", "x6", "x7"))
    for written in (terminal_report, markdown_report, html_report):
        text = " ".join(written(report).split())
        assert "50 of 200 cases were judged." in text
        assert "7 ids were left out" in text
        assert "x5 and 2 more" in text


def test_several_candidates_are_distinguished():
    report = a_report([a_comparison(candidate="v2"), a_comparison(candidate="v3", outcome="passed")], [])
    for written in (terminal_report, junit_report, html_report):
        assert "v2: brief" in written(report)
        assert "v3: brief" in written(report)
    assert "v2: brief" in markdown_report(report)


def test_rounding_does_not_move_an_interval_onto_the_margin():
    assert wording.interval(a_comparison(low=-0.2996, high=0.1)) == "-0.300 to +0.10"
    assert wording.interval(a_comparison(low=-0.2951, high=0.1)) == "-0.295 to +0.10"
    assert wording.interval(a_comparison(low=-0.25, high=-0.0001)) == "-0.25 to 0.00"


def test_a_report_without_results_can_be_rendered():
    empty = a_comparison(
        outcome="inconclusive", difference=None, baseline_score=None, candidate_score=None, noise=None, n=0, cases=0
    )
    report = a_report([empty], [a_failure(7)], outcome="inconclusive", usage=Usage())
    for written in (terminal_report, markdown_report, junit_report, html_report):
        assert "nan" not in written(report).lower()
    assert "every verdict was in the store" in " ".join(terminal_report(report).split())
    assert "svg" not in Page(html_report(report)).tags


def test_too_many_failures_are_stated_in_every_report():
    empty = a_comparison(outcome="inconclusive", difference=None, cases=0, n=0)
    report = a_report([empty], [a_failure(7)], outcome="inconclusive", exhausted=True)
    assert "too many judgements failed" in markdown_report(report)
    assert "too many judgements failed" in html_report(report)
    assert 'name="too many failures" value="yes"' in junit_report(report)
    assert 'name="too many failures" value="no"' in junit_report(a_report())


def test_a_report_is_json():
    known = json.loads(json.dumps(a_report().to_dict()))
    assert known["exit_code"] == 1
    assert known["comparisons"][0]["noise"]["flips"] == 0.04
    assert [pair["id"] for pair in known["pairs"]] == ["q1", "q2", "q7"]


# --- on a terminal


@pytest.mark.parametrize("width", [60, 80, 120])
def test_lines_fit_the_terminal(width):
    long = a_pair(3, id="an-id-that-is-rather-long-" * 6, candidate_response="word " * 5_000 + "x" * 500)
    report = a_report(pairs=[long, a_pair(4, prompt="why " * 200, baseline_response="你好" * 300)])
    assert max(cell_len(line) for line in terminal_report(report, width=width).splitlines()) <= width


def test_colours_change_nothing_else():
    plain, colored = terminal_report(a_report()), terminal_report(a_report(), color=True)
    assert "\x1b" not in plain
    assert "\x1b[" in colored
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert [line.rstrip() for line in stripped.splitlines()] == plain.splitlines()


@patient
@given(anything)
def test_answers_are_inert_on_a_terminal(text):
    printed = terminal_report(hostile(text))
    assert all(wording.visible(line) == line for line in printed.splitlines())
    printed.encode()


# --- Markdown


def tokens(text: str) -> list:
    found = MarkdownIt("commonmark").enable("table").enable("strikethrough").parse(text)
    return [each for token in found for each in (token, *(token.children or []))]


@patient
@given(anything)
def test_answers_are_inert_in_markdown(text):
    written = markdown_report(hostile(text))
    written.encode()
    assert len(written) < COMMENT_LIMIT
    found = tokens(written)
    assert {token.type for token in found}.isdisjoint(
        {"link_open", "image", "em_open", "s_open", "blockquote_open", "code_block", "hr", "ordered_list_open"}
    )
    assert sum(token.type == "table_open" for token in found) == 1
    rows = [line for line in written.split("```")[0].splitlines() if line.startswith("|")]
    assert [row.count("|") for row in rows] == [8, 8, 8, 8]
    for token in found:
        if token.type in ("html_block", "html_inline"):
            assert not re.sub(r"</?(details|summary|b|code|sub)>", "", token.content).count("<")
        if token.type == "text":  # GitHub looks for these in text that is not code
            assert not re.search(r"@\w", token.content) or _within_code(found, token)
            assert not re.search(r"#\d", token.content) or _within_code(found, token)


def _within_code(found, token) -> bool:
    before = [each.content for each in found[: found.index(token)] if each.type == "html_inline"]
    return before.count("<code>") > before.count("</code>")


@given(anything)
def test_code_blocks_hold_texts_verbatim(text):
    pair = a_pair(1, prompt="p", reasoning=text, baseline_response="a", candidate_response="b")
    blocks = [token.content for token in tokens(markdown_report(a_report(pairs=[pair]))) if token.type == "fence"]
    wanted = "".join(wording.visible(wording.reasoning(pair)).split())  # repeated paragraphs are shown once
    assert not wanted or any("".join(block.split()) == wanted for block in blocks)


@pytest.mark.parametrize("limit", [4_000, 20_000, 60_000])
def test_markdown_keeps_its_limit_and_states_what_it_leaves_out(limit):
    many = [a_comparison(candidate=f"c{number}") for number in range(12)]
    pairs = [
        a_pair(n, candidate=f"c{number}", candidate_response="@x `" * 3_000, reasoning="because\n" * 2_000)
        for number in range(12)
        for n in range(9)
    ]
    written = markdown_report(a_report(many, pairs), limit=limit)
    assert len(written) <= max(limit, len(markdown_report(a_report(many, []))) + 400)
    shown = written.count("#### <code>")
    assert f"{60 - shown} cases are not shown here for length." in written
    assert len(markdown_report(a_report(many * 20, pairs[:9], reason="r" * 10**6))) < COMMENT_LIMIT


def test_the_first_case_of_every_comparison_comes_before_the_second_of_any():
    many = [a_comparison(candidate=f"c{number}") for number in range(5)]
    pairs = [a_pair(n, candidate=f"c{k}", reasoning="r " * 1_400) for k in range(5) for n in range(3)]
    written = markdown_report(a_report(many, pairs), limit=24_000)
    assert written.count("<code>q0</code>") == 5
    assert written.count("<code>q2</code>") < 5


# --- JUnit


def test_junit_agrees_with_the_outcomes():
    principles = [Principle("x", name=name) for name in ("fell", "unclear", "fine")]
    outcomes = ("regression", "inconclusive", "passed")
    comparisons = [
        a_comparison(requirement=Requirement(principle=principle, margin=0.3), outcome=outcome)
        for principle, outcome in zip(principles, outcomes, strict=True)
    ]
    pairs = [a_pair(1, principle="fell", min_score=4.0)]
    pairs += [a_failure(7, principle=principle.name) for principle in principles]
    root = ET.fromstring(junit_report(a_report(comparisons, pairs)).encode())
    assert {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "7",
        "failures": "2",
        "errors": "3",
        "skipped": "1",
    }
    found = {
        (suite.get("name"), test.get("name")): next((e.tag for e in test if e.tag != "system-out"), None)
        for suite in root
        for test in suite.iter("testcase")
    }
    assert found == {
        ("candidate: fell", "no worse than the baseline"): "failure",
        ("candidate: fell", "q1 scores at least 4.00"): "failure",
        ("candidate: fell", "q7 was judged"): "error",
        ("candidate: unclear", "no worse than the baseline"): "error",
        ("candidate: unclear", "q7 was judged"): "error",
        ("candidate: fine", "no worse than the baseline"): None,
        ("candidate: fine", "q7 was judged"): "skipped",
    }


@patient
@given(anything)
def test_junit_is_valid_xml_for_any_answers(text):
    root = ET.fromstring(junit_report(hostile(text)).encode())
    broken = root.find(".//failure[@type='min_score']")
    assert broken is not None
    assert f"After:\n{wording.visible(text) or '[empty]'}" in broken.text
