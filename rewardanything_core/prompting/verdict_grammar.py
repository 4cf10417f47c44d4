"""Forms: the shape of a reply, as something a decoder can fill in place by place.

A form is a generator that alternates between text that is certain (a `str`) and places that the model fills: a `Choice`
among strings, or free `Text`. Whoever runs the form sends back what was filled in, so that later places can depend on
earlier ones. So `verdict_grammar` admits only complete verdicts whose ranking is a permutation that agrees with
the scores, which no JSON schema can say:

>>> form = verdict_grammar(["model-1", "model-2"])
>>> next(form)
'{"scores": {"model-1": '
>>> form.send(None).options
('1', '2', '3', '4', '5')
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rewardanything_core.backends.grammar import Choice, Grammar, GrammarFactory, Text

THINK_OPEN, THINK_CLOSE = "<think>\n", "</think>"
SCORES = ("1", "2", "3", "4", "5")


def thinking_grammar(answer: GrammarFactory, *, budget: int) -> Grammar:
    """Reason freely between think tags for at most ``budget`` tokens, then fill in ``answer``."""
    yield THINK_OPEN
    if budget:
        yield Text(stop=THINK_CLOSE, max_tokens=budget)
    yield f"\n{THINK_CLOSE}\n\n"
    yield from answer()


def verdict_grammar(names: Sequence[str]) -> Grammar:
    """The JSON of a verdict over masked names: a score each, then a ranking that agrees with the scores."""
    scores: dict[str, int] = {}
    yield '{"scores": {'
    for name in names:
        yield f'{", " if scores else ""}"{name}": '
        scores[name] = int((yield Choice(SCORES)) or 0)
    yield '}, "best-to-worst": ['
    left = list(names)
    while left:
        yield '"' if len(left) == len(names) else ', "'
        top = max(scores[name] for name in left)
        tied = [name for name in left if scores[name] == top]
        if len(tied) == 1:
            chosen = tied[0]
            yield f'{chosen}"'
        else:
            chosen = str((yield Choice(tuple(f'{name}"' for name in tied)))).removesuffix('"')
        left.remove(chosen)
    yield "]}"


def verdict_schema(names: Sequence[str], *, reasoning: bool) -> dict[str, Any]:
    """The same as a JSON schema, for servers that constrain replies with one.

    A schema cannot say that the ranking names each response once and agrees with the scores; the parser checks that.

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
