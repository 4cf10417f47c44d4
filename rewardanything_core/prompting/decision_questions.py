"""The wording of ``readout="decisions"``: a case as the input of a decision model, and the questions about it."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from rewardanything_core.cases import Case
from rewardanything_core.decisions import PredicateQuestion, Question, ScoreLevel, ScoreQuestion
from rewardanything_core.principles import Criterion
from rewardanything_core.prompting.files import filled, prompt_file
from rewardanything_core.prompting.masking import mask
from rewardanything_core.prompting.material import Material, turns_notice
from rewardanything_core.prompting.templates import json_text, neutralize_special_tokens, with_images
from rewardanything_core.types import Message

WIRE_VERSION = 1
"""Part of `DecisionWording.hash`; increase it when requests change although the wording is the same."""


@dataclass(frozen=True, kw_only=True)
class DecisionWording:
    """The texts of the questions."""

    about_input: str
    """What the input is; it begins with this."""

    score: str
    """Asks for the level at which a response follows a rule."""

    yes_no: str
    """Asks whether a rule is true of a response."""

    levels: tuple[ScoreLevel, ...]
    """The levels of the scores 1 to 5, unless a criterion describes its own."""

    hash: str
    """First 16 hexadecimal digits of the SHA-256 of the wording and `WIRE_VERSION`."""

    def input(self, case: Case, order: Sequence[str]) -> Message:
        """Everything but the principle, as the input of a decision model: a user message that ends in a JSON object.

        Args:
            case: The case.
            order: Every label once, in the order in which the model sees the responses.
        """
        material = Material(as_transcripts=False)
        text = json_text(material.of_case(case, mask(order)), escape_special_tokens=True)
        turns = turns_notice() if case.has_turns else ""
        notice = f"{self.about_input}\n{turns}".strip()
        return {"role": "user", "content": with_images(f"{notice}\n\n{text}", material.images)}

    def question(self, rule: Criterion, response: str, name: str) -> Question:
        """The question about one response under one rule.

        Args:
            rule: A criterion, or a principle as one.
            response: The masked name of the response.
            name: The question's name, which is distinct in its request.
        """
        wording = self.yes_no if rule.kind == "yes/no" else self.score
        instructions = filled(wording, {"name": response, "rule": neutralize_special_tokens(rule.text)}).strip()
        if rule.kind == "yes/no":
            true_when, false_when = rule.anchors.get(5), rule.anchors.get(1)
            return PredicateQuestion(name=name, instructions=instructions, true_when=true_when, false_when=false_when)
        levels = tuple(
            ScoreLevel(label=level.label, description=rule.anchors.get(int(level.label), level.description))
            for level in self.levels
        )
        return ScoreQuestion(name=name, instructions=instructions, levels=levels)


@cache
def decision_wording() -> DecisionWording:
    """The wording that ships with the package, in ``prompting/prompts/decisions.toml``."""
    source = prompt_file("decisions.toml")
    content = tomllib.loads(source)
    return DecisionWording(
        about_input=content["input"],
        score=content["score"],
        yes_no=content["yes_no"],
        levels=tuple(ScoreLevel(**level) for level in content["levels"]),
        hash=hashlib.sha256(f"{WIRE_VERSION}\n{source}".encode()).hexdigest()[:16],
    )
