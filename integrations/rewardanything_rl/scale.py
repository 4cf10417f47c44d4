"""From the scores of a verdict to rewards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from rewardanything_core import ConfigError, Verdict


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How scores become rewards."""

    normalize: bool = True
    """Rewards are (score - 1) / 4, within 0..1; otherwise they are the scores, 1..5."""

    tie_break: float = 0.02
    """Equal scores are set apart by the verdict's ranking: the first and the last of them by this much, in units of
    the reward, around the reward they would have shared. Never so far that they would meet another score. 0: ties
    stay ties."""

    def __post_init__(self) -> None:
        if not 0 <= self.tie_break <= 1:
            raise ConfigError(f"tie_break must be within 0..1, not {self.tie_break!r}.")

    def rewards(self, verdict: Verdict, zero: str | None = None) -> dict[str, float]:
        """The reward of each label. With ``zero``, the label of a response, they count from that one's, then 0.0."""
        scores = verdict.normalized if self.normalize else verdict.scores
        rewards = _set_apart(scores, verdict.ranking, self.tie_break)
        origin = 0.0 if zero is None else rewards[zero]
        return {label: reward - origin for label, reward in rewards.items()}


def _set_apart(scores: Mapping[str, float], ranking: list[str], most: float) -> dict[str, float]:
    tied: dict[float, list[str]] = {}
    for label in ranking:  # rounded, since means of the same scores may differ in their last digit
        tied.setdefault(round(scores[label], 9), []).append(label)
    gaps = [upper - lower for lower, upper in pairwise(sorted(tied))]
    room = min([most, *(gap / 2 for gap in gaps)])
    return {
        label: score + (room * (0.5 - place / (len(labels) - 1)) if len(labels) > 1 else 0.0)
        for score, labels in tied.items()
        for place, label in enumerate(labels)
    }
