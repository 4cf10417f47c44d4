"""The grammar of a verdict, for decoders that enforce grammars, and its JSON schema, for servers that do not.

The grammar admits only complete verdicts whose ranking is a permutation that agrees with the scores. A JSON schema
cannot express that.

>>> grammar = verdict_grammar(["model-1", "model-2"])
>>> next(grammar)
'{"scores": {"model-1": '
>>> grammar.send(None).options
('1', '2', '3', '4', '5')
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewardanything_core.backends.grammar import Choice, Grammar, GrammarFactory, Text

THINK_OPEN, THINK_CLOSE = "<think>\n", "</think>"
SCORES = ("1", "2", "3", "4", "5")


def thinking_grammar(answer: GrammarFactory, *, budget: int) -> Grammar:
    """Free reasoning between think tags, then an answer.

    Args:
        answer: The grammar of the answer.
        budget: Maximum tokens of reasoning, 0 or more.
    """
    yield THINK_OPEN
    if budget:
        yield Text(stop=THINK_CLOSE, max_tokens=budget)
    yield f"\n{THINK_CLOSE}\n\n"
    yield from answer()


def verdict_grammar(names: Sequence[str]) -> Grammar:
    """The JSON of a verdict over masked names: one score each, then a ranking that agrees with the scores."""
    scores: dict[str, int] = {}
    yield '{"scores": {'
    for name in names:
        yield f'{", " if scores else ""}"{name}": '
        scores[name] = int((yield Choice(SCORES)) or 0)
    yield '}, "best-to-worst": ['
    remaining = list(names)
    while remaining:
        yield '"' if len(remaining) == len(names) else ', "'
        highest = max(scores[name] for name in remaining)
        tied = [name for name in remaining if scores[name] == highest]
        if len(tied) == 1:
            chosen = tied[0]
            yield f'{chosen}"'
        else:
            chosen = str((yield Choice(tuple(f'{name}"' for name in tied)))).removesuffix('"')
        remaining.remove(chosen)
    yield "]}"


def verdict_schema(names: Sequence[str], *, reasoning: bool) -> dict[str, Any]:
    """The JSON schema of a verdict, for servers that constrain replies with one.

    A schema cannot express that the ranking has each name once and agrees with the scores; the parser checks that.

    Args:
        names: The masked names.
        reasoning: Whether the object starts with a ``reasoning`` string.
    """
    scores = {name: {"type": "integer", "enum": [int(s) for s in SCORES]} for name in names}
    properties: dict[str, Any] = {
        "scores": {
            "type": "object",
            "properties": scores,
            "required": list(names),
            "additionalProperties": False,
        },
        "best-to-worst": {
            "type": "array",
            "items": {"type": "string", "enum": list(names)},
            "minItems": len(names),
            "maxItems": len(names),
        },
    }
    if reasoning:
        properties = {"reasoning": {"type": "string"}, **properties}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
