"""What model calls take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens, time and cost of model calls. Add two with ``+``; ``later - earlier`` is what was spent in between."""

    calls: int = 0
    """Requests sent to the model, retries included."""

    prompt_tokens: int = 0
    """Prompt tokens processed."""

    completion_tokens: int = 0
    """Tokens generated, reasoning included."""

    seconds: float = 0.0
    """Sum of the calls' wall time, in seconds; concurrent calls overlap, so this can exceed elapsed time."""

    cost: float | None = None
    """US dollars. None: no price is known."""

    def __add__(self, other: Usage) -> Usage:
        known = [c for c in (self.cost, other.cost) if c is not None]
        return Usage(
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            seconds=self.seconds + other.seconds,
            cost=sum(known) if known else None,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            calls=self.calls - other.calls,
            prompt_tokens=self.prompt_tokens - other.prompt_tokens,
            completion_tokens=self.completion_tokens - other.completion_tokens,
            seconds=self.seconds - other.seconds,
            cost=None if self.cost is None else self.cost - (other.cost or 0.0),
        )
