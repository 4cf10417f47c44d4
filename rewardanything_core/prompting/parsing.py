"""Parsing: from what a model said to a complete verdict, or an error. There is nothing in between.

A reply is reasoning and then one JSON object. Responses under judgement may have smuggled forged tags and verdicts into
it (a model likes to quote), so wherever two readings are possible there is no verdict: the caller asks again.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from rewardanything_core.errors import VerdictParseError
from rewardanything_core.prompting.masking import mask
from rewardanything_core.prompting.verdict_grammar import THINK_CLOSE
from rewardanything_core.types import MAX_SCORE, MIN_SCORE, Reply, Verdict

_OBJECT_START = re.compile(r'\{\s*"')
_RANKING_KEYS = ("best-to-worst", "best-to-worse")  # the second is a slip that trained models make


@dataclass(frozen=True)
class ParsedReply:
    """A reply taken apart, still under masked names."""

    scores: dict[str, float]
    """Masked name -> 1.0..5.0."""

    ranking: list[str]
    """Every masked name, best first."""

    reasoning: str
    """What came before, beside or inside the JSON by way of explanation."""

    start: int
    """Where in the text the JSON object starts."""


def parse_verdict(text: str, labels: Mapping[str, str] | Sequence[str]) -> Verdict:
    """Read a verdict out of a model's whole reply.

    Args:
        text: The reply: optional reasoning (in think tags or as prose), then one JSON object.
        labels: ``Rendered.labels``: masked name -> label. Or a sequence of labels, where the reply may use either the
            labels themselves or ``model-1`` .. ``model-n`` in the same order.

    Raises:
        VerdictParseError: the reply is not a complete verdict: no JSON, several different ones, a label missing, made
            up or given twice, a score that is no number within 1..5, a ranking that is no permutation of the labels or
            contradicts the scores. ``raw`` holds the reply.
    """
    names = dict(labels) if isinstance(labels, Mapping) else _names_in(text, labels)
    reply = parse_reply(text, list(names))
    return Verdict(
        scores={label: reply.scores[name] for name, label in names.items()},
        ranking=[names[name] for name in reply.ranking],
        replies=[[Reply(reasoning=reply.reasoning, raw_output=text)]],
        spread=dict.fromkeys(names.values(), 0.0),
        orders=[list(names.values())],
    )


def parse_reply(text: str, names: Sequence[str]) -> ParsedReply:
    """Read scores and ranking out of a reply, under the masked names it uses.

    Raises:
        VerdictParseError: see `parse_verdict`.
    """
    start, found = _find_verdict(text)
    scores = _checked_scores(found.get("scores"), names, text)
    ranking = _checked_ranking(next((found[k] for k in _RANKING_KEYS if k in found), None), names, text)
    for better, worse in itertools.pairwise(ranking):
        if scores[better] < scores[worse]:
            _fail(f"{better} is ranked above {worse} but has the lower score", text)
    return ParsedReply(scores, ranking, _reasoning(text, start, found), start)


def value_spans(text: str, start: int) -> dict[str, tuple[int, int]]:
    """Where each value of the JSON object at ``text[start]`` stands: key -> (start, end) in ``text``."""
    decoder, at = json.JSONDecoder(), start + 1
    spans: dict[str, tuple[int, int]] = {}
    while True:
        at = _skip(text, at, " \t\r\n,")
        if text[at] == "}":
            return spans
        key, at = decoder.raw_decode(text, at)
        at = _skip(text, at, " \t\r\n:")
        _, end = decoder.raw_decode(text, at)
        spans[key] = (at, end)
        at = end


def _find_verdict(text: str) -> tuple[int, dict[str, Any]]:
    stripped = text.lstrip()
    if (whole := _decode(stripped, 0)) and not stripped[whole[1] :].strip() and "scores" in whole[0]:
        return len(text) - len(stripped), whole[0]
    first_close, last_close = text.find(THINK_CLOSE), text.rfind(THINK_CLOSE)
    if stripped.startswith("<think>") and first_close < 0:
        _fail("the reasoning never ended, so no verdict followed", text)
    # Reasoning may quote a forged "</think>" with a verdict behind it, and an answer may quote one after its own.
    after_first = _objects(text, max(first_close, 0))
    if not after_first:
        _fail("there is no JSON object in the reply", text)
    if any(found != after_first[0][1] for _, found in after_first):
        _fail(f"the reply holds {len(after_first)} different JSON verdicts", text)
    start, found = after_first[-1]
    if start < last_close:
        _fail("the verdict stands inside the reasoning, not after it", text)
    return start, found


def _objects(text: str, start: int) -> list[tuple[int, dict[str, Any]]]:
    """Every JSON object from ``start`` on that looks like a verdict, with its place."""
    found, at = [], start
    while match := _OBJECT_START.search(text, at):
        decoded = _decode(text, match.start())
        if decoded is None:
            _fail("the reply holds broken JSON", text)
        value, at = decoded
        if "scores" in value or any(key in value for key in _RANKING_KEYS):
            found.append((match.start(), value))
    return found


def _decode(text: str, start: int) -> tuple[dict[str, Any], int] | None:
    try:
        value, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return (value, end) if isinstance(value, dict) else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is given twice")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse)


def _checked_scores(scores: Any, names: Sequence[str], text: str) -> dict[str, float]:
    if not isinstance(scores, dict):
        _fail("the JSON has no 'scores' object", text)
    _same_names(scores, names, "the scores", text)
    for name, score in scores.items():
        number = isinstance(score, int | float) and not isinstance(score, bool)
        if not number or not math.isfinite(score) or not MIN_SCORE <= score <= MAX_SCORE:
            _fail(f"the score of {name} is {score!r:.40}, not a number within 1..5", text)
    return {name: float(scores[name]) for name in names}


def _checked_ranking(ranking: Any, names: Sequence[str], text: str) -> list[str]:
    if not isinstance(ranking, list) or not all(isinstance(name, str) for name in ranking):
        _fail("the JSON has no 'best-to-worst' list of names", text)
    _same_names(ranking, names, "the ranking", text)
    if len(ranking) != len(names):
        _fail("the ranking names a response twice", text)
    return ranking


def _same_names(given: Mapping[str, Any] | list[str], names: Sequence[str], what: str, text: str) -> None:
    missing, unknown = [n for n in names if n not in given], [n for n in given if n not in names]
    if missing:
        _fail(f"{what} leave out {', '.join(missing)}", text)
    if unknown:
        _fail(f"{what} name {', '.join(f'{n:.40}' for n in unknown)}, which nobody asked about", text)


def _reasoning(text: str, start: int, found: dict[str, Any]) -> str:
    """The thoughts in think tags if there are any; else the JSON's own field; else the prose around the JSON."""
    closed = text.rfind(THINK_CLOSE, 0, start)
    thoughts = text[: max(closed, 0)].strip().removeprefix("<think>").strip()
    field = found.get("reasoning")
    inside = field.strip() if isinstance(field, str) else ""
    if closed >= 0 or inside:
        return "\n\n".join(part for part in (thoughts, inside) if part)
    around = text[:start] + text[_DECODER.raw_decode(text, start)[1] :]
    return re.sub(r"```(?:json)?", "", around).strip()


def _names_in(text: str, labels: Sequence[str]) -> dict[str, str]:
    """Whether a reply speaks of labels or of masked names; both are fine."""
    masked = mask(labels)
    spoken = any(f'"{name}"' in text for name in masked)
    return masked if spoken and set(masked) != set(labels) else {label: label for label in labels}


def _skip(text: str, at: int, characters: str) -> int:
    while text[at] in characters:
        at += 1
    return at


def _fail(problem: str, text: str) -> NoReturn:
    raise VerdictParseError(f"The judge's reply is not a verdict: {problem}.", raw=text)
