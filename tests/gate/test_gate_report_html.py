"""The HTML report: texts are inert and complete, and changes between two answers are marked."""

from __future__ import annotations

import re
import time

import pytest
from check_reports import Page, a_comparison, a_failure, a_pair, a_report, anything, hostile, patient
from hypothesis import given

from rewardanything_core.gate.reports import diff, wording
from rewardanything_core.gate.reports.html import html_report
from rewardanything_core.gate.reports.pages import TEMPLATES

KNOWN_TAGS = set(
    "html head meta title style body main script h1 h2 h3 h4 p div strong section table thead tbody tr th td a span "
    "dl dt dd small figure figcaption svg rect line circle text article code del ins details summary input label em "
    "ul li".split()
)


@patient
@given(anything)
def test_answers_are_inert_in_html(text):
    page = Page(html_report(hostile(text)))
    assert page.open == []
    assert set(page.tags) <= KNOWN_TAGS
    assert page.scripts == (TEMPLATES / "filter.js").read_text()
    assert not any(name.startswith("on") or name in ("src", "style", "srcdoc") for name in page.attributes)
    assert wording.visible(text) in page.text


def test_a_page_loads_nothing_and_runs_only_its_own_script():
    page = html_report(a_report())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r"(https?:)?//(?!\s)[a-z]", page.split("<script>")[0].split("</style>")[1])


def test_long_answers_fold_and_are_complete():
    long = " ".join(f"word{number}" for number in range(15_000))
    page = html_report(a_report(pairs=[a_pair(1, baseline_response=long, candidate_response=long[:-40])]))
    read = Page(page)
    assert "word14999" in read.text
    assert all(f"word{number}" in read.text for number in range(0, 15_000, 999))
    assert f"Show all ({len(long):,} and {len(long) - 40:,} characters)" in read.text
    assert "characters that both answers share" in read.text


def test_a_report_of_many_cases_stays_small_and_fast():
    pairs = [
        a_pair(n, difference=(n % 17 - 8) / 2, baseline_response="b" * 2_000, candidate_response="c" * 2_000)
        for n in range(5_000)
    ]
    started = time.monotonic()
    page = html_report(a_report(pairs=pairs))
    assert time.monotonic() - started < 10
    assert len(page) < 4_000_000
    read = Page(page)
    assert f"Worst cases (10 of {sum(pair.difference < 0 for pair in pairs):,})" in read.text
    assert "All 5,000 cases" in read.text
    assert read.tags.count("article") == 13
    assert read.tags.count("tr") == 5_001


def test_a_shortened_list_states_what_it_leaves_out():
    many = [a_comparison(candidate=f"c{number}") for number in range(120)]
    pairs = [a_pair(n, candidate="c0", difference=(n - 150) / 100) for n in range(300)]
    read = Page(html_report(a_report(many, pairs)))
    assert "100 cases in the middle are left out of this list" in read.text
    assert "q0" in read.text


def test_wins_failures_and_missed_minimums_are_shown():
    pairs = [
        a_pair(1, min_score=4.0),
        a_pair(2, difference=2.0, baseline_score=2.0, candidate_score=4.0),
        a_pair(3, candidate_response="George Eliot.", difference=0.0),
        a_failure(4),
    ]
    text = Page(html_report(a_report(pairs=pairs))).text
    assert "must be at least 4.00" in text
    assert "Best cases" in text
    assert "Not judged: 1 pair of answers" in text
    assert "same answer" in text
    assert "ra-judge log --show 3f9a1b2c3d4e" in text


def test_only_the_first_case_is_open():
    pairs = [a_pair(1), a_pair(2), a_pair(3, difference=2.0, candidate_score=4.0)]
    page = html_report(a_report(pairs=pairs))
    assert page.count("<details open>") == 2  # the case and its reasoning
    assert page.index("<details open>") < page.index("q2")


def test_repeated_reasoning_is_shown_once():
    twice = "The baseline is shorter.\n\nThe candidate is polite.\n\nThe baseline is shorter."
    text = Page(html_report(a_report(pairs=[a_pair(1, reasoning=twice)]))).text
    assert text.count("The baseline is shorter.") == 1
    assert "The candidate is polite." in text


def test_a_run_without_a_changed_answer_has_no_interval():
    unchanged = a_comparison(
        outcome="passed", reason="No answer changed.", n=12, cases=12, unchanged=12, failures=0, difference=0.0,
        low=-0.88, high=0.88, baseline_score=None, candidate_score=None,
    )  # fmt: skip
    same = {"baseline_score": None, "candidate_score": None, "difference": 0.0, "candidate_response": "George Eliot."}
    report = a_report(
        [unchanged], [a_pair(n, **same) for n in range(12)], outcome="passed", reason="No answer changed."
    )
    page = html_report(report)
    assert "interval" not in Page(page).text.partition("How this was decided")[0]
    assert "0.88" not in page
    assert "n/a" not in Page(page).text.partition("All 12 cases")[0]


# --- what changed between two texts


@given(anything, anything)
def test_pieces_concatenate_to_the_texts(old, new):
    found = diff.compare(old, new)
    assert "".join(piece.text for piece in found.old) == old
    assert "".join(piece.text for piece in found.new) == new
    if old == new:
        assert not any(piece.changed for piece in found.old + found.new)


def test_changed_words_are_marked():
    found = diff.compare("Open the console and press Restart.", "Open the console and click on Restart.")
    assert [piece.text for piece in found.old if piece.changed] == ["press"]
    assert [piece.text for piece in found.new if piece.changed] == ["click on"]


def test_texts_with_little_in_common_are_not_marked():
    found = diff.compare("Paris is the capital.", "I cannot say anything of use here, sorry!")
    assert "little in common" in found.note
    assert not any(piece.changed for piece in found.old + found.new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("a " * 50_000, "b " * 50_000),
        ("a b " * 25_000, "b a " * 25_000),
        ("a\n" * 50_000, "b\n" * 50_000),
        ("x" * 100_000, "y" * 100_000),
        (" ".join(str(n * n % 977) for n in range(20_000)), " ".join(str(n * n % 991) for n in range(20_000))),
    ],
)
def test_long_texts_are_compared_quickly(old, new):
    started = time.monotonic()
    diff.compare(old, new)
    assert time.monotonic() - started < 10
