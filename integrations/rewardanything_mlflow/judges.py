"""Asking a judge about many cases of which some are none, and telling a row's failure from that of the judge."""

from __future__ import annotations

from collections.abc import Sequence

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
)
from rewardanything_core.errors import AuthenticationError

Outcome = Verdict | JudgeFailure

_NOT_FOUND = 404


def is_of_the_judge(error: RewardAnythingError) -> bool:
    """Whether the judge has to be set up otherwise before any row can be judged."""
    if isinstance(error, BackendError) and getattr(error, "status_code", None) == _NOT_FOUND:
        return True
    return isinstance(error, AuthenticationError | ConfigError | MissingExtraError | ModelFetchError)


def judge_all(judge: BaseJudge, cases: Sequence[Case | JudgeFailure]) -> list[Outcome]:
    """An outcome for each, in order; what already is a failure stays one."""
    outcomes: dict[int, Outcome] = {i: case for i, case in enumerate(cases) if isinstance(case, JudgeFailure)}
    waiting = [(i, case) for i, case in enumerate(cases) if isinstance(case, Case)]
    for place, outcome in judge.judge_stream(case for _, case in waiting):
        outcomes[waiting[place][0]] = outcome
    return [outcomes[i] for i in range(len(cases))]
