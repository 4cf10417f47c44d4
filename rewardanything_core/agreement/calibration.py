"""A monotone map from a judge's scores to the scores people give, for use after judging."""

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


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A rising, piecewise linear map of 1..5 onto a part of 1..5. Scores keep their order and rankings stay true.

    It belongs to one judge and, strictly, to one principle: those whose labels it was learnt from.

    Raises:
        ConfigError: the numbers do not rise, or leave 1..5.
    """

    judge: tuple[float, ...]
    """The judge's scores at the knots: rising, the first 1 and the last 5."""

    human: tuple[float, ...]
    """What people give at each knot: rising, within 1..5."""

    about: dict[str, Any] = field(default_factory=dict)
    """Where it comes from: the model, how many labels."""

    def __post_init__(self) -> None:
        ends_meet = bool(self.judge) and (self.judge[0], self.judge[-1]) == (MIN_SCORE, MAX_SCORE)
        if len(self.judge) != len(self.human) or not ends_meet:
            raise ConfigError("A calibration needs a human score for each of the judge's, which go from 1 to 5.")
        if not (_rises(self.judge) and _rises(self.human)):
            raise ConfigError("The scores of a calibration must rise.")
        if self.human[0] < MIN_SCORE or self.human[-1] > MAX_SCORE:
            raise ConfigError("The human scores of a calibration must lie within 1..5.")

    def apply(self, score: float) -> float:
        """A judge's score, 1.0..5.0, as people would have it, 1.0..5.0."""
        place = min(max(bisect_right(self.judge, score), 1), len(self.judge) - 1)
        left, right = self.judge[place - 1], self.judge[place]
        share = (min(max(score, MIN_SCORE), MAX_SCORE) - left) / (right - left)
        return self.human[place - 1] + share * (self.human[place] - self.human[place - 1])

    def applied(self, verdict: Verdict) -> Verdict:
        """The verdict with its scores mapped, and each spread as wide as the map makes it there.

        The ranking stays as it is, and so do ``pass_scores``, which are what the model gave.
        """
        half = {label: (score, verdict.spread.get(label, 0.0)) for label, score in verdict.scores.items()}
        return dataclasses.replace(
            verdict,
            scores={label: self.apply(score) for label, score in verdict.scores.items()},
            spread={
                label: (self.apply(score + spread) - self.apply(score - spread)) / 2
                for label, (score, spread) in half.items()
                if label in verdict.spread
            },
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, for `of`."""
        return {"format": FORMAT, "judge": list(self.judge), "human": list(self.human), "about": self.about}

    def save(self, path: str | Path) -> None:
        """Write it to a file.

        Raises:
            ConfigError: it cannot be written.
        """
        try:
            Path(path).write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"Cannot write {path}: {error.strerror or error}.") from error

    @classmethod
    def of(cls, value: Calibration | Mapping[str, Any] | str | Path) -> Calibration:
        """Take a calibration as it is, or read it from what `to_dict` gave or from a file that `save` wrote.

        Raises:
            ConfigError: it is none.
        """
        if isinstance(value, Calibration):
            return value
        where = "This"
        if not isinstance(value, Mapping):
            where = str(value)
            try:
                value = json.loads(Path(value).read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise ConfigError(f"Cannot read the calibration {where}: {error}.") from error
        try:
            if value["format"] != FORMAT:  # type: ignore[index]  # what is no mapping is a TypeError
                raise ConfigError(f"{where} is a calibration of another version of this package.")
            judge, human = (tuple(float(x) for x in value[side]) for side in ("judge", "human"))  # type: ignore[index]
            return cls(judge=judge, human=human, about=dict(value.get("about", {})))  # type: ignore[union-attr]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"{where} is no calibration: {error!r}.") from error


def _rises(numbers: tuple[float, ...]) -> bool:
    return all(one < following for one, following in pairwise(numbers))
