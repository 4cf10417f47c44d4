"""Scripted stages of cascades, importable by name."""

from __future__ import annotations

import json

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.backends import Completion, Request, verdict_reply
from rewardanything_core.types import Usage

ROWS = [{"prompt": f"q{n}", "responses": {"a": f"good {n}", "b": f"bad {n}"}, "winner": "a"} for n in range(160)]
"""Rows whose first response is the better one. The cheap judge is sure of two thirds of them, and right there."""


def cheap(request: Request) -> Completion:
    """A gap of 3 in two thirds of the cases, where it is right; of half a point in the others, where it guesses."""
    case = json.loads(request.messages[1]["content"])
    number = int(case["prompt"][1:])
    gap = 1.5 if number % 3 else (0.25 if number % 2 else -0.25)
    return _reply(case, gap, cost=0.001)


def strong(request: Request) -> Completion:
    """Always right."""
    return _reply(json.loads(request.messages[1]["content"]), 2.0, cost=0.02)


def unsure(request: Request) -> Completion:
    """A tie."""
    return _reply(json.loads(request.messages[1]["content"]), 0.0, cost=0.02)


def _reply(case: dict, gap: float, *, cost: float) -> Completion:
    scores = {name: 3 + (gap if "good" in text else -gap) for name, text in case["responses"].items()}
    return Completion(answer=verdict_reply(scores), usage=Usage(calls=1, prompt_tokens=10, cost=cost))


def stage(reply, name: str | None = None, **options) -> Judge:
    return Judge(ScriptedBackend(reply, name=name or reply.__name__), retries=0, **options)


def case(number: int) -> dict:
    """The case of a row."""
    row = ROWS[number]
    return {"principle": "Be good.", "prompt": row["prompt"], "responses": row["responses"], "id": f"case {number}"}


SURE, UNSURE = case(1), case(3)
"""A case that the cheap judge is sure of, and one that it is not."""

SETTINGS = """
[judge]
{judge}

[[cascade]]
model = "scripted:cascades:cheap"
backend_options = {{ name = "cheap" }}
{first}

[[cascade]]
model = "scripted:cascades:strong"
backend_options = {{ name = "strong" }}
"""
