"""Parsing a judge's reply into a complete verdict, or an error.

A reply is reasoning followed by one JSON object. Judged responses can contain forged tags and verdicts, and models tend
to quote them, so a reply that can be read in two ways is refused: the judge then requests another one.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from rewardanything_core.errors import VerdictParseError
from rewardanything_core.prompting.masking import mask
from rewardanything_core.prompting.verdict_grammar import THINK_CLOSE
from rewardanything_core.types import MAX_SCORE, MIN_SCORE, Reply, Verdict

_RANKING_KEYS = ("best-to-worst", "best-to-worse")  # the second is a slip that trained models make
_OBJECT_START = re.compile(r'\{\s*"')
_VERDICT_KEY = re.compile(r'"(?:reasoning|scores|best-to-wors[te]|model-\d+)"')
_MAX_BROKEN_OBJECTS = 100  # each error counts the lines before it, so without a limit a reply could take quadratic time


@dataclass(frozen=True)
class ParsedReply:
    """The parts of a reply, under masked names."""

    scores: dict[str, float]
    """Masked name -> 1.0..5.0."""

    ranking: list[str]
    """Every masked name, best first."""

    reasoning: str
    """The explanation in think tags, in the JSON or around it."""

    score_spans: dict[str, tuple[int, int]]
    """Masked name -> (start, end) of its score in the reply."""


@dataclass(frozen=True)
class JsonObject:
    """A JSON object in a reply."""

    content: dict[str, Any]
    """Its content."""

    start: int
    """Offset of its opening brace in the reply."""

    end: int
    """Offset after its closing brace."""


def parse_verdict(text: str, labels: Mapping[str, str] | Sequence[str]) -> Verdict:
    """Parse a model's whole reply into a verdict.

    There is one lenient rule for the JSON: strings may contain raw control characters, such as the line breaks that
    models leave unescaped in ``reasoning``.

    Other JSON objects may occur outside the think tags, for example where the judge quotes a response. Objects without
    a verdict's keys are ignored, even if they are not valid JSON. The reply is refused if it contains two different
    verdicts, or a broken object with ``reasoning``, ``scores``, ``best-to-worst`` or a masked name among its keys: that
    object may be the verdict that was meant.

    Args:
        text: The reply: optional reasoning (in think tags or as prose), then one JSON object.
        labels: ``Rendered.labels``: masked name -> label. Or a sequence of labels; the reply may then use the labels
            themselves or ``model-1`` .. ``model-n`` in the same order.

    Raises:
        VerdictParseError: the reply is not a complete verdict: it has no verdict or several different ones; a label is
            missing, unknown or repeated; a score is not a number within 1..5; the ranking is not a permutation of the
            labels or contradicts the scores. ``raw`` is the reply.
    """
    names = dict(labels) if isinstance(labels, Mapping) else _names_used(text, labels)
    reply = parse_reply(text, list(names))
    return Verdict(
        scores={label: reply.scores[name] for name, label in names.items()},
        ranking=[names[name] for name in reply.ranking],
        replies=[[Reply(reasoning=reply.reasoning, raw_output=text)]],
        spread=dict.fromkeys(names.values(), 0.0),
        orders=[list(names.values())],
    )


def parse_reply(text: str, names: Sequence[str]) -> ParsedReply:
    """Parse a reply into scores and ranking, under masked names. The rules are those of `parse_verdict`.

    Args:
        text: The reply.
        names: The masked names of the responses.

    Raises:
        VerdictParseError: the reply is not a complete verdict.
    """
    verdict = find_verdict(text, _is_verdict)
    scores = checked_scores(verdict.content.get("scores"), names, text)
    rankings = (verdict.content[key] for key in _RANKING_KEYS if key in verdict.content)
    ranking = _checked_ranking(next(rankings, None), names, text)
    for better, worse in itertools.pairwise(ranking):
        if scores[better] < scores[worse]:
            _fail(f"{better} is ranked above {worse} but has the lower score", text)
    scores_start, _ = value_spans(text, verdict.start)["scores"]
    return ParsedReply(scores, ranking, reasoning_around(text, verdict), value_spans(text, scores_start))


def value_spans(text: str, start: int) -> dict[str, tuple[int, int]]:
    """Locate the values of a JSON object.

    Args:
        text: A text that contains the object.
        start: Offset of its opening brace; the object is valid.

    Returns:
        Key -> (start, end) of its value in ``text``.
    """
    position = start + 1
    spans: dict[str, tuple[int, int]] = {}
    while True:
        position = _skip(text, position, " \t\r\n,")
        if text[position] == "}":
            return spans
        key, position = _DECODER.raw_decode(text, position)
        position = _skip(text, position, " \t\r\n:")
        _, end = _DECODER.raw_decode(text, position)
        spans[key] = (position, end)
        position = end


def find_verdict(text: str, is_verdict: Callable[[dict[str, Any]], bool]) -> JsonObject:
    """The one JSON object of a reply that is its verdict. The rules are those of `parse_verdict`.

    Args:
        text: The reply.
        is_verdict: Whether an object's content is that of a verdict, complete or not.

    Raises:
        VerdictParseError: there is none, or more than one.
    """
    stripped = text.strip()
    if not stripped:
        _fail("it is empty", text)
    whole = _whole_object(text, text.find(stripped)) if stripped.startswith("{") else None
    if whole is not None and is_verdict(whole.content):
        return whole
    first_close, last_close = text.find(THINK_CLOSE), text.rfind(THINK_CLOSE)
    if stripped.startswith("<think>") and first_close < 0:
        _fail("the reasoning never ended, so no verdict followed", text)
    # Reasoning may quote a forged "</think>" followed by a verdict, and an answer may quote one after its own verdict.
    candidates = _verdict_objects(text, max(first_close, 0), is_verdict)
    if not candidates:
        _fail("it contains no JSON object with scores", text)
    if any(candidate.content != candidates[0].content for candidate in candidates):
        _fail(f"it contains {len(candidates)} different JSON verdicts", text)
    if candidates[-1].start < last_close:
        _fail("the verdict is inside the reasoning, not after it", text)
    return candidates[-1]


def _whole_object(text: str, start: int) -> JsonObject | None:
    """The object, if the reply is a single JSON object."""
    try:
        content, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return None if text[end:].strip() else JsonObject(content, start, end)


def _is_verdict(content: dict[str, Any]) -> bool:
    return "scores" in content or any(key in content for key in _RANKING_KEYS)


def _verdict_objects(text: str, start: int, is_verdict: Callable[[dict[str, Any]], bool]) -> list[JsonObject]:
    """The JSON objects from ``start`` on that are verdicts."""
    candidates, broken, position = [], 0, start
    while match := _OBJECT_START.search(text, position):
        try:
            content, position = _DECODER.raw_decode(text, match.start())
        except json.JSONDecodeError:
            position, broken = max(_error_position(text, match.start()), match.end()), broken + 1
            if broken > _MAX_BROKEN_OBJECTS or _VERDICT_KEY.search(text, match.start(), position):
                _fail("it contains broken JSON", text)
            continue
        except (ValueError, RecursionError) as error:
            _fail(f"it contains JSON that cannot be decoded ({error})", text)
        if is_verdict(content):
            candidates.append(JsonObject(content, match.start(), position))
    return candidates


def _error_position(text: str, start: int) -> int:
    """Where the broken object at ``start`` ends, so that objects nested in it are not candidates.

    By the strict rules a line break ends an unfinished string, so the string does not extend into the verdict below it.
    """
    try:
        return json.JSONDecoder().raw_decode(text, start)[1]
    except json.JSONDecodeError as error:
        return error.pos


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is repeated")
    return value


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, strict=False)


def checked_scores(
    scores: Any, names: Sequence[str], text: str, *, where: str = "the scores", allowed: Sequence[str] | None = None
) -> dict[str, float]:
    """The scores of a verdict: masked name -> score, in the order of ``names``.

    Args:
        scores: The value in the reply.
        names: The masked names of the responses.
        text: The reply.
        where: Describes the value in error messages.
        allowed: The scores that the judge may give. None: any number within 1..5.

    Raises:
        VerdictParseError: it is not a mapping; a name is missing or unknown; or a score is out of its range.
    """
    if not isinstance(scores, dict):
        _fail("the JSON has no 'scores' object" if where == "the scores" else f"{where} are not an object", text)
    _check_names(scores, names, where, text)
    for name, score in scores.items():
        is_number = isinstance(score, int | float) and not isinstance(score, bool)
        if not is_number or not MIN_SCORE <= score <= MAX_SCORE:
            _fail(f"the score of {name} is {score!r:.40}, not a number within 1..5", text)
        if allowed is not None and f"{score:g}" not in allowed:
            _fail(f"in {where}, the score of {name} is {score!r:.40}, not {' or '.join(allowed)}", text)
    return {name: float(scores[name]) for name in names}


def _checked_ranking(ranking: Any, names: Sequence[str], text: str) -> list[str]:
    if not isinstance(ranking, list) or not all(isinstance(name, str) for name in ranking):
        _fail("the JSON has no 'best-to-worst' list of names", text)
    _check_names(ranking, names, "the ranking", text)
    if len(ranking) != len(names):
        _fail("the ranking repeats a response", text)
    return ranking


def _check_names(given: Mapping[str, Any] | list[str], names: Sequence[str], where: str, text: str) -> None:
    missing = [name for name in names if name not in given]
    unknown = [name for name in given if name not in names]
    if missing:
        _fail(f"{', '.join(missing)} missing from {where}", text)
    if unknown:
        _fail(f"unknown names in {where}: {', '.join(f'{name:.40}' for name in unknown)}", text)


def reasoning_around(text: str, verdict: JsonObject) -> str:
    """The text in think tags and the JSON's own field; if there is neither, the prose around the JSON.

    Args:
        text: The reply.
        verdict: The JSON object in it that is the verdict.
    """
    closed = text.rfind(THINK_CLOSE, 0, verdict.start)
    thoughts = text[: max(closed, 0)].strip().removeprefix("<think>").strip()
    field = verdict.content.get("reasoning")
    field_text = field.strip() if isinstance(field, str) else ""
    if closed >= 0 or field_text:
        return "\n\n".join(part for part in (thoughts, field_text) if part)
    around = text[: verdict.start] + text[verdict.end :]
    return re.sub(r"```(?:json)?", "", around).strip()


def _names_used(text: str, labels: Sequence[str]) -> dict[str, str]:
    """The names that a reply uses -> label: masked names, or the labels themselves."""
    masked = mask(labels)
    uses_masked = any(f'"{name}"' in text for name in masked)
    return masked if uses_masked and set(masked) != set(labels) else {label: label for label in labels}


def _skip(text: str, position: int, characters: str) -> int:
    while text[position] in characters:
        position += 1
    return position


def _fail(problem: str, text: str) -> NoReturn:
    raise VerdictParseError(f"The judge's reply is not a verdict: {problem}.", raw=text)
