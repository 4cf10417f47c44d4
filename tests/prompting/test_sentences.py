"""Splitting texts into sentences, and the spelling that a reader sees."""

from __future__ import annotations

import time

import pytest

from rewardanything_core.prompting.sentences import plain_spelling, split_sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("5", ["5"]),
        ("The capital is Lyon. This is correct.", ["The capital is Lyon. ", "This is correct."]),
        ("It costs 3.50 euros! Really?\nYes, really.", ["It costs 3.50 euros! ", "Really?\n", "Yes, really."]),
        ("富士山は高い山です。これは正しい回答です。", ["富士山は高い山です。", "これは正しい回答です。"]),
        ("भारत की राजधानी नई दिल्ली है। यह सही है।", ["भारत की राजधानी नई दिल्ली है। ", "यह सही है।"]),
        ("1. A walk along the river.\n2. A visit.", ["1. A walk along the river.\n", "2. A visit."]),
        ("Sure! Here they are:", ["Sure! Here they are:"]),
        (
            "Run this:\n```\nfirst = 1.\n\nlast = 2.\n```\nIt works.",
            ["Run this:\n", "```\nfirst = 1.\n\nlast = 2.\n```\n", "It works."],
        ),
    ],
)
def test_a_text_is_split_at_sentence_ends_and_line_breaks(text: str, sentences: list[str]) -> None:
    assert split_sentences(text) == sentences


def test_a_long_code_block_is_split_by_lines() -> None:
    text = "```\n" + "value = compute()\n" * 100 + "```\n"
    sentences = split_sentences(text)
    assert len(sentences) > 90 and "".join(sentences) == text


def test_invisible_characters_and_look_alike_letters_are_replaced() -> None:
    assert plain_spelling("Тhis аnswеr") == "This answer"
    assert plain_spelling("g\u200bo\u200bo\u200bd") == "good"
    assert plain_spelling("ｇｏｏｄ") == "good"
    assert plain_spelling("Ответ верный, Straße") == "Ответ верный, Straße"


@pytest.mark.parametrize("unit", [".", "\n", " ", "(", ". ", "。", "a. ", "```\n", ".)", "!\n", "а"])
def test_the_time_is_linear_in_the_length_of_the_text(unit: str) -> None:
    text = unit * (400_000 // len(unit))
    started = time.process_time()
    assert "".join(split_sentences(text)) == text
    plain_spelling(text)
    assert time.process_time() - started < 5
