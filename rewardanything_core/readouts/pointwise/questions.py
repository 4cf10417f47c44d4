"""The wording of the pointwise readouts: the questions about each response and about each principle."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rewardanything_core.cases import Case
from rewardanything_core.conversations import transcript
from rewardanything_core.conversations.trajectory import is_plain
from rewardanything_core.prompting.files import filled
from rewardanything_core.prompting.templates import neutralize_special_tokens
from rewardanything_core.types import Message

ARITHMETIC_VERSION = 6
"""Part of `QuestionSet.hash`; increase it when verdicts can change although the wording is the same."""


@dataclass(frozen=True)
class ContrastPair:
    """Two opposite statements or questions; half the difference of their log-odds cancels a bias towards one answer."""

    name: str
    """What the pair measures. Pairs of the same name are averaged. For a text feature, its name in `FEATURES`."""

    more: str
    """Describes a response that has much of it, or asks whether the principle wants much of it."""

    less: str
    """The opposite of ``more``."""


@dataclass(frozen=True)
class Example:
    """A principle and a prompt, with a response that fits the principle and one that does not."""

    principle: str
    prompt: str
    fits: str
    breaks: str


@dataclass(frozen=True)
class QuestionSet:
    """All questions, and the hash that identifies them.

    A *trait* describes a reply ("is long and detailed") and is rated under a principle with `rating_options`. A
    *question* is answered with `options`.
    """

    sections: Mapping[str, str]
    """The system message, and for each part of a case the line that presents it; ``{name}`` is the part's text."""

    fit_questions: tuple[str, ...]
    """Whether the response fits the principle, in several wordings; one is used per pass."""

    options: tuple[str, str]
    """The answers to questions: yes, no."""

    principle_system: str
    """The system message of questions about a principle alone."""

    trait_question: str
    """Asks for the rating of a trait under a principle."""

    rating_options: tuple[str, str]
    """The ratings of a trait: good, bad."""

    feature_traits: tuple[ContrastPair, ...]
    """Traits that say how much of a text feature a reply has."""

    feature_questions: tuple[ContrastPair, ...]
    """Questions on how much of a text feature the principle wants."""

    grounding_questions: tuple[str, ...]
    """Whether the principle is about being grounded in a source text."""

    grounding_traits: tuple[ContrastPair, ...]
    """Traits that say how well a reply is grounded in a source text."""

    examples: tuple[Example, ...]
    """Principles without preferences on form; they calibrate a model's answers to all questions."""

    hash: str
    """First 16 hexadecimal digits of the SHA-256 of the wording and `ARITHMETIC_VERSION`."""

    @property
    def fit_hash(self) -> str:
        """Hash of the wording that presents a case and of `fit_questions`, which reward heads are fitted to."""
        content = repr((sorted(self.sections.items()), self.fit_questions))
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def fit_messages(self, case: Case, label: str, wording: int, *, escape_special_tokens: bool) -> tuple[Message, ...]:
        """The question whether a response fits the case's principle.

        Args:
            case: The case.
            label: The response's label.
            wording: Index of the wording, from 0; indices beyond the last wording start again at the first.
            escape_special_tokens: Whether to neutralise special tokens in the texts.
        """
        question = self.fit_questions[wording % len(self.fit_questions)]
        question = filled(question, {"principle": case.principle.text})
        parts = {
            "context": case.context,
            "prompt": _conversation(case),
            "reference": case.reference,
            "response": case.texts[label],
        }
        lines = [filled(self.sections[name], {name: text}) for name, text in parts.items() if text is not None]
        return _messages(self.sections["system"], "\n\n".join([*lines, f"---\n{question}"]), escape_special_tokens)

    def principle_messages(self, principle: str, question: str, *, escape_special_tokens: bool) -> tuple[Message, ...]:
        """A question about a principle alone, to be answered with `options`.

        Args:
            principle: The principle's text.
            question: The question.
            escape_special_tokens: Whether to neutralise special tokens in the text.
        """
        return _messages(self.principle_system, f"Principle: {principle}\n\n{question}", escape_special_tokens)

    def trait_messages(self, principle: str, trait: str, *, escape_special_tokens: bool) -> tuple[Message, ...]:
        """The question whether a trait is good or bad under a principle, to be answered with `rating_options`.

        Args:
            principle: The principle's text.
            trait: One side of a `ContrastPair`.
            escape_special_tokens: Whether to neutralise special tokens in the text.
        """
        text = filled(self.trait_question, {"principle": principle, "trait": trait})
        return _messages(self.principle_system, text, escape_special_tokens)


@cache
def question_set() -> QuestionSet:
    """The questions that ship with the package, in ``prompting/prompts/questions.toml``."""
    source = (Path(__file__).parents[2] / "prompting" / "prompts" / "questions.toml").read_bytes()
    content = tomllib.loads(source.decode("utf-8"))
    fit, demand, grounding = (content[table] for table in ("fit", "demand", "source"))
    return QuestionSet(
        sections=content["material"],
        fit_questions=tuple(fit["questions"]),
        options=tuple(fit["options"]),
        principle_system=demand["system"],
        trait_question=demand["question"],
        rating_options=tuple(demand["options"]),
        feature_traits=_pairs(demand["facts"]),
        feature_questions=_pairs(demand["views"]),
        grounding_questions=tuple(grounding["about"]),
        grounding_traits=_pairs(grounding["traits"]),
        examples=tuple(Example(**example) for example in content["examples"]),
        hash=hashlib.sha256(f"{ARITHMETIC_VERSION}\n".encode() + source).hexdigest()[:16],
    )


def _pairs(tables: list[dict[str, str]]) -> tuple[ContrastPair, ...]:
    return tuple(ContrastPair(**table) for table in tables)


def _conversation(case: Case) -> str:
    if isinstance(case.prompt, str):
        return case.prompt
    if not all(map(is_plain, case.prompt)):
        return transcript(case.prompt)
    if len(case.prompt) == 1 and case.prompt[0]["role"] == "user":
        return str(case.prompt[0]["content"])
    return "\n".join(f"{message['role']}: {message['content']}" for message in case.prompt)


def _messages(system: str, user: str, escape_special_tokens: bool) -> tuple[Message, ...]:
    text = neutralize_special_tokens(user) if escape_special_tokens else user
    return (Message(role="system", content=system), Message(role="user", content=text))
