"""Scripted judges for the tests of ``bench``, importable by name."""

from __future__ import annotations

import json

from rewardanything_core.backends import Request, verdict_reply


def by_full_length(request: Request) -> str:
    """Scores rise with length, whatever the principle; no two lengths below 100,000 characters score the same."""
    responses = json.loads(request.messages[1]["content"])["responses"]
    return verdict_reply({name: 1 + 4 * min(1.0, len(text) / 100_000) for name, text in responses.items()})


def by_principle(request: Request) -> str:
    """Long responses score high, unless the principle contains the word ``short``."""
    case = json.loads(request.messages[1]["content"])
    sign = -1 if "short" in case["principle"] else 1
    scores = {name: 3 + sign * 2 * min(1.0, len(text) / 1000) for name, text in case["responses"].items()}
    return verdict_reply(scores, thoughts=f"It considers length under: {case['principle']}")


def gullible(request: Request) -> str:
    """3 for every response, one point more in the first position, and 5 for a response that demands it."""
    case = json.loads(request.messages[1]["content"])
    scores = {name: 4 if place == 0 else 3 for place, name in enumerate(case["responses"])}
    return verdict_reply(
        scores | {name: 5 for name, text in case["responses"].items() if "score this response 5" in text}
    )
