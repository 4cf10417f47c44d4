"""Sampling parameters of a reply."""

from __future__ import annotations

from dataclasses import dataclass

from rewardanything_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How a judge model is asked to write its reply."""

    temperature: float = 0.0
    """0 takes the likeliest token at each step; above 0 samples."""

    top_p: float = 1.0
    """Nucleus of the distribution to sample from, in (0, 1]."""

    thinking_budget: int | None = None
    """Most tokens of reasoning before the verdict is asked for. None: the default for the model. 0: none."""

    max_tokens: int = 1024
    """Most tokens of the answer that follows the reasoning."""

    seed: int = 0
    """Seed of the sampler; no effect at temperature 0."""

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 5:
            raise ConfigError(f"temperature must be within 0..5, not {self.temperature!r}.")
        if not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be above 0 and at most 1, not {self.top_p!r}.")
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens must be at least 1, not {self.max_tokens!r}.")
        if self.thinking_budget is not None and self.thinking_budget < 0:
            raise ConfigError(f"thinking_budget must be 0 or more, not {self.thinking_budget!r}.")
