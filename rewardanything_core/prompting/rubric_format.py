"""The wire format of verdicts under a rubric: the criteria as shown, the reply's grammar and schema, and its parser.

A reply is one JSON object: ``{criterion: {"reasoning": ..., "scores": {"model-1": ...}}}``. There is no ranking; that
of a criterion follows from its scores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewardanything_core.backends.grammar import Choice, Grammar, Text
from rewardanything_core.errors import VerdictParseError
from rewardanything_core.principles import Criterion
from rewardanything_core.prompting.parsing import checked_scores, find_verdict, reasoning_around, value_spans
from rewardanything_core.prompting.verdict_grammar import THINK_CLOSE, THINK_OPEN

MAX_SCORES_PER_CALL = 100
"""Maximum number of criteria times responses in one request; larger rubrics are split. Each score is a property with an
enum of five values, and OpenAI's structured outputs allow 1,000 enum values in a schema; other providers give no
figure and refuse schemas that they find too complex."""


@dataclass(frozen=True, kw_only=True)
class CriterionReply:
    """What a reply says on one criterion, under masked names."""

    scores: dict[str, float]
    """Masked name -> 1.0..5.0."""

    reasoning: str
    """The reasoning on this criterion. Empty: there is none."""

    score_spans: dict[str, tuple[int, int]]
    """Masked name -> (start, end) of its score in the reply."""


def criterion_content(criterion: Criterion) -> str | dict[str, Any]:
    """What the judge is shown of a criterion: its rule, and its scale where it has one."""
    scale = {str(score): description for score, description in criterion.anchors.items()}
    if criterion.kind == "yes/no":
        scale = {"5": f"yes{_colon(scale.get('5'))}", "1": f"no{_colon(scale.get('1'))}"}
    return {"rule": criterion.text, "scale": scale} if scale else criterion.text


def rubric_grammar(criteria: Mapping[str, Criterion], names: Sequence[str], *, budget: int) -> Grammar:
    """A line of reasoning for each criterion between think tags, then the JSON.

    Args:
        criteria: Key -> criterion, in the order in which the judge sees them.
        names: The masked names of the responses.
        budget: Maximum tokens of reasoning in all, 0 or more.
    """
    yield THINK_OPEN
    share = budget // len(criteria)
    for key in criteria if share else ():
        yield f"{key}:"
        yield Text(stop="\n", max_tokens=share)
        yield "\n"
    yield f"{THINK_CLOSE}\n\n"
    for number, (key, criterion) in enumerate(criteria.items()):
        yield f'{", " if number else "{"}"{key}": {{"scores": {{'
        for place, name in enumerate(names):
            yield f'{", " if place else ""}"{name}": '
            yield Choice(criterion.scores)
        yield "}}"
    yield "}"


def rubric_schema(criteria: Mapping[str, Criterion], names: Sequence[str], *, reasoning: bool) -> dict[str, Any]:
    """The JSON schema of a reply, for servers that constrain replies with one.

    Args:
        criteria: Key -> criterion, in the order in which the judge sees them.
        names: The masked names of the responses.
        reasoning: Whether each criterion's object starts with a ``reasoning`` string.
    """
    properties = {}
    for key, criterion in criteria.items():
        values = {"type": "integer", "enum": [int(score) for score in criterion.scores]}
        scores = _closed_object(dict.fromkeys(names, values))
        text = {"reasoning": {"type": "string"}} if reasoning else {}
        properties[key] = _closed_object({**text, "scores": scores})
    return _closed_object(properties)


def parse_rubric_reply(
    text: str, criteria: Mapping[str, Criterion], names: Sequence[str]
) -> tuple[dict[str, CriterionReply], str]:
    """Parse a reply under a rubric; one faulty criterion makes the whole reply invalid.

    Args:
        text: The reply.
        criteria: Key -> criterion.
        names: The masked names of the responses.

    Returns:
        Key -> what the reply says on the criterion, in the order of ``criteria``; and the reasoning outside the JSON
        that belongs to no criterion.

    Raises:
        VerdictParseError: the reply is not a complete verdict: it has no JSON object with the criteria or several
            different ones; a criterion or response is missing, unknown or repeated; or a score is not one of the
            criterion's.
    """
    verdict = find_verdict(text, lambda content: any(_has_scores(content.get(key)) for key in criteria))
    for problem, keys in (
        ("is missing", [key for key in criteria if not _has_scores(verdict.content.get(key))]),
        ("is unknown", [key for key in verdict.content if key not in criteria and key != "reasoning"]),
    ):
        if keys:
            raise VerdictParseError(
                f"The judge's reply is not a verdict: the criterion {keys[0]!r:.80} {problem}.", raw=text
            )
    around = reasoning_around(text, verdict)
    by_line = _reasoning_by_line(around, criteria)
    spans = value_spans(text, verdict.start)
    replies = {}
    for key, criterion in criteria.items():
        content = verdict.content[key]
        field = content.get("reasoning")
        scores_start, _ = value_spans(text, spans[key][0])["scores"]
        replies[key] = CriterionReply(
            scores=checked_scores(
                content["scores"],
                names,
                text,
                where=f"the scores for {key!r}",
                allowed=criterion.scores if criterion.kind == "yes/no" else None,
            ),
            reasoning=field.strip() if isinstance(field, str) and field.strip() else by_line.get(key, ""),
            score_spans=value_spans(text, scores_start),
        )
    return replies, "" if by_line else around


def _reasoning_by_line(text: str, criteria: Mapping[str, Criterion]) -> dict[str, str]:
    """Key -> the rest of the first line that begins with it, if every criterion has such a line."""
    keys = "|".join(re.escape(key) for key in criteria)
    found: dict[str, str] = {}
    for match in re.finditer(rf"(?m)^({keys}):(.*)$", text):
        found.setdefault(match[1], match[2].strip())
    return found if len(found) == len(criteria) else {}


def _has_scores(content: object) -> bool:
    return isinstance(content, dict) and "scores" in content


def _closed_object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _colon(description: str | None) -> str:
    return f": {description}" if description else ""
