"""Requests are repeated until a reply is a verdict, for all readouts whose replies can fail to be one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from rewardanything_core.cases import Case
from rewardanything_core.errors import RewardAnythingError, VerdictParseError
from rewardanything_core.readouts.results import PassResult
from rewardanything_core.types import JudgeFailure, Usage

OnUsage: TypeAlias = Callable[[Usage], None]


async def until_verdict(
    case: Case, attempt: Callable[[int], Awaitable[PassResult]], *, retries: int, on_usage: OnUsage
) -> PassResult:
    """Make attempts at one pass until one of them gives a verdict.

    Args:
        case: The case.
        attempt: Makes an attempt, numbered from 0; it raises `VerdictParseError` if the reply is not a verdict.
        retries: How often to attempt again after that, 0 or more. Other errors are final.
        on_usage: Called with the usage of attempts that raised an error with one.

    Raises:
        RewardAnythingError: no verdict; ``failure`` has the number of attempts and the last reply.
    """
    number = 0
    while True:
        try:
            return await attempt(number)
        except RewardAnythingError as error:
            number += 1
            if error.usage is not None:
                on_usage(error.usage)
            if not isinstance(error, VerdictParseError) or number > retries:
                error.failure = JudgeFailure(
                    case_id=case.id,
                    error_type=type(error).__name__,
                    message=str(error),
                    raw_output=error.raw,
                    attempts=number,
                )
                raise
