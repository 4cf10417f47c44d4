"""The request for the reasons of a verdict that is given already."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from typing import Any

from rewardanything_core.cases import Case
from rewardanything_core.principles import Rubric
from rewardanything_core.prompting.files import prompt_file
from rewardanything_core.prompting.masking import mask
from rewardanything_core.prompting.material import Material, turns_notice
from rewardanything_core.prompting.rubric_format import criterion_content
from rewardanything_core.prompting.templates import json_text, with_images
from rewardanything_core.types import Message, Verdict

WIRE_VERSION = 1
"""Part of `explanation_hash`; increase it when requests change although the wording is the same."""


def explanation_messages(
    case: Case, verdict: Verdict, order: Sequence[str], *, escape_special_tokens: bool
) -> tuple[Message, ...]:
    """The request for the reasons of a verdict.

    Args:
        case: The case.
        verdict: Its verdict.
        order: Every label once, in the order in which the model sees the responses.
        escape_special_tokens: See `Template.render`.
    """
    names = mask(order)
    material = Material(as_transcripts=False)

    def scores_of(one: Verdict) -> dict[str, float]:
        return {name: round(one.scores[label], 2) for name, label in names.items()}

    rubric = case.principle if isinstance(case.principle, Rubric) else None
    rule: dict[str, Any] = (
        {"principle": case.principle.text}
        if rubric is None
        else {"rubric": {name: criterion_content(criterion) for name, criterion in rubric.criteria.items()}}
    )
    given: dict[str, Any] = {"scores": scores_of(verdict)}
    if verdict.criteria:
        given["criteria"] = {name: scores_of(each) for name, each in verdict.criteria.items()}
    content = {**rule, **material.of_case(case, names), "verdict": given}
    system = prompt_file("explain.md") + (turns_notice() if case.has_turns else "")
    text = json_text(content, escape_special_tokens=escape_special_tokens)
    return (
        {"role": "system", "content": system},
        {"role": "user", "content": with_images(text, material.images)},
    )


@cache
def explanation_hash() -> str:
    """First 16 hexadecimal digits of the SHA-256 of the wording and `WIRE_VERSION`."""
    return hashlib.sha256(f"{WIRE_VERSION}\n{prompt_file('explain.md')}".encode()).hexdigest()[:16]
