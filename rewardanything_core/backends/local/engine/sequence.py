"""The state of one reply while it is generated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rewardanything_core.backends.base import TokenProbability
from rewardanything_core.backends.grammar import Choice, Grammar, Text

if TYPE_CHECKING:
    import torch

    from rewardanything_core.backends.local.engine.kv_cache import CacheSlot
    from rewardanything_core.sampling import SamplingParams


@dataclass(frozen=True)
class FreeText:
    """A whole reply without a grammar: it ends where the model ends its turn."""

    max_tokens: int
    """The most tokens of the reply. A reply that reaches it is truncated."""


@dataclass(eq=False)
class Sequence:
    """A prompt and the reply that is generated for it.

    The engine distinguishes tokens that are decided from tokens that are computed. `token_ids` holds all that are
    decided; the first `num_computed_tokens` of them have gone through the model. A grammar often decides several tokens
    at once, so a sequence can have more than one pending token after its prompt.
    """

    prompt_ids: list[int]
    """Token ids of the conversation."""

    grammar: Grammar | None
    """What the reply must look like; consumed while the reply is generated. None: free text."""

    sampling: SamplingParams
    """How to pick tokens of free text."""

    prompt_ending: str = ""
    """The last characters of the prompt. Some chat templates open the reply themselves (``<think>``); what the prompt
    already contains of the grammar's first literal is not generated again."""

    max_new_tokens: int = 0
    """The most tokens that the reply can have. 0: unknown, so that only the prompt is counted."""

    is_cancelled: Callable[[], bool] = lambda: False
    """Whether the reply is no longer wanted."""

    constraint: Choice | Text | FreeText | None = None
    """What the next token belongs to. None: the reply is complete, or not started."""

    token_ids: list[int] = field(default_factory=list)
    """The tokens decided so far, prompt included. Empty: not started."""

    num_computed_tokens: int = 0
    """How many of ``token_ids``, from the first, have their keys and values in ``slot``."""

    num_new_tokens: int = 0
    """Tokens of the reply so far."""

    constraint_ids: list[int] = field(default_factory=list)
    """Tokens picked so far for ``constraint``."""

    pieces: list[TokenProbability] = field(default_factory=list)
    """The reply so far: literals, chosen options and texts, in order."""

    truncated: bool = False
    """Whether free text ended at its token limit."""

    generator: torch.Generator | None = None
    """Source of randomness of this sequence alone. None: greedy decoding."""

    slot: CacheSlot | None = None
    """Its place in the KV cache. None: waiting, preempted or finished."""

    seconds: float = 0.0
    """Its share of the time of the steps that it took part in."""

    error: Exception | None = None
    """Why it failed. None: it did not."""

    @property
    def reply(self) -> str:
        """The reply so far, as text."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def is_complete(self) -> bool:
        """Whether the reply is complete."""
        return self.error is None and self.constraint is None and bool(self.token_ids)

    @property
    def max_length(self) -> int:
        """The most tokens that prompt and reply can have together."""
        return len(self.prompt_ids) + self.max_new_tokens

    @property
    def num_pending_tokens(self) -> int:
        """Tokens that are decided and have not gone through the model."""
        return len(self.token_ids) - self.num_computed_tokens
