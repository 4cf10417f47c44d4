"""The interface between a judge and a language model: one request in, one completion out.

A backend knows nothing of principles, labels or verdicts. It receives messages and the required structure of the reply,
which it either enforces token by token (``supports_grammar``) or requests from a server by JSON schema.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from rewardanything_core.backends.grammar import GrammarFactory
from rewardanything_core.backends.pricing import Prices
from rewardanything_core.decisions import Answer, Question
from rewardanything_core.decisions.limits import OPENAI_QUESTIONS
from rewardanything_core.errors import BackendError, ConfigError
from rewardanything_core.sampling import SamplingParams
from rewardanything_core.types import Message, Usage

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request for one reply."""

    messages: tuple[Message, ...]
    """The conversation so far."""

    sampling: SamplingParams
    """How to sample the reply; ``thinking_budget`` is a number here, never None."""

    grammar: GrammarFactory | None = None
    """Makes the grammar of the reply, for backends that enforce grammars. None: free text until the model stops."""

    schema: Mapping[str, Any] | None = None
    """JSON schema of the answer, for backends that request one. None: no schema."""

    is_reasoning_model: bool = False
    """Whether the model was trained to reason in think tags before it answers. Constraining its whole reply would
    suppress the reasoning."""

    final_answer_prompt: str | None = None
    """Sent to a model that used up its thinking budget without an answer. None: nothing is sent."""

    prefix_group: int | None = None
    """Requests of one group share a long prefix. Sending them one after the other makes better use of a server's prefix
    cache. None: no group."""

    token_probabilities: bool = False
    """Whether the completion must have a `TokenProbability` for each token of its answer."""


MAX_UNKNOWN = 0.05
"""Largest probability that an alternative may have that a server did not list: it moves a score by 0.2 at most."""


@dataclass(frozen=True, kw_only=True)
class TokenProbability:
    """One token of an answer, with its likely alternatives."""

    text: str
    """The token as text."""

    alternatives: Mapping[str, float] = field(default_factory=dict)
    """Token text -> probability, 0..1, including the token itself. Empty where the model does not provide them."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A model's reply."""

    answer: str
    """The reply after the reasoning, or all of it where the backend cannot separate them."""

    reasoning: str | None = None
    """The reasoning. None: the backend cannot separate it; it may be inside ``answer``, in think tags."""

    truncated: bool = False
    """Whether a token limit cut the reply off."""

    usage: Usage = field(default_factory=Usage)
    """Usage of this completion."""

    tokens: tuple[TokenProbability, ...] = ()
    """The tokens of ``answer`` in order; their texts concatenated are ``answer``. Empty unless requested."""

    @property
    def raw(self) -> str:
        """The whole reply as one text."""
        return self.answer if self.reasoning is None else f"<think>\n{self.reasoning}\n</think>\n\n{self.answer}"


@dataclass(frozen=True, kw_only=True)
class ChoiceRequest:
    """A question with a few possible answers, of which only the probabilities are requested."""

    messages: tuple[Message, ...]
    """The conversation; the answer is the first token of the model's reply."""

    options: tuple[str, ...]
    """The possible answers, two or more; no two begin with the same token."""


@dataclass(frozen=True, kw_only=True)
class ChoiceProbabilities:
    """The probabilities of the answers to one question."""

    probabilities: Mapping[str, float]
    """Option -> probability, above 0 and summing to 1: what the model would answer if it had to choose an option."""

    mass: float
    """Probability of all options together among everything that the model could reply, 0..1. Near 0 the model would
    reply something else."""

    def __post_init__(self) -> None:
        """Raise BackendError if they are not probabilities, such as the NaN of a model whose arithmetic overflows."""
        _check_probabilities([*self.probabilities.values(), self.mass])
        if not all(self.probabilities.values()):
            raise BackendError(f"The model gave an answer the probability 0: {dict(self.probabilities)!r:.200}.")


@dataclass(frozen=True, kw_only=True)
class ChoiceResult:
    """The answers to several questions."""

    answers: tuple[ChoiceProbabilities, ...]
    """One per question, in order."""

    usage: Usage
    """Usage of the call; a prefix that several questions share and that was run once counts once."""


@dataclass(frozen=True, kw_only=True)
class DecisionResult:
    """The answers of a decision model to several questions about one input."""

    answers: tuple[Answer, ...]
    """One per question, in order; each fits its question or is a `RefusalAnswer`."""

    raw: str
    """The response as JSON."""

    usage: Usage
    """Usage of the call."""

    def __post_init__(self) -> None:
        """Raise BackendError if they have no probabilities."""
        for answer in self.answers:
            _check_probabilities(getattr(answer, "probabilities", [getattr(answer, "probability", 1.0)]))


@dataclass(frozen=True, kw_only=True)
class Rewards:
    """What a scalar reward model gives for several conversations."""

    values: tuple[float, ...]
    """One per conversation, in order, on the model's own scale: higher is better, and nothing more."""

    usage: Usage
    """Usage of the call."""

    def __post_init__(self) -> None:
        """Raise BackendError if a reward is not finite, which a score could not show."""
        if not all(map(math.isfinite, self.values)):
            raise BackendError("The model's rewards are not finite numbers: its arithmetic overflowed.")


@dataclass(frozen=True, kw_only=True)
class HiddenStates:
    """A model's activations at the end of several prompts."""

    states: tuple[np.ndarray, ...]
    """One per prompt, in order: (hidden size,) float32."""

    usage: Usage
    """Usage of the call; a prefix that several prompts share and that was run once counts once."""

    def __post_init__(self) -> None:
        """Raise BackendError if a state is not finite, which a score could not show."""
        import numpy as np

        if not all(np.isfinite(state).all() for state in self.states):
            raise BackendError("The model's hidden states are not finite numbers: its arithmetic overflowed.")


def _check_probabilities(values: Iterable[float]) -> None:
    values = list(values)
    if not all(0 <= value <= 1 + 1e-6 for value in values):
        raise BackendError(f"The model gave {values!r:.200} as probabilities of answers, which are from 0 to 1.")


class Backend(ABC):
    """A language model.

    ``complete`` is called on the package's event loop, many times concurrently. Implementations batch, queue, retry
    transport errors and apply timeouts inside it; cancelling it must stop the work.
    """

    supports_grammar: ClassVar[bool] = False
    """Whether ``Request.grammar`` is enforced while decoding."""

    escapes_special_tokens: ClassVar[bool] = False
    """Whether spellings of special tokens inside a message's text are tokenized as ordinary text."""

    reserves_requests: ClassVar[bool] = False
    """Whether each attempt at a request is reserved from the budget in force (`budget.reserve`). If not, the judge
    reserves the request as a whole."""

    @property
    @abstractmethod
    def model(self) -> str:
        """The model's name, as recorded in verdicts."""

    @abstractmethod
    async def complete(self, request: Request) -> Completion:
        """Generate one reply.

        Raises:
            ContextLengthError: the request does not fit the model's context window.
            BackendError: the model could not be reached or failed, after the retries that make sense.
        """

    async def score_options(self, questions: Sequence[ChoiceRequest]) -> ChoiceResult:  # noqa: ARG002
        """The probability of each option of each question, without generating text; for all questions or none.

        Raises:
            ContextLengthError: a question does not fit the model's context window; then nothing was run.
            BackendError: the model could not be reached, or does not provide probabilities.
        """
        raise ConfigError(
            f"{type(self).__name__} does not provide probabilities of answers, which readout='logits' needs; use "
            "readout='generate'."
        )

    async def hidden_states(self, prompts: Sequence[tuple[Message, ...]], layer: int) -> HiddenStates:  # noqa: ARG002
        """The residual stream after some layers, at the position where the reply to each prompt would begin.

        Args:
            prompts: The conversations.
            layer: The number of layers to run, from 1 to ``num_layers``.

        Raises:
            ContextLengthError: a prompt does not fit the model's context window; then nothing was run.
            BackendError: the model failed.
        """
        raise ConfigError(f"{type(self).__name__} does not provide hidden states, which readout='head' needs.")

    async def decide(self, content: Message, questions: Sequence[Question]) -> DecisionResult:  # noqa: ARG002
        """Answer typed questions about an input with probabilities, without generating text; all in one request.

        Args:
            content: The input, a user message.
            questions: The questions, with distinct names; at most `max_questions`.

        Raises:
            ContextLengthError: the request does not fit the model's context window.
            VerdictParseError: the answers do not follow the format of the route, or do not fit the questions.
            BackendError: the model could not be reached, or its server has no decision route.
        """
        raise ConfigError(f"{type(self).__name__} has no decisions, which readout='decisions' needs.")

    async def rewards(self, conversations: Sequence[Sequence[Message]]) -> Rewards:  # noqa: ARG002
        """A number for the last turn of each conversation, from a scalar reward model.

        Raises:
            ContextLengthError: a conversation does not fit the model's context window; then nothing was run.
            BackendError: the model failed.
        """
        raise ConfigError(
            f"{type(self).__name__} gives no scalar rewards, which template='skywork' needs; load the model with "
            "from_pretrained(MODEL, template='skywork')."
        )

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Everything that identifies the model and can change its replies, as plain JSON: part of the store's key."""

    @abstractmethod
    def spec(self) -> dict[str, Any]:
        """How another process recreates this backend, as plain JSON with a ``kind``; never holds a key.

        Raises:
            ConfigError: another process cannot make it.
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
        """Tokens of reasoning to allow where the settings do not say.

        Args:
            trained: Whether the model was trained to reason before it judges.
        """
        return 2048 if trained else 1024

    @property
    def prices(self) -> Prices | None:
        """What tokens cost, which ``max_cost`` needs. None: not known."""
        return None

    def count_tokens(self, messages: Sequence[Message]) -> int | None:  # noqa: ARG002
        """The number of tokens of a conversation, as the model's own tokenizer counts them.

        Returns:
            None: the tokenizer is not at hand, so that the number can only be estimated.
        """
        return None

    @property
    def supports_images(self) -> bool:
        """Whether messages may have images: content that is a list of text and ``image_url`` parts."""
        return False

    @property
    def supports_option_scores(self) -> bool:
        """Whether `score_options` works."""
        return False

    @property
    def num_layers(self) -> int:
        """The number of layers whose `hidden_states` can be computed. 0: none."""
        return 0

    def prefers_option_scores(self) -> bool:
        """Whether ``readout="auto"`` should be ``"logits"``, because the model judges better that way."""
        return False

    @property
    def supports_decisions(self) -> bool:
        """Whether `decide` works, as far as that is known without asking a server."""
        return False

    @property
    def max_questions(self) -> int:
        """The largest number of questions of one call of `decide`, 2 or more."""
        return OPENAI_QUESTIONS

    def prefers_decisions(self) -> bool:
        """Whether ``readout="auto"`` should be ``"decisions"``, because the model writes nothing."""
        return False

    def close(self) -> None:
        """Release connections, threads and memory. Called at interpreter exit; may be called repeatedly."""
        return


def log_odds(answer: ChoiceProbabilities) -> float:
    """Log-odds of the first option against the second, in nats."""
    first, second = answer.probabilities.values()
    return math.log(first) - math.log(second)
