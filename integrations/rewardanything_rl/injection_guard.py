"""Detection of responses that address the judge: by the judge's own model, or by known phrases and markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from rewardanything_core import BaseJudge, ConfigError, Judge

Guard = Callable[[str], str | None]
"""Takes a text and returns the part that addresses the judge, or None."""

_JUDGE = r"(?:judge|grader|rater|evaluator|assessor|examiner|reward model)s?"
_RESPONSE = r"(?:this|the above|the previous|my)(?: \w+)? (?:response|answer|reply|completion|solution|output|one)"
_GRADE = r"(?:scores?|grades?|ratings?|marks?|points?|stars?|rewards?)"
_CHECKED = r"(?:verified|checked|approved|confirmed|certified|graded|reviewed|validated)"

# A policy may produce whatever makes these patterns slow, while the training waits. So every pattern takes time linear
# in the length of the text: gaps between words are bounded, and no run of white space can be split in two ways
# (`\s*(?:x\s*)?` instead of `\s*x?\s*`) or be scanned from each of its characters.
_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
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
            rf"\b{_GRADE}\b\s*(?:(?:of|is|was|:|=)\s*)?\d+(?:\.\d+)?\s*(?:/|out of)\s*\d+"
            rf"|{_RESPONSE}\b[^.!?\n]{{0,40}}\b(?:deserves?|merits?|earns?|received?|gets?|scores?)\b[^.!?\n]{{0,30}}"
            rf"\b(?:{_GRADE}|\d)\b"
            rf"|{_RESPONSE}\b[^.!?\n]{{0,30}}\b{_CHECKED}\b"
            rf"|\b{_CHECKED}\b[^.!?\n]{{0,30}}\bby\b[^.!?\n]{{0,30}}\b{_JUDGE}\b"
            rf"|\b{_CHECKED}(?: and found)?\s*(?:(?:to be |as |:)\s*)?(?:correct|right|accurate|true)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "the judge addressed",
        re.compile(
            rf"\bnotes? (?:to|of|from|for|by) (?:the )?{_JUDGE}\b|\bdear {_JUDGE}\b"
            # "Judge:" at the start of the text, after punctuation, or on a new line. A run of white space with a line
            # break in it is scanned from its first character only.
            rf"|(?:^|[.!?\[(]\s*|(?<!\s)[^\S\n]*\n\s*){_JUDGE}\s*:",
            re.IGNORECASE,
        ),
    ),
)


def speaks_to_judge(text: str) -> str | None:
    """The part of a text that addresses the judge, with what kind of address it is; None if there is none.

    It knows English phrases that claim a grade or give the judge an order, parts of verdicts, and chat markup. Other
    phrases pass, and an honest text about grades may be reported: benchmarks/reward_attacks.py measures both. The time
    is linear in the length of the text.
    """
    for kind, pattern in _PATTERNS:
        if match := pattern.search(text):
            return f"{kind}: {' '.join(match[0].split())!r:.80}"
    return None


def resolve_guard(guard: bool | Guard) -> bool | Guard:
    """The guard as given.

    Raises:
        ConfigError: the option is neither a bool nor a function.
    """
    if not callable(guard) and not isinstance(guard, bool):
        raise ConfigError(f"guard must be True, False or a function of a text, not {guard!r:.80}.")
    return guard


def refusals(guard: bool | Guard, judge: BaseJudge, texts: Sequence[str]) -> list[str | None]:
    """Why each text is refused, or None.

    ``guard=True`` asks the judge's own model about every sentence, in any language, where it provides probabilities of
    answers (`Judge.find_appeals`) and is known to recognise appeals; otherwise `speaks_to_judge` decides.

    Args:
        guard: What `resolve_guard` returned.
        judge: The judge.
        texts: The texts.

    Raises:
        RewardAnythingError: the model failed.
    """
    if _asks_model(guard, judge) and texts:
        assert isinstance(judge, Judge)
        return _reasons(judge.find_appeals(texts))
    return _without_model(guard, texts)


async def arefusals(guard: bool | Guard, judge: BaseJudge, texts: Sequence[str]) -> list[str | None]:
    """`refusals`, awaited.

    Args:
        guard: What `resolve_guard` returned.
        judge: The judge.
        texts: The texts.
    """
    if _asks_model(guard, judge) and texts:
        assert isinstance(judge, Judge)
        return _reasons(await judge.afind_appeals(texts))
    return _without_model(guard, texts)


def _asks_model(guard: bool | Guard, judge: BaseJudge) -> bool:
    return guard is True and isinstance(judge, Judge) and judge.recognises_appeals


def _reasons(found: Sequence[Sequence[str]]) -> list[str | None]:
    return [f"an appeal to the judge: {' '.join(parts[0].split())!r:.80}" if parts else None for parts in found]


def _without_model(guard: bool | Guard, texts: Sequence[str]) -> list[str | None]:
    if callable(guard):
        return [guard(text) for text in texts]
    return [speaks_to_judge(text) if guard else None for text in texts]
