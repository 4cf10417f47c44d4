"""The exit code for each error."""

from __future__ import annotations

from rewardanything_core.cli.exit_codes import JUDGE_FAILED, USAGE
from rewardanything_core.errors import (
    SETUP_ERRORS,
    BackendError,
    BudgetExceededError,
    ContextLengthError,
    NoProbabilitiesError,
    RewardAnythingError,
    VerdictParseError,
)


def exit_code(error: RewardAnythingError) -> int:
    """The exit code of a command that ended with an error.

    A judge that cannot be reached, refused a case, gave no verdict or has used up its budget has failed. A refused key,
    an unknown model and all other errors mean that the command cannot work as it was given.
    """
    if isinstance(error, (*SETUP_ERRORS, NoProbabilitiesError)):
        return USAGE
    has_failed = isinstance(error, BackendError | BudgetExceededError | VerdictParseError | ContextLengthError)
    return JUDGE_FAILED if has_failed or error.retryable else USAGE
