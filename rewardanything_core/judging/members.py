"""The judges that a jury or a cascade is made of."""

from __future__ import annotations

import dataclasses

from rewardanything_core.cases import Case
from rewardanything_core.errors import ConfigError, RewardAnythingError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.types import JudgeFailure, Verdict


def as_judge(judge: BaseJudge | str, role: str) -> BaseJudge:
    """The judge that a member of a jury or cascade means.

    Args:
        judge: A judge, or a model string for `resolve_judge`.
        role: What the member is called, as in ``a juror``.

    Raises:
        ConfigError: it is neither, or the string names no model.
    """
    if isinstance(judge, BaseJudge):
        return judge
    if not isinstance(judge, str):
        raise ConfigError(
            f"{role[0].upper()}{role[1:]} must be a Judge, a Jury or a model string, not {type(judge).__name__}."
        )
    from rewardanything_core import resolve_judge  # loading is a higher layer, so it is looked up at run time

    resolved = resolve_judge(judge)
    assert resolved is not None
    return resolved


async def outcome_of(judge: BaseJudge, case: Case) -> tuple[Verdict | JudgeFailure, RewardAnythingError | None]:
    """A member's outcome on a case, with the error if it failed.

    Raises:
        RewardAnythingError: one that is not specific to the case, such as an unreadable store.
    """
    try:
        return await judge._verdict(case), None
    except RewardAnythingError as error:
        if error.failure is None:
            raise
        return dataclasses.replace(error.failure, case_id=case.id, model=error.failure.model or judge.model), error
