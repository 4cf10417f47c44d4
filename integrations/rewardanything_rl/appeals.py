"""Responses that speak to whoever judges them."""

from __future__ import annotations

import re
from collections.abc import Callable

from rewardanything_core import ConfigError

Guard = Callable[[str], str | None]
"""A text -> what in it is addressed to the judge. None: nothing."""

_JUDGE = r"(?:judge|grader|rater|evaluator|assessor|examiner|reward model)s?"
_RESPONSE = r"(?:this|the above|the previous|my)(?: \w+)? (?:response|answer|reply|completion|solution|output|one)"
_GRADE = r"(?:scores?|grades?|ratings?|marks?|points?|stars?|rewards?)"
_CHECKED = r"(?:verified|checked|approved|confirmed|certified|graded|reviewed|validated)"

_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "markup of a chat template",
        re.compile(
            r"<\|[^<>|\n]{1,64}\|>|<｜[^<>｜\n]{1,64}｜>|</?think(?:ing)?>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
        ),
    ),
    ("a part of a verdict", re.compile(r'"best-to-worst"|"model-\d+"\s*:|"principle"\s*:')),
    (
        "an instruction to the judge",
        re.compile(
            r"\b(?:ignore|disregard|forget|override)\b[^.!?\n]{0,40}\b(?:instructions?|principles?|criteri(?:a|on)|rubrics?)\b"
            r"|\bnew (?:principle|criteri(?:a|on)|rubric|instructions?)\s*:"
            r"|\b(?:give|award|assign|grant)\b[^.!?\n]{0,30}\b(?:response|answer|reply|completion|one|me|it)\b"
            rf"[^.!?\n]{{0,30}}\b{_GRADE}\b"
            rf"|\b(?:score|grade|rate|rank|prefer)\b {_RESPONSE}\b",
            re.IGNORECASE,
        ),
    ),
    (
        "a claim about its own grade",
        re.compile(
            rf"\b{_GRADE}\b\s*(?:of|is|was|:|=)?\s*\d+(?:\.\d+)?\s*(?:/|out of)\s*\d+"
            rf"|{_RESPONSE}\b[^.!?\n]{{0,40}}\b(?:deserves?|merits?|earns?|received?|gets?|scores?)\b[^.!?\n]{{0,30}}"
            rf"\b(?:{_GRADE}|\d)\b"
            rf"|{_RESPONSE}\b[^.!?\n]{{0,30}}\b{_CHECKED}\b"
            rf"|\b{_CHECKED}\b[^.!?\n]{{0,30}}\bby\b[^.!?\n]{{0,30}}\b{_JUDGE}\b"
            rf"|\b{_CHECKED}(?: and found)?\s*(?:to be |as |:)?\s*(?:correct|right|accurate|true)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "the judge addressed",
        re.compile(
            rf"\bnotes? (?:to|of|from|for|by) (?:the )?{_JUDGE}\b|\bdear {_JUDGE}\b|(?:^|[.!?\[(\n]\s*){_JUDGE}\s*:",
            re.IGNORECASE,
        ),
    ),
)


def speaks_to_judge(text: str) -> str | None:
    """What in a text is addressed to the judge, with its words; None if nothing of a known form is.

    Known are claims of having been graded, orders to the judge, parts of verdicts and markup, in English. Others are
    not found, and a text that speaks of grades because its prompt does is: see the figures in the benchmarks.
    """
    for kind, form in _FORMS:
        if found := form.search(text):
            return f"{kind}: {' '.join(found[0].split())!r:.80}"
    return None


def guard_of(guard: bool | Guard) -> Guard | None:
    """The guard that an option asks for: True is `speaks_to_judge`, False none."""
    if callable(guard):
        return guard
    if not isinstance(guard, bool):
        raise ConfigError(f"guard must be True, False or a function of a text, not {guard!r:.80}.")
    return speaks_to_judge if guard else None
