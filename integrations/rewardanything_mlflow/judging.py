"""Judging the rows of a run, and telling the failure of a row from a judge that cannot be used at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from rewardanything_core import (
    BackendError,
    BaseJudge,
    Case,
    ConfigError,
    JudgeFailure,
    MissingExtraError,
    ModelFetchError,
    RewardAnythingError,
    Verdict,
    default_judge,
)
from rewardanything_core.errors import AuthenticationError, JudgeUnavailableError, error_from_failure

Outcome: TypeAlias = Verdict | JudgeFailure

_NOT_FOUND = 404


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
    if isinstance(error, AuthenticationError | ConfigError | MissingExtraError | ModelFetchError) or (
        isinstance(error, BackendError) and getattr(error, "status_code", None) == _NOT_FOUND
    ):
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
    last_error: Case | None = None
    for place, outcome in judge.judge_stream(case for _, case in valid):
        index, case = valid[place]
        outcomes[index] = outcome
        if isinstance(outcome, JudgeFailure):
            error = error_from_failure(outcome)
            stop_if_unusable(error)
            if type(error) is BackendError:
                last_error = case
    if last_error is not None and not any(isinstance(outcome, Verdict) for outcome in outcomes.values()):
        _stop_if_not_found(judge, last_error)
    return [outcomes[index] for index in range(len(cases))]


def _stop_if_not_found(judge: BaseJudge, case: Case) -> None:
    """Ask once more, since only the exception of a single call has the HTTP status, which a failure does not hold."""
    try:
        judge.judge(case)
    except RewardAnythingError as error:
        stop_if_unusable(error)


def failure_of(error: Exception, case_id: str | None = None) -> JudgeFailure:
    """An exception as the failure of its row; the judge's own record of it, if there is one.

    Args:
        error: Why the row was not judged.
        case_id: The row's id. None: it has none.
    """
    failure = error.failure if isinstance(error, RewardAnythingError) else None
    return failure or JudgeFailure(case_id=case_id, error_type=type(error).__name__, message=str(error))
