"""The judge that ``judge=None`` means, principles given loosely, and failures as exceptions."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import rewardanything_core
from rewardanything_core import (
    ConfigError,
    Judge,
    JudgeFailure,
    MissingExtraError,
    Principle,
    RewardAnythingError,
    Verdict,
    load_judge,
)

Principles = Principle | str | Sequence[Principle | str]

_lock = threading.Lock()
_shared: list[Judge] = []


def judge_or_shared(judge: Judge | None) -> Judge:
    """The judge given, else the one for the process, made by the first call."""
    if judge is not None:
        return judge
    with _lock:
        if not _shared:
            _shared.append(load_judge())
        return _shared[0]


def principles_of(given: Principles) -> tuple[Principle, ...]:
    """One or several principles, as a tuple."""
    several = [given] if isinstance(given, Principle | str) else list(given)
    if not several:
        raise ConfigError("Give at least one principle.")
    return tuple(Principle.of(one) for one in several)


def as_error(failure: JudgeFailure) -> RewardAnythingError:
    """The exception that a batch kept back: of the class that judging one case alone would have raised."""
    found = getattr(rewardanything_core, failure.error_type, RewardAnythingError)
    kind: type[RewardAnythingError] = found if issubclass(found, RewardAnythingError) else RewardAnythingError
    error = kind.__new__(kind)
    RewardAnythingError.__init__(error, failure.message)
    error.failure = failure
    vars(error).setdefault("raw", failure.raw_output or "")
    return error


def not_judged(failures: Sequence[JudgeFailure]) -> str:
    """What stands where the reasoning would."""
    return "Not judged. " + "; ".join(f"{failure.error_type}: {failure.message}" for failure in failures)


def provenance(verdict: Verdict) -> dict[str, Any]:
    """Where a verdict comes from, as plain JSON types."""
    return {
        "model": verdict.model,
        "template_hash": verdict.template_hash,
        "seed": verdict.seed,
        "agreement": verdict.agreement,
        "record_id": verdict.record_id,
    }


def missing(package: str, feature: str) -> MissingExtraError:
    """The error for a package that only part of this needs."""
    error = MissingExtraError(feature, extra="langchain")
    error.hint = f"Install it with: pip install {package}"
    return error
