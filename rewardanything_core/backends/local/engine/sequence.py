"""One reply being generated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rewardanything_core.backends.base import TokenProbability
from rewardanything_core.backends.grammar import Choice, Grammar, Text

if TYPE_CHECKING:
    import torch

    from rewardanything_core.backends.local.engine.kv_cache import Seat
    from rewardanything_core.sampling import SamplingParams


@dataclass(eq=False)
class Row:
    """One reply being written."""

    prompt: list[int]
    """Token ids of the conversation."""

    grammar: Grammar
    """What remains to be filled in."""

    sampling: SamplingParams
    """How to pick tokens in free text."""

    opening: str = ""
    """End of the prompt's text, whose overlap with the form's first literal is not written twice."""

    longest: int = 0
    """Tokens that the reply can take. 0: not known."""

    cancelled: Callable[[], bool] = lambda: False
    """Whether nobody wants this reply any more."""

    pieces: list[TokenProbability] = field(default_factory=list)
    """What has been written, place by place."""

    written: int = 0
    """Tokens appended after the prompt."""

    place: Choice | Text | None = None
    """What is being filled in now. None: the reply is complete, or not begun."""

    ids: list[int] = field(default_factory=list)
    """All tokens decided on so far, from the prompt's first."""

    done: int = 0
    """How many of them have been run through the model."""

    text_ids: list[int] = field(default_factory=list)
    """Tokens picked for the place being filled in."""

    generator: torch.Generator | None = None
    """Source of randomness. None: greedy."""

    seat: Seat | None = None
    """Where its keys and values are. None: nowhere yet, or no longer."""

    seconds: float = 0.0
    """Its share of the time that its steps took."""

    error: Exception | None = None
    """What went wrong with this row alone. None: nothing."""

    @property
    def reply(self) -> str:
        """What has been written, as text."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def need(self) -> int:
        """The most tokens that it will be long."""
        return len(self.prompt) + self.longest

    @property
    def pending(self) -> int:
        """How many tokens are decided on and not yet run through the model."""
        return len(self.ids) - self.done
