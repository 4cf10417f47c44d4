"""A rubric, responses with known scores under it, and a server that omits a criterion for one of them."""

from __future__ import annotations

import json
from typing import Any

from servers import verdict_for

from rewardanything_core import Rubric

RUBRIC = Rubric(
    {"faithful": "Every claim is supported.", "brief": "Is short."},
    weights={"faithful": 3},
    required=["faithful"],
    name="answers",
)

GOOD, GATED, BAD = "faithful=5 brief=1", "faithful=2 brief=4", "BAD faithful=5 brief=5"
"""Responses with the scores (3 * 5 + 1) / 4 = 4 and, since it misses what is required, 1; and one without a verdict."""


def one_criterion_missing(body: dict[str, Any], marker: str = "BAD") -> str | None:
    """For ``server.reply``: no verdict on one of the criteria for a case with the marker in it; None for the others."""
    if marker not in str(body["messages"]):
        return None
    verdict = json.loads(verdict_for(body))
    verdict.popitem()
    return json.dumps(verdict)
