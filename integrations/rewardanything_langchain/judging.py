"""The judge of a run's rows, and telling the failure of a row from a judge that cannot be used at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

from rewardanything_core import (
    BaseJudge,
    Case,
    JudgeFailure,
    MissingExtraError,
    Principle,
    RewardAnythingError,
    Verdict,
    default_judge,
    resolve_judge,
)
from rewardanything_core.errors import SETUP_ERRORS, JudgeUnavailableError, error_from_failure

Principles: TypeAlias = Principle | str | Sequence[Principle | str]
Outcome: TypeAlias = Verdict | JudgeFailure


class RowJudge:
    """Judges the rows of a run one at a time, and stops the run if no row can be judged.

    Args:
        judge: The judge, or a model string for `resolve_judge`. None: the process's default judge, loaded when first
            needed.

    Raises:
        ConfigError: the judge is something else, or the string names no model.
        AuthenticationError: the model's key is missing.
    """

    def __init__(self, judge: BaseJudge | str | None) -> None:
        self._judge = resolve_judge(judge)

    @property
    def judge(self) -> BaseJudge:
        """The judge; the default one is loaded now if it was not yet.

        Raises:
            JudgeUnavailableError: the settings give no judge.
        """
        try:
            return self._judge or default_judge()
        except RewardAnythingError as error:
            raise JudgeUnavailableError(f"There is no judge, so nothing was scored. {error}") from error

    async def ajudge(self) -> BaseJudge:
        """`judge`, awaited, since loading one takes time."""
        return await asyncio.to_thread(lambda: self.judge)

    def outcomes(self, cases: Sequence[Case]) -> list[Outcome]:
        """A verdict or failure for each case.

        Raises:
            JudgeUnavailableError: no row can be judged before the judge's settings are corrected.
        """
        judge = self.judge
        try:
            outcomes = judge.judge_batch(cases)
        except RewardAnythingError as error:
            return self._failures(cases, error)
        return _checked(outcomes)

    async def aoutcomes(self, cases: Sequence[Case]) -> list[Outcome]:
        """`outcomes`, awaited."""
        judge = await self.ajudge()
        try:
            outcomes = await judge.ajudge_batch(cases)
        except RewardAnythingError as error:
            return self._failures(cases, error)
        return _checked(outcomes)

    def _failures(self, cases: Sequence[Case], error: RewardAnythingError) -> list[Outcome]:
        _stop_if_unusable(error)
        return [failure_of(error)] * len(cases)


def failure_of(error: Exception) -> JudgeFailure:
    """An exception as the failure of its row; the judge's own record of it, if there is one."""
    failure = error.failure if isinstance(error, RewardAnythingError) else None
    return failure or JudgeFailure(case_id=None, error_type=type(error).__name__, message=str(error))


def failure_text(failures: Sequence[JudgeFailure]) -> str:
    """The comment or reasoning of a row that was not judged."""
    return "Not judged. " + "; ".join(failure.summary for failure in failures)


def missing_package_error(package: str, feature: str) -> MissingExtraError:
    """The error for a package that only part of this integration needs.

    Args:
        package: The distribution to install.
        feature: The name that needs it.
    """
    error = MissingExtraError(feature, extra="langchain")
    error.hint = f"Install it with: pip install {package}"
    return error


def _checked(outcomes: list[Outcome]) -> list[Outcome]:
    for outcome in outcomes:
        if isinstance(outcome, JudgeFailure):
            _stop_if_unusable(error_from_failure(outcome))
    return outcomes


def _stop_if_unusable(error: RewardAnythingError) -> None:
    """Stop the run for a wrong key, model name or setting, or a missing package or model file."""
    if isinstance(error, SETUP_ERRORS):
        raise JudgeUnavailableError(f"The judge cannot be used. {error}", last=error.failure) from error
