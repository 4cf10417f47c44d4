"""Text features: their counts, and that no text takes more than linear time."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardanything_core.readouts.pointwise import text_features
from rewardanything_core.readouts.pointwise.questions import question_set


@pytest.mark.parametrize(
    ("feature", "text", "expected"),
    [
        ("length", "Three short words.", 3),
        ("length", "これは日本語の文です", 5),
        ("markup", "# Title\n\n- one\n- two\n\n**bold** and | no table", 4),
        ("markup", "2 * 3 * 4 is 24, and snake_case__name is a name", 0),
        ("list", "1. one\n2) two\n- three\nnot - four", 3),
        ("code", "```python\nprint()\n```\ntext\n```\nx\n```", 2),
        ("emoji", "Fine 😀🎉 (c) ok", 2),
        ("question", "Why?? And how? No.", 2),
    ],
)
def test_features_are_counted(feature: str, text: str, expected: int) -> None:
    assert text_features.count(feature, text) == expected


def test_groundedness_is_the_smoothed_share_of_bigrams_in_any_script() -> None:
    source = "The cat sleeps. 東京は雨です"
    assert text_features.groundedness("the cat sleeps", source) == pytest.approx(3 / 4)
    assert text_features.groundedness("the dog sleeps", source) == pytest.approx(1 / 4)
    assert text_features.groundedness("東京は", source) == pytest.approx(3 / 4)
    assert 0 < text_features.groundedness("", source) < 1
    assert text_features.groundedness_amount(0.5) == 0
    assert text_features.groundedness_amount(0.01) == pytest.approx(-text_features.groundedness_amount(0.99))


def test_every_feature_in_the_questions_can_be_counted() -> None:
    questions = question_set()
    assert {pair.name for pair in (*questions.feature_traits, *questions.feature_questions)} == set(
        text_features.FEATURES
    )
    assert text_features.relative_amount("length", "word " * 60) == 0


# The features as regular expressions with quadratic running time: the definitions that the linear code must match.
_BY_DEFINITION: dict[str, tuple[Callable[[str], int], re.Pattern[str]]] = {
    "list items": (
        text_features._list_items,
        re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+\S", re.MULTILINE),
    ),
    "headings": (text_features._headings, re.compile(r"^\s{0,3}#{1,6}\s+\S", re.MULTILINE)),
    "bold spans": (text_features._bold_spans, re.compile(r"(\*\*|__)(?=\S)[^\n]+?(?<=\S)\1")),
    "table rows": (text_features._table_rows, re.compile(r"^\s*\|.*\|\s*$", re.MULTILINE)),
}
_PIECES = [*"\n \t\r\u2028\xa0-*_+•#|a", "**", "__", "##", "|x|", "1.", "12)", "1234.", "b c"]


@pytest.mark.parametrize("feature", _BY_DEFINITION)
@settings(max_examples=500, deadline=None)
@given(text=st.lists(st.sampled_from(_PIECES), max_size=20).map("".join))
def test_the_linear_counts_match_their_definitions(feature: str, text: str) -> None:
    count, definition = _BY_DEFINITION[feature]
    assert count(text) == len(definition.findall(text))


_UNITS = [
    *"\n \t-#*_`~|1?+a字😀",
    *("1.", "- ", "\n- ", "-\n", "# ", "\n#", "\n|", "|\n", "| |\n", " **a", " __a", "**a\n", "```\n", "\n\n\n- a"),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("unit", _UNITS)
def test_features_of_a_megabyte_take_linear_time(unit: str) -> None:
    """Quadratic time would be hours for a megabyte; linear time is below a second."""
    text = (unit * 1_000_000)[:1_000_000]
    started = time.process_time()
    for feature in text_features.FEATURES:
        text_features.count(feature, text)
    text_features.groundedness(text, text)
    assert time.process_time() - started < 10


@pytest.mark.parametrize("unit", ["\n", "\n|", " **a", "\n- "])
def test_ten_times_the_text_takes_about_ten_times_as_long(unit: str) -> None:
    def seconds(characters: int) -> float:
        text = (unit * characters)[:characters]
        times = []
        for _ in range(3):
            started = time.process_time()
            text_features.count("markup", text)
            times.append(time.process_time() - started)
        return min(times)

    assert seconds(500_000) < 40 * seconds(50_000)  # 100 times if it were quadratic
