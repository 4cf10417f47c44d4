"""Questions, answers, requests and responses of decision APIs, whichever format they have on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from rewardanything_core.types import ContentPart, Message

Content: TypeAlias = str | list[ContentPart]
"""A text, or texts and images in order. JSON values of a request are part of it as compact JSON."""


@dataclass(frozen=True, kw_only=True)
class PredicateQuestion:
    """How likely is a statement about the input true? System One's ``noul``."""

    instructions: Content = ""
    """The statement or yes/no question. Empty only if a criterion describes it."""

    true_when: str | None = None
    """What makes it true. None: not described."""

    false_when: str | None = None
    """What makes it false. None: not described."""

    name: str | None = None
    """The name that its answer repeats. None: unnamed."""


@dataclass(frozen=True, kw_only=True)
class ChoiceOption:
    """One option of a choice."""

    value: str | bool
    """What is chosen. A string and a boolean with the same text are different options."""

    description: str | None = None
    """When it applies. None: its value says it."""


@dataclass(frozen=True, kw_only=True)
class ChoiceQuestion:
    """Which of several options applies to the input?"""

    options: tuple[ChoiceOption, ...]
    """2 to 255, distinct; System One allows 1."""

    instructions: Content = ""
    """What to decide. Empty: which option fits the input best."""

    name: str | None = None
    """The name that its answer repeats. None: unnamed."""


@dataclass(frozen=True, kw_only=True)
class ScoreLevel:
    """One level of a scale."""

    label: str
    """Its name."""

    description: str | None = None
    """What it means. None: its label says it."""

    criterion: Any = None
    """The level as a System One request has it, a text or other JSON, which its answer repeats. None: from a request in
    OpenAI's format, or written here."""


@dataclass(frozen=True, kw_only=True)
class ScoreQuestion:
    """Which of several ordered levels applies to the input?"""

    levels: tuple[ScoreLevel, ...]
    """2 to 10, lowest first; System One allows 1."""

    instructions: Content = ""
    """What to rate. Empty: which level fits the input best."""

    name: str | None = None
    """The name that its answer repeats. None: unnamed."""


Question: TypeAlias = PredicateQuestion | ChoiceQuestion | ScoreQuestion


@dataclass(frozen=True, kw_only=True)
class DecisionRequest:
    """One input and the questions about it."""

    model: str
    """The model's name."""

    questions: tuple[Question, ...]
    """At least one. Their names are distinct; System One's are never None."""

    state: Any = None
    """The input as a text or as any other JSON value. None: it is given as ``messages``."""

    messages: tuple[Message, ...] | None = None
    """The input as a conversation. None: it is given as ``state``."""

    images: Mapping[str, str] = field(default_factory=dict)
    """Reference -> data URL of an image in place of that reference, wherever it occurs in texts of the state, the
    instructions or the descriptions. System One only."""


@dataclass(frozen=True, kw_only=True)
class PredicateAnswer:
    """The answer to a predicate."""

    probability: float
    """That it is true, 0..1."""

    name: str | None = None
    """The question's name."""


@dataclass(frozen=True, kw_only=True)
class ChoiceAnswer:
    """The answer to a choice."""

    choice: str | bool
    """The chosen option."""

    probabilities: tuple[float, ...]
    """0..1 for each option in the question's order; they sum to 1."""

    confidence: float | None = None
    """In the choice, 0..1, as its model defines it. None: not given."""

    name: str | None = None
    """The question's name."""


@dataclass(frozen=True, kw_only=True)
class ScoreAnswer:
    """The answer to a score question."""

    probabilities: tuple[float, ...]
    """0..1 for each level, lowest first; they sum to 1."""

    confidence: float | None = None
    """In the score, 0..1, as its model defines it. None: not given."""

    name: str | None = None
    """The question's name."""

    @property
    def score(self) -> float:
        """The expected level, 0 for the lowest: between 0 and the number of levels - 1."""
        return sum(level * probability for level, probability in enumerate(self.probabilities))


@dataclass(frozen=True, kw_only=True)
class RefusalAnswer:
    """The model declined to answer a question; others of the request can still have answers. OpenAI's format only."""

    name: str | None = None
    """The question's name."""


Answer: TypeAlias = PredicateAnswer | ChoiceAnswer | ScoreAnswer | RefusalAnswer


@dataclass(frozen=True, kw_only=True)
class DecisionUsage:
    """Tokens of one request."""

    input_tokens: int = 0
    """Tokens of the input and the questions."""

    output_tokens: int = 0
    """Tokens that were generated or counted as such."""

    cached_tokens: int = 0
    """Input tokens read from a prompt cache. OpenAI's format only."""

    cache_write_tokens: int = 0
    """Input tokens written to a prompt cache. OpenAI's format only."""

    reasoning_tokens: int = 0
    """Output tokens of reasoning. OpenAI's format only."""


@dataclass(frozen=True, kw_only=True)
class DecisionResponse:
    """The answers to a request."""

    model: str
    """The model that answered, which may be more specific than the one asked for."""

    answers: tuple[Answer, ...]
    """One for each question, in the order of the questions."""

    usage: DecisionUsage = field(default_factory=DecisionUsage)
    """What it took."""
