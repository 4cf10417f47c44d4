"""Thresholds of a cascade in a file, with the judges that they were fitted for."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from rewardanything_core.agreement.confidence import CONFIDENCES, Confidence
from rewardanything_core.errors import ConfigError
from rewardanything_core.judging.base import BaseJudge

_FORMAT = "rewardanything-cascade-1"

Thresholds = Sequence[float | None]
"""The confidence, 0..1, that each stage needs to decide. None: the stage never decides and is not asked."""


@dataclass(frozen=True, kw_only=True)
class CascadeThresholds:
    """Fitted thresholds, as ``ra-judge cascade fit`` writes them."""

    thresholds: tuple[float | None, ...]
    """For each stage except the last one, and for that one too if the cascade may abstain; see `Thresholds`."""

    confidence: Confidence
    """What confidences are computed from."""

    judges: tuple[str, ...]
    """A hash of each stage's fingerprint, in order."""

    needs_last: bool
    """Whether the thresholds hold for this last stage only: they are about the agreement with it."""

    card: Mapping[str, Any] = field(default_factory=dict)
    """How they were fitted, as plain JSON."""

    def check(self, stages: Sequence[BaseJudge], source: str) -> None:
        """Check that they were fitted for these judges.

        Args:
            stages: The cascade's stages.
            source: The file, for messages.

        Raises:
            ConfigError: they were not; the message names the stage.
        """
        if len(stages) != len(self.judges):
            raise ConfigError(f"{source} has thresholds for {len(self.judges)} stages, and there are {len(stages)}.")
        compared = len(stages) if self.needs_last else len(self.thresholds)
        for number, (stage, fitted) in enumerate(zip(stages[:compared], self.judges, strict=False), start=1):
            if judge_hash(stage) != fitted:
                raise ConfigError(
                    f"The thresholds in {source} were fitted for another judge as stage {number}, or for other "
                    f"settings of {stage.model}.",
                    hint="A confidence means something else for another judge. Fit again: ra-judge cascade fit LABELS",
                )

    def save(self, path: str | Path) -> None:
        """Write them to a JSON file.

        Args:
            path: The file.
        """
        content = {
            "format": _FORMAT,
            "thresholds": list(self.thresholds),
            "confidence": self.confidence,
            "judges": list(self.judges),
            "needs_last": self.needs_last,
            "card": dict(self.card),
        }
        Path(path).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read them from a file.

        Args:
            path: The file.

        Raises:
            ConfigError: there is no such file, or it has no thresholds.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(
                f"Cannot read the thresholds in {path}: {error.strerror}.",
                hint=f"`ra-judge cascade fit LABELS -o {path}` writes them.",
            ) from error
        except ValueError as error:
            raise ConfigError(f"{path} has no thresholds of a cascade: {error}.") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise ConfigError(f"{path} has no thresholds of a cascade; `ra-judge cascade fit` writes them.")
        try:
            return cls(
                thresholds=checked_thresholds(content["thresholds"], str(path)),
                confidence=checked_confidence(content["confidence"]),
                judges=tuple(map(str, content["judges"])),
                needs_last=bool(content["needs_last"]),
                card=dict(content["card"]),
            )
        except (KeyError, TypeError) as error:
            raise ConfigError(f"The thresholds in {path} cannot be used: {error!r}.") from error


def judge_hash(judge: BaseJudge) -> str:
    """A hash of everything about a judge that affects verdicts."""
    content = json.dumps(judge.fingerprint(), sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def checked_thresholds(thresholds: Any, where: str) -> tuple[float | None, ...]:
    """Thresholds with their types checked.

    Args:
        thresholds: See `Thresholds`; infinity also means never.
        where: Their source, for messages.

    Raises:
        ConfigError: one is not a number within 0..1.
    """
    if not isinstance(thresholds, Sequence) or isinstance(thresholds, str):
        raise ConfigError(f"The thresholds in {where} must be a list of numbers, not {thresholds!r}.")
    return tuple(_checked_threshold(threshold, where) for threshold in thresholds)


def checked_confidence(confidence: Any) -> Confidence:
    """A measure of confidence, checked.

    Raises:
        ConfigError: there is no such measure.
    """
    for known in CONFIDENCES:
        if confidence == known:
            return known
    raise ConfigError(f"confidence must be one of {', '.join(CONFIDENCES)}, not {confidence!r}.")


def _checked_threshold(threshold: Any, where: str) -> float | None:
    if threshold is None or threshold == math.inf:
        return None
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 <= threshold <= 1:
        raise ConfigError(
            f"A threshold in {where} must be a confidence within 0..1, or None for a stage that never decides, not "
            f"{threshold!r}."
        )
    return float(threshold)
