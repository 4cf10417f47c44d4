"""Judging the rows of a run, and telling the failure of a row from a judge that cannot be used at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from rewardanything_core import (
    BaseJudge,
    Case,
    JudgeFailure,
    RewardAnythingError,
    Verdict,
    default_judge,
)
from rewardanything_core.errors import SETUP_ERRORS, JudgeUnavailableError, error_from_failure

Outcome: TypeAlias = Verdict | JudgeFailure


def judge_or_default(judge: BaseJudge | None) -> BaseJudge:
    """The judge given, else the process's default judge.

    Raises:
        JudgeUnavailableError: the settings give no judge.
    """
    try:
        return judge or default_judge()
    except RewardAnythingError as error:
        raise JudgeUnavailableError(f"There is no judge, so nothing was scored. {error}") from error


def stop_if_unusable(error: RewardAnythingError) -> None:
    """Stop the run if no row can be judged before the judge's settings are corrected.

    Args:
        error: Why a case was not judged.

    Raises:
        JudgeUnavailableError: a wrong key, model name or setting, or a missing package or model file.
    """
    if isinstance(error, SETUP_ERRORS):
        raise JudgeUnavailableError(f"The judge cannot be used. {error}", last=error.failure) from error


def judge_all(judge: BaseJudge, cases: Sequence[Case | JudgeFailure]) -> list[Outcome]:
    """Judge all cases in one stream.

    Args:
        judge: The judge.
        cases: Cases; rows that are not valid cases are already failures.

    Returns:
        An outcome for each, in order; failures stay as they are.

    Raises:
        JudgeUnavailableError: the judge cannot be used before its settings are corrected.
    """
    valid = [(index, case) for index, case in enumerate(cases) if isinstance(case, Case)]
    outcomes: dict[int, Outcome] = {index: case for index, case in enumerate(cases) if isinstance(case, JudgeFailure)}
    for place, outcome in judge.judge_stream(case for _, case in valid):
        outcomes[valid[place][0]] = outcome
        if isinstance(outcome, JudgeFailure):
            stop_if_unusable(error_from_failure(outcome))
    return [outcomes[index] for index in range(len(cases))]


def failure_of(error: Exception, case_id: str | None = None) -> JudgeFailure:
    """An exception as the failure of its row; the judge's own record of it, if there is one.

    Args:
        error: Why the row was not judged.
        case_id: The row's id. None: it has none.
    """
    failure = error.failure if isinstance(error, RewardAnythingError) else None
    return failure or JudgeFailure(case_id=case_id, error_type=type(error).__name__, message=str(error))
