"""From the scores of a verdict to rewards."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rewardanything_core import ConfigError, Verdict


def check_reward(name: str, value: float | None) -> None:
    """Check a reward that the user sets for samples without a score.

    Args:
        name: The argument, for the message.
        value: The reward. None: there is none.

    Raises:
        ConfigError: it is not a finite number.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if value is not None and not is_number:
        raise ConfigError(f"{name} must be a finite number or None, not {value!r}.")


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How scores become rewards."""

    normalize: bool = True
    """Rewards are (score - 1) / 4, within 0..1; otherwise they are the scores, 1..5."""

    tie_break: float = 0.02
    """Largest distance between the rewards of responses with equal scores, which are spread evenly around their common
    reward in the order of the verdict's ranking. In units of the reward, 0..1; reduced where it would reach another
    score. Responses that miss a requirement of a rubric are not spread. 0: ties stay ties."""

    def __post_init__(self) -> None:
        if not 0 <= self.tie_break <= 1:
            raise ConfigError(f"tie_break must be within 0..1, not {self.tie_break!r}.")

    def rewards(self, verdict: Verdict, baseline: str | None = None) -> dict[str, float]:
        """The reward of each label.

        Args:
            verdict: The verdict of a group.
            baseline: The label of the response whose reward is subtracted from all. None: nothing is subtracted.

        Returns:
            label -> reward, one for each response of the verdict.
        """
        scores = verdict.normalized if self.normalize else verdict.scores
        rewards = _break_ties(scores, verdict.ranking, self.tie_break, fixed=verdict.missed)
        offset = 0.0 if baseline is None else rewards[baseline]
        return {label: reward - offset for label, reward in rewards.items()}

    def criterion_rewards(self, verdict: Verdict, label: str, baseline: str | None = None) -> dict[str, float]:
        """The reward of one label under each criterion of a rubric.

        Equal scores are not spread, whatever `tie_break` is: a trainer that scales the rewards under each criterion by
        their standard deviation within the group, as GDPO does, would turn the spread into a full advantage.

        Args:
            verdict: The verdict of a group.
            label: The label.
            baseline: As for `rewards`.

        Returns:
            Criterion -> reward; empty unless the verdict is under a rubric.
        """
        exact = dataclasses.replace(self, tie_break=0.0)
        return {name: exact.rewards(each, baseline)[label] for name, each in verdict.criteria.items()}


def _break_ties(
    scores: Mapping[str, float], ranking: Sequence[str], limit: float, *, fixed: Collection[str]
) -> dict[str, float]:
    tied: dict[float, list[str]] = {}
    for label in ranking:  # rounded, since means of the same scores may differ in their last digit
        tied.setdefault(round(scores[label], 9), []).append(label)
    gaps = [upper - lower for lower, upper in pairwise(sorted(tied))]
    width = min([limit, *(gap / 2 for gap in gaps)])
    return {
        label: score + (width * (0.5 - rank / (len(labels) - 1)) if spread else 0.0)
        for score, labels in tied.items()
        for spread in [len(labels) > 1 and not any(label in fixed for label in labels)]
        for rank, label in enumerate(labels)
    }
