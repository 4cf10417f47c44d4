"""The seam between a judge and a model: one request in, one completion out.

A backend knows nothing of principles, labels or verdicts. It is asked for a reply to messages, told what form the reply
must have, and may be able to hold the model to it (``supports_grammar``) or only to ask for it by JSON schema.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from rewardanything_core.backends.grammar import GrammarFactory
from rewardanything_core.errors import ConfigError
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.types import Message, Usage


@dataclass(frozen=True, kw_only=True)
class Request:
    """One reply to be written."""

    messages: tuple[Message, ...]
    """The conversation so far."""

    sampling: SamplingParams
    """How to write; ``thinking_budget`` is a number here, never None."""

    grammar: GrammarFactory | None = None
    """Makes the form of the reply, for backends that follow forms. None: free text until the model stops."""

    schema: Mapping[str, Any] | None = None
    """JSON schema of the answer, for backends that ask for it. None: none."""

    is_reasoning_model: bool = False
    """Whether the model was trained to reason in think tags before it answers, so that constraining a whole reply would
    silence it."""

    final_answer_prompt: str | None = None
    """What to say to a model that used up its thinking budget without an answer. None: nothing."""

    prefix_group: int | None = None
    """Requests of one group begin alike, so that a server which keeps what prompts begin with answers them sooner when
    they come one after the other. None: it stands alone."""

    token_probabilities: bool = False
    """Whether the completion must carry `TokenProbability` for its answer."""


@dataclass(frozen=True, kw_only=True)
class TokenProbability:
    """One token of an answer and what could have stood in its place."""

    text: str
    """The token as text."""

    alternatives: Mapping[str, float] = field(default_factory=dict)
    """Token text -> probability, 0..1, the token itself among them. Empty where they are not known."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """What the model said."""

    answer: str
    """The reply after the reasoning, or all of it where the backend cannot tell them apart."""

    reasoning: str | None = None
    """The reasoning. None: the backend cannot tell; it may stand inside ``answer`` in think tags."""

    truncated: bool = False
    """Whether the reply was cut off by a token limit."""

    usage: Usage = field(default_factory=Usage)
    """What this completion took."""

    tokens: tuple[TokenProbability, ...] = ()
    """The tokens of ``answer`` in order; their texts joined are ``answer``. Empty unless asked for."""

    @property
    def raw(self) -> str:
        """The whole reply in one piece."""
        return self.answer if self.reasoning is None else f"<think>\n{self.reasoning}\n</think>\n\n{self.answer}"


@dataclass(frozen=True, kw_only=True)
class ChoiceRequest:
    """A question to be answered with one of a few words, of which only the probabilities are wanted."""

    messages: tuple[Message, ...]
    """The conversation; the answer is the first thing that the model would say."""

    options: tuple[str, ...]
    """What may be answered, two or more; no two begin with the same token."""


@dataclass(frozen=True, kw_only=True)
class ChoiceProbabilities:
    """How likely each answer to a question is."""

    probabilities: Mapping[str, float]
    """Option -> probability, above 0 and adding up to 1: what the model would say if it had to take one of them."""

    mass: float
    """What the options have together of all that the model could say, 0..1. Near 0: it would rather say something
    else."""


@dataclass(frozen=True, kw_only=True)
class ChoiceResult:
    """What was read off for some questions."""

    odds: tuple[ChoiceProbabilities, ...]
    """One for each question, in order."""

    usage: Usage
    """What it took; a beginning that several of the questions share and that was run once counts once."""


class Backend(ABC):
    """A model that can be asked.

    ``complete`` is called on the package's one event loop, many times at once. Implementations batch, queue, retry
    transport errors and time out inside it; cancelling it must stop the work.
    """

    supports_grammar: ClassVar[bool] = False
    """Whether ``Request.form`` is enforced while decoding."""

    escapes_special_tokens: ClassVar[bool] = False
    """Whether special tokens spelled out inside a message's text are kept from becoming special tokens."""

    @property
    @abstractmethod
    def model(self) -> str:
        """The model's name, as recorded in verdicts."""

    @abstractmethod
    async def complete(self, request: Request) -> Completion:
        """Write one reply.

        Raises:
            ContextLengthError: the request does not fit the model's window.
            BackendError: the model could not be asked; already retried as far as that makes sense.
        """

    async def score_options(self, questions: Sequence[ChoiceRequest]) -> ChoiceResult:  # noqa: ARG002
        """How likely each option of each question is; nothing is written. All of the questions or none.

        Raises:
            ContextLengthError: a question does not fit the model's window; then nothing was run.
            BackendError: the model could not be asked, or gives no probabilities.
        """
        raise ConfigError(
            f"{type(self).__name__} gives no probabilities of answers, so there is nothing for readout='logits' to "
            "read; use readout='generate'."
        )

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """All that identifies the model and can change its replies, as plain JSON: part of the store's key."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """How to make this backend again in another process, as plain JSON with a ``kind``; never holds a key.

        Raises:
            ConfigError: it cannot be made again elsewhere.
        """

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Self:
        """The backend that `spec` described; by default its entries, without ``kind``, are keyword arguments.

        Raises:
            ConfigError: it is not the spec of such a backend.
        """
        return cls(**spec)

    @classmethod
    def from_settings(cls, model: str | None, options: Mapping[str, Any]) -> Self:
        """The backend for ``model`` and ``backend_options`` of ``ra-judge.toml``; by default keyword arguments.

        Args:
            model: The setting ``model``. None: not set.
            options: The setting ``backend_options``.

        Raises:
            ConfigError: an option is missing, unknown or wrong.
        """
        return cls(**({"model": model} if model is not None else {}), **options)

    def default_thinking_budget(self, *, trained: bool) -> int:
        """Tokens of reasoning to allow where nobody said; ``trained``: the model was trained to reason first."""
        return 2048 if trained else 1024

    @property
    def supports_option_scores(self) -> bool:
        """Whether `score_options` can be asked for."""
        return False

    def prefers_option_scores(self) -> bool:
        """Whether the model judges better by what is read off than by what it writes, where nobody said which."""
        return False

    def close(self) -> None:
        """Let go of connections, threads and memory. Called at interpreter exit; calling it twice is fine."""
        return


def log_odds(odds: ChoiceProbabilities) -> float:
    """Of the first option against the second."""
    first, second = odds.probabilities.values()
    return math.log(first) - math.log(second)
