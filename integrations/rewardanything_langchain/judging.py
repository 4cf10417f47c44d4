"""Which judge is asked, and how what was not judged is put into words."""

from __future__ import annotations

from collections.abc import Sequence

from rewardanything_core import BaseJudge, JudgeFailure, MissingExtraError, Principle, default_judge

Principles = Principle | str | Sequence[Principle | str]


def judge_or_default(judge: BaseJudge | None) -> BaseJudge:
    """The judge given, else the one for the process."""
    return default_judge() if judge is None else judge


def not_judged(failures: Sequence[JudgeFailure]) -> str:
    """What stands where the reasoning would."""
    return "Not judged. " + "; ".join(f"{failure.error_type}: {failure.message}" for failure in failures)


def missing(package: str, feature: str) -> MissingExtraError:
    """The error for a package that only part of this needs."""
    error = MissingExtraError(feature, extra="langchain")
    error.hint = f"Install it with: pip install {package}"
    return error
