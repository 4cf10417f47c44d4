"""Telling a judgement that failed from a judge that cannot be used at all."""

from __future__ import annotations

import asyncio

from rewardanything_core import BaseJudge, ConfigError, RewardAnythingError, default_judge
from rewardanything_core.errors import SETUP_ERRORS, AbstainedError, BudgetExceededError, JudgeUnavailableError

DEFAULT_MAX_FAILED_CALLS = 10
"""Calls in a row without any verdict after which a run stops."""


def judge_or_default(judge: BaseJudge | None) -> BaseJudge:
    """The judge given, else the process's default judge.

    Raises:
        JudgeUnavailableError: the settings give no judge.
    """
    if judge is not None:
        return judge
    try:
        return default_judge()
    except RewardAnythingError as error:
        raise JudgeUnavailableError(f"There is no judge, so there are no rewards. {error}") from error


async def ajudge_or_default(judge: BaseJudge | None) -> BaseJudge:
    """`judge_or_default`, awaited, since loading a judge takes time."""
    return judge if judge is not None else await asyncio.to_thread(judge_or_default, None)


def stop_if_unusable(error: RewardAnythingError) -> None:
    """Stop the training if the settings must be corrected before anything can be judged.

    Args:
        error: Why a case was not judged.

    Raises:
        JudgeUnavailableError: one of `SETUP_ERRORS`, such as a wrong key, or a budget that is used up.
    """
    if isinstance(error, (*SETUP_ERRORS, BudgetExceededError)):
        raise JudgeUnavailableError(f"The judge cannot be used. {error}", last=error.failure) from error


class FailureStreak:
    """Counts calls in a row without any verdict.

    Args:
        limit: The count from which a run stops, 1 or more. None: it never stops.
    """

    def __init__(self, limit: int | None) -> None:
        if limit is not None and limit < 1:
            raise ConfigError(f"max_failed_calls must be 1 or more, or None, not {limit!r}.")
        self.limit = limit
        self._count = 0

    def record(self, error: RewardAnythingError | None) -> None:
        """Count a call.

        Args:
            error: Why the call gave no verdict. None: it gave one, and the count starts again.

        Raises:
            JudgeUnavailableError: the limit is reached.
        """
        if isinstance(error, AbstainedError):  # the judge works, and leaves this to a person
            error = None
        self._count = 0 if error is None else self._count + 1
        if error is not None and self.limit is not None and self._count >= self.limit:
            raise JudgeUnavailableError(
                f"In {self._count} calls in a row nothing could be judged; the last failure is "
                f"{type(error).__name__}: {error}",
                hint="Set max_failed_calls=None to continue regardless.",
                last=error.failure,
            )
