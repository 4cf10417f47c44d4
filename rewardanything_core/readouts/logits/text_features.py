"""Facts that a program measures and a small model does not see: a text's length and form, and what it repeats."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable
from itertools import pairwise

_ITEM = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+\S", re.MULTILINE)
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s+\S", re.MULTILINE)
_BOLD = re.compile(r"(\*\*|__)(?=\S)[^\n]+?(?<=\S)\1")
_TABLE = re.compile(r"^\s*\|.*\|\s*$", re.MULTILINE)
_FENCE = re.compile(r"^\s*(?:```|~~~)", re.MULTILINE)
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_QUESTION = re.compile(r"[?？؟]+")
_TOKEN = re.compile(rf"{_WIDE.pattern}|(?:(?!{_WIDE.pattern})[^\W_])+")


def words(text: str) -> int:
    """Words between spaces; in scripts without spaces, a character counts as half a word."""
    wide = len(_WIDE.findall(text))
    return len(_WIDE.sub(" ", text).split()) + math.ceil(wide / 2)


def _code_blocks(text: str) -> int:
    return math.ceil(len(_FENCE.findall(text)) / 2)


def _list_items(text: str) -> int:
    return len(_ITEM.findall(text))


def _marks(text: str) -> int:
    found = sum(len(pattern.findall(text)) for pattern in (_HEADING, _BOLD, _TABLE))
    return found + _list_items(text) + _code_blocks(text)


def _emoji(text: str) -> int:
    return sum(unicodedata.category(character) == "So" and ord(character) > 0x2190 for character in text)


def _questions(text: str) -> int:
    return len(_QUESTION.findall(text))


MEASURES: dict[str, tuple[Callable[[str], int], str, int]] = {
    "length": (words, "words", 60),
    "markup": (_marks, "marks of formatting", 1),
    "list": (_list_items, "list items", 1),
    "code": (_code_blocks, "code blocks", 0),
    "emoji": (_emoji, "emoji", 0),
    "question": (_questions, "questions", 0),
}
"""Name of a fact -> how it is counted, what is counted, and the count that is neither much nor little."""


FAR = 1.5
"""What `amount` does not exceed."""


def count(name: str, text: str) -> int:
    """How much of it a text has: 0 or more of what `MEASURES` says."""
    return MEASURES[name][0](text)


def amount(name: str, text: str) -> float:
    """How much above or below the usual count, within -1.5..1.5.

    In the middle, doubling the count is about the same step everywhere. Far out steps become smaller: ten thousand
    words are hardly longer than five thousand.
    """
    measure, _, usual = MEASURES[name]
    ratio = math.log1p(measure(text)) - math.log1p(usual)
    return FAR * math.tanh(ratio / FAR)


LEAST_SOURCE = 80
"""Words of a prompt that may be a text to be kept to. A question is none: what repeats it is not better backed."""


def is_source(text: str) -> bool:
    """Whether a prompt is long enough to hold a text that responses are to keep to."""
    return words(text) >= LEAST_SOURCE


def backed(text: str, source: str) -> float:
    """The share of pairs of neighbouring words that stand in the source too, above 0 and below 1.

    Summaries that people find true to the article have a larger share. It cannot see a pair of words that is put to
    another use.
    """
    known, said = set(_word_pairs(source)), _word_pairs(text)
    return (sum(pair in known for pair in said) + 1) / (len(said) + 2)


def backing(share: float) -> float:
    """A share of `backed` on the scale of `amount`, -1.5..1.5."""
    return FAR * math.tanh(math.log(share / (1 - share)) / 2 / FAR)


def _word_pairs(text: str) -> list[tuple[str, str]]:
    tokens = _TOKEN.findall(text.lower())
    return list(pairwise(tokens))
