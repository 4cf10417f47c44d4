"""Text features: properties of a response that a program measures more reliably than a small model judges them.

Every function here runs in time linear in the length of the text: responses come from untrusted models, and a regular
expression with quadratic behaviour would let one response block the process.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

MAX_AMOUNT = 1.5
"""Bound of `relative_amount` and `groundedness_amount`, in log units. Not swept."""

MIN_SOURCE_WORDS = 80
"""Words from which a prompt may contain a source text. Shorter prompts are questions, and repeating a question does not
make a response better grounded."""

# A list item starts with a marker as the first token of a line, and some text follows. The expression starts only at
# the beginning of a run of whitespace and does not backtrack into it; `^\s*` would scan a run of n newlines n times.
_LIST_ITEM = re.compile(r"(?:\A\s*+|(?<=\S)[^\S\n]*+\n\s*+)(?:[-*+•]|\d{1,3}[.)])\s++\S")
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s++\S", re.MULTILINE)
_BOLD_OPENING = re.compile(r"(\*\*|__)(?=\S)")
_BOLD_CLOSING = {"**": re.compile(r"(?<=\S)\*\*"), "__": re.compile(r"(?<=\S)__")}
_WIDE_CHARACTER = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")  # scripts without spaces between words
_QUESTION_MARKS = re.compile(r"[?？؟]+")
_TOKEN = re.compile(rf"{_WIDE_CHARACTER.pattern}|(?:(?!{_WIDE_CHARACTER.pattern})[^\W_])+")


@dataclass(frozen=True)
class TextFeature:
    """A property of a text that can be counted."""

    count: Callable[[str], int]
    """Counts it in a text: 0 or more."""

    unit: str
    """What is counted, as a plural noun."""

    typical: int
    """The count that is neither high nor low for a response."""


def word_count(text: str) -> int:
    """Number of whitespace-separated words; in scripts without spaces, each character counts as half a word."""
    wide = len(_WIDE_CHARACTER.findall(text))
    return len(_WIDE_CHARACTER.sub(" ", text).split()) + math.ceil(wide / 2)


def _list_items(text: str) -> int:
    return len(_LIST_ITEM.findall(text))


def _headings(text: str) -> int:
    return len(_HEADING.findall(text))


def _bold_spans(text: str) -> int:
    """Spans such as ``**bold**`` or ``__bold__`` within one line.

    Where an opening delimiter has no closing one, no later opening in that line has one either, so the rest of the line
    need not be searched again; that keeps the search linear.
    """
    spans = position = line_end = 0
    unclosed_until = {"**": 0, "__": 0}
    while opening := _BOLD_OPENING.search(text, position):
        start, delimiter = opening.start(), opening[1]
        position = start + 1
        if start < unclosed_until[delimiter]:
            continue
        if start >= line_end:
            newline = text.find("\n", start)
            line_end = len(text) if newline < 0 else newline
        closing = _BOLD_CLOSING[delimiter].search(text, start + 3, line_end)
        if closing is None:
            unclosed_until[delimiter] = line_end
        else:
            spans += 1
            position = closing.end()
    return spans


def _table_rows(text: str) -> int:
    lines = (line.strip() for line in text.split("\n"))
    return sum(len(line) > 1 and line[0] == line[-1] == "|" for line in lines)


def _code_blocks(text: str) -> int:
    fences = sum(line.lstrip().startswith(("```", "~~~")) for line in text.split("\n"))
    return math.ceil(fences / 2)


def _markup_elements(text: str) -> int:
    return sum(count(text) for count in (_headings, _bold_spans, _table_rows, _list_items, _code_blocks))


def _emoji(text: str) -> int:
    return sum(unicodedata.category(character) == "So" and ord(character) > 0x2190 for character in text)


def _questions(text: str) -> int:
    return len(_QUESTION_MARKS.findall(text))


FEATURES: dict[str, TextFeature] = {
    "length": TextFeature(word_count, "words", 60),
    "markup": TextFeature(_markup_elements, "Markdown elements", 1),
    "list": TextFeature(_list_items, "list items", 1),
    "code": TextFeature(_code_blocks, "code blocks", 0),
    "emoji": TextFeature(_emoji, "emoji", 0),
    "question": TextFeature(_questions, "questions", 0),
}
"""The features, by the names that ``questions.toml`` uses for them."""


def count(feature: str, text: str) -> int:
    """Count a feature in a text.

    Args:
        feature: A name in `FEATURES`.
        text: The text.

    Returns:
        The count, 0 or more.
    """
    return FEATURES[feature].count(text)


def relative_amount(feature: str, text: str) -> float:
    """How far the count of a feature is above or below the typical count, on a log scale.

    Near the typical count, each doubling adds about the same amount. The tanh compresses extremes: ten thousand words
    are hardly longer than five thousand.

    Args:
        feature: A name in `FEATURES`.
        text: The text.

    Returns:
        -1.5..1.5; 0 at the typical count.
    """
    definition = FEATURES[feature]
    log_ratio = math.log1p(definition.count(text)) - math.log1p(definition.typical)
    return MAX_AMOUNT * math.tanh(log_ratio / MAX_AMOUNT)


def is_source(text: str) -> bool:
    """Whether a prompt is long enough to contain a source text that responses should be grounded in."""
    return word_count(text) >= MIN_SOURCE_WORDS


def groundedness(text: str, source: str) -> float:
    """Share of the text's word bigrams that also occur in the source, with add-one smoothing.

    This is the complement of the share of novel bigrams, a usual measure of how abstractive a summary is (See et al.
    2017, arXiv 1704.04368). On SummEval it orders .84 of the pairs of summaries as people do under "consistency"
    (benchmarks/README.md, section on constants.py). It does not detect source phrases recombined into a false claim.

    Args:
        text: The response.
        source: The text that the response should be grounded in.

    Returns:
        Above 0 and below 1.
    """
    source_bigrams, bigrams = set(_word_bigrams(source)), _word_bigrams(text)
    return (sum(bigram in source_bigrams for bigram in bigrams) + 1) / (len(bigrams) + 2)


def groundedness_amount(share: float) -> float:
    """A `groundedness` share, 0..1 exclusive, on the scale of `relative_amount`: half its log-odds within -1.5..1.5."""
    return MAX_AMOUNT * math.tanh(math.log(share / (1 - share)) / 2 / MAX_AMOUNT)


def _word_bigrams(text: str) -> list[tuple[str, str]]:
    return list(pairwise(_TOKEN.findall(text.lower())))
