"""Calibration: a monotone map from a judge's scores to the scores that people give, applied after judging."""

from __future__ import annotations

import dataclasses
import json
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from rewardanything_core.errors import ConfigError
from rewardanything_core.types import MAX_SCORE, MIN_SCORE, Verdict

FORMAT = 1
"""Version of the file format."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A strictly increasing, piecewise linear map from 1..5 into 1..5, so rankings do not change.

    It belongs to one judge and, strictly speaking, to the principle of the labels that it was fitted to.

    Raises:
        ConfigError: the scores do not increase strictly, or are outside 1..5.
    """

    judge: tuple[float, ...]
    """The judge's scores at the knots: increasing, from 1 to 5."""

    human: tuple[float, ...]
    """People's scores at the knots: increasing, within 1..5."""

    about: dict[str, Any] = field(default_factory=dict)
    """Its origin: the model and the number of labels."""

    def __post_init__(self) -> None:
        covers_scale = bool(self.judge) and (self.judge[0], self.judge[-1]) == (MIN_SCORE, MAX_SCORE)
        if len(self.judge) != len(self.human) or not covers_scale:
            raise ConfigError("A calibration needs a human score for each of the judge's scores, which go from 1 to 5.")
        if not (_increases(self.judge) and _increases(self.human)):
            raise ConfigError("The scores of a calibration must increase strictly.")
        if self.human[0] < MIN_SCORE or self.human[-1] > MAX_SCORE:
            raise ConfigError("The human scores of a calibration must be within 1..5.")

    def apply(self, score: float) -> float:
        """The human score, 1.0..5.0, for a judge's score; scores outside 1..5 are clipped first."""
        right = min(max(bisect_right(self.judge, score), 1), len(self.judge) - 1)
        left = right - 1
        clipped = min(max(score, MIN_SCORE), MAX_SCORE)
        share = (clipped - self.judge[left]) / (self.judge[right] - self.judge[left])
        return self.human[left] + share * (self.human[right] - self.human[left])

    def calibrate(self, verdict: Verdict) -> Verdict:
        """The verdict with its scores and spreads mapped.

        The ranking does not change, and neither do ``pass_scores``, which are the model's own.
        """
        mapped_spread = {}
        for label, spread in verdict.spread.items():
            score = verdict.scores[label]
            mapped_spread[label] = (self.apply(score + spread) - self.apply(score - spread)) / 2
        return dataclasses.replace(
            verdict,
            scores={label: self.apply(score) for label, score in verdict.scores.items()},
            spread=mapped_spread,
        )

    def to_dict(self) -> dict[str, Any]:
        """The calibration as plain JSON types, for `of`."""
        return {"format": FORMAT, "judge": list(self.judge), "human": list(self.human), "about": self.about}

    def save(self, path: str | Path) -> None:
        """Write the calibration to a JSON file.

        Raises:
            ConfigError: the file cannot be written.
        """
        try:
            Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"Cannot write {path}: {error.strerror or error}.") from error

    @classmethod
    def of(cls, value: Calibration | Mapping[str, Any] | str | Path) -> Calibration:
        """The calibration in a mapping from `to_dict` or a file from `save`; a calibration is returned unchanged.

        Raises:
            ConfigError: the value or file is not a valid calibration.
        """
        if isinstance(value, Calibration):
            return value
        source = "The value"
        if not isinstance(value, Mapping):
            source = str(value)
            try:
                value = json.loads(Path(value).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise ConfigError(f"Cannot read the calibration {source}: {error}.") from error
        try:
            if value["format"] != FORMAT:  # type: ignore[index]  # a TypeError if it is not a mapping
                raise ConfigError(f"{source} is a calibration of another version of this package.")
            judge, human = (tuple(float(x) for x in value[side]) for side in ("judge", "human"))  # type: ignore[index]
            return cls(judge=judge, human=human, about=dict(value.get("about", {})))  # type: ignore[union-attr]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, ConfigError):
                raise
            problem = f"the field {error} is missing" if isinstance(error, KeyError) else error
            raise ConfigError(f"{source} is not a calibration: {problem}.") from error


def _increases(numbers: tuple[float, ...]) -> bool:
    return all(number < following for number, following in pairwise(numbers))
