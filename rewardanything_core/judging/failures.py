"""Exceptions as the failure of one case."""

from __future__ import annotations

import logging
import traceback
from collections import deque

from rewardanything_core.cases import Case
from rewardanything_core.errors import BackendError, BatchPendingError
from rewardanything_core.types import JudgeFailure

_log = logging.getLogger("rewardanything_core")

_PLACES_LOGGED: set[tuple[str, str, int]] = set()
"""Error class, file and line of the exceptions whose traceback was logged in this process."""


def log_unexpected(error: Exception, name: str, case: Case) -> None:
    """Log an exception that is not ours; with its traceback only the first time it comes from a line of code.

    Args:
        error: What was raised while the case was judged.
        name: What failed, as the log names it.
        case: The case.
    """
    frame, line = deque(traceback.walk_tb(error.__traceback__), maxlen=1)[0]
    place = type(error).__name__, frame.f_code.co_filename, line
    new = place not in _PLACES_LOGGED
    _PLACES_LOGGED.add(place)
    named = "a case without an id" if case.id is None else f"case {case.id!r}"
    _log.error("%s failed on %s: %r", name, named, error, exc_info=error if new else None)


def failed_by(error: Exception, case: Case, model: str) -> BackendError:
    """An exception that is not ours as the failure of one case.

    Args:
        error: What was raised while the case was judged.
        case: The case.
        model: The judge model's name.
    """
    wrapped = BackendError(f"{model} failed on this case with {type(error).__name__}: {error}")
    wrapped.failure = JudgeFailure(
        case_id=case.id, error_type="BackendError", message=wrapped.message, attempts=1, model=model
    )
    return wrapped


def pending_in_batch(case: Case, model: str, requests: int) -> BatchPendingError:
    """The error of a case that waits for a provider's batch.

    Args:
        case: The case.
        model: The judge model's name.
        requests: Number of its requests that have no reply yet.
    """
    error = BatchPendingError(f"{requests} requests of {case} wait for a batch of {model}.")
    error.failure = JudgeFailure(
        case_id=case.id, error_type="BatchPendingError", message=str(error), attempts=0, model=model
    )
    return error
