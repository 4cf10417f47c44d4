"""The wording of the ``logits`` readout: what a model is asked about each response, and about each principle."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rewardanything_core.cases import Case
from rewardanything_core.prompting.templates import neutralize_special_tokens
from rewardanything_core.types import Message

VERSION = 5
"""Counts up when a verdict can change with the same wording: the arithmetic is part of what is hashed."""

_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Trait:
    """What a principle may want much or little of, or may itself be."""

    name: str
    """As in `facts.MEASURES` where a program measures it."""

    more: str
    """Said of a reply that has much of it; or a question about the principle."""

    less: str
    """The contrary, likewise."""


@dataclass(frozen=True)
class Example:
    """A principle with a response that fits it and one that does not."""

    principle: str
    prompt: str
    fits: str
    breaks: str


@dataclass(frozen=True)
class QuestionSet:
    """What is asked, and the hash that tells this wording from others."""

    material: Mapping[str, str]
    questions: tuple[str, ...]
    options: tuple[str, str]
    demand_system: str
    demand_question: str
    demand_options: tuple[str, str]
    facts: tuple[Trait, ...]
    views: tuple[Trait, ...]
    source_questions: tuple[str, ...]
    source_traits: tuple[Trait, ...]
    quality_questions: tuple[str, ...]
    quality_traits: tuple[Trait, ...]
    quality_views: tuple[Trait, ...]
    examples: tuple[Example, ...]
    hash: str

    def about_response(self, case: Case, label: str, wording: int, *, escape_markup: bool) -> tuple[Message, ...]:
        """Whether one response fits the case's principle; ``wording`` counts from 0 and starts again at the end."""
        question = _filled(self.questions[wording % len(self.questions)], {"principle": case.principle.text})
        return self._about(case, label, question, escape_markup)

    def about_quality(self, case: Case, label: str, question: str, *, escape_markup: bool) -> tuple[Message, ...]:
        """Whether one response is good, whatever the principle; ``question`` is one of `quality_questions`."""
        return self._about(case, label, question, escape_markup)

    def _about(self, case: Case, label: str, question: str, escape_markup: bool) -> tuple[Message, ...]:
        parts = {
            "context": case.context,
            "prompt": _conversation(case),
            "reference": case.reference,
            "response": case.responses[label],
        }
        lines = [_filled(self.material[name], {name: text}) for name, text in parts.items() if text is not None]
        return _messages(self.material["system"], "\n\n".join([*lines, f"---\n{question}"]), escape_markup)

    def about_principle(self, principle: str, question: str, *, escape_markup: bool) -> tuple[Message, ...]:
        """A question about a principle by itself; answered with `options`."""
        return _messages(self.demand_system, f"Principle: {principle}\n\n{question}", escape_markup)

    def under_principle(self, principle: str, trait: str, *, escape_markup: bool) -> tuple[Message, ...]:
        """Whether a trait, `Trait.more` or `Trait.less`, is good or bad under a principle: `demand_options`."""
        text = _filled(self.demand_question, {"principle": principle, "trait": trait})
        return _messages(self.demand_system, text, escape_markup)


@cache
def question_set() -> QuestionSet:
    """The wording that ships with the package."""
    source = (Path(__file__).parents[2] / "prompting" / "prompts" / "fit.toml").read_bytes()
    content = tomllib.loads(source.decode("utf-8"))
    fit, demand = content["fit"], content["demand"]
    return QuestionSet(
        material=content["material"],
        questions=tuple(fit["questions"]),
        options=tuple(fit["options"]),
        demand_system=demand["system"],
        demand_question=demand["question"],
        demand_options=tuple(demand["options"]),
        facts=tuple(Trait(**fact) for fact in demand["facts"]),
        views=tuple(Trait(**view) for view in demand["views"]),
        source_questions=tuple(content["source"]["about"]),
        source_traits=tuple(Trait(**trait) for trait in content["source"]["traits"]),
        quality_questions=tuple(content["quality"]["questions"]),
        quality_traits=tuple(Trait(**trait) for trait in content["quality"]["traits"]),
        quality_views=tuple(Trait(**view) for view in content["quality"]["views"]),
        examples=tuple(Example(**example) for example in content["examples"]),
        hash=hashlib.sha256(f"{VERSION}\n".encode() + source).hexdigest()[:16],
    )


def _filled(text: str, parts: Mapping[str, str]) -> str:
    """Fill in all places at once, so that braces in what is filled in stay as they are."""
    return _PLACE.sub(lambda place: parts.get(place[1], place[0]), text)


def _conversation(case: Case) -> str:
    if isinstance(case.prompt, str):
        return case.prompt
    if len(case.prompt) == 1 and case.prompt[0]["role"] == "user":
        return case.prompt[0]["content"]
    return "\n".join(f"{turn['role']}: {turn['content']}" for turn in case.prompt)


def _messages(system: str, user: str, escape_markup: bool) -> tuple[Message, ...]:
    text = neutralize_special_tokens(user) if escape_markup else user
    return (Message(role="system", content=system), Message(role="user", content=text))
