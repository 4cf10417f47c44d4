"""Everything that can go wrong, as one tree.

RewardAnythingError
├── InvalidCaseError      a principle, prompt or response that cannot be judged as given
├── ConfigError           settings that contradict each other or cannot be read
├── MissingExtraError     an optional dependency is not installed
├── ContextLengthError    the rendered case does not fit the model's window
├── VerdictParseError     the model replied, but not with a complete, in-range verdict
├── AbstainedError        no stage of a cascade was sure enough, so a person is to decide
├── DecisionFormatError   a request or response of a decision API that does not follow its specification
├── StoreError            the file is not a verdict store, or cannot be used
├── BudgetExceededError   what the judge may spend is used up
├── BatchPendingError     a provider's batch has not brought the reply yet
├── ModelFetchError       model weights could not be found, fetched or verified
└── BackendError          the model could not be asked
    ├── AuthenticationError
    ├── ModelNotFoundError
    ├── RateLimitError
    ├── RefusalError
    ├── NoProbabilitiesError
    ├── BackendTimeoutError
    └── BackendConnectionError

BaseException
└── JudgeUnavailableError    no row of a run can be judged; hosts that turn an Exception into a score cannot swallow it
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rewardanything_core.types import JudgeFailure, Usage


class RewardAnythingError(Exception):
    """Base of every error this package raises on purpose.

    Args:
        message: What went wrong, and where.
        hint: What to do about it. Empty: the hint of the class.
    """

    retryable: bool = False
    """Whether the same call may succeed later without anything being changed."""

    hint: str = ""
    """What to do about it, when that is known; part of ``str(error)``."""

    failure: JudgeFailure | None = None
    """The record of the failed judgement, when one had begun: attempts, usage and the raw reply."""

    usage: Usage | None = None
    """What was spent on the call that failed, where the backend could tell."""

    raw: str | None = None
    """What the model wrote, where the error is about it."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or type(self).hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def advise(self, hint: str) -> None:
        """Replace the hint, in the record of the failed judgement too."""
        self.hint = hint
        if self.failure is not None:
            self.failure = dataclasses.replace(self.failure, message=str(self))

    def __reduce__(self) -> tuple[object, ...]:
        # An exception is pickled as a call of its class, and some of these classes ask for more than the message.
        return _as_it_was, (type(self),), self.__dict__


def error_from_failure(failure: JudgeFailure) -> RewardAnythingError:
    """The exception that judging the failed case alone would have raised, with ``failure`` attached.

    An ``error_type`` that this module does not define becomes a plain `RewardAnythingError`.
    """
    found = globals().get(failure.error_type)
    kind = RewardAnythingError
    if isinstance(found, type) and issubclass(found, RewardAnythingError):
        kind = found
    error = kind.__new__(kind)
    RewardAnythingError.__init__(error, failure.message.removesuffix(kind.hint).rstrip())  # `str` adds the hint
    error.raw = failure.raw_output or "" if isinstance(error, VerdictParseError) else failure.raw_output
    error.failure = failure
    return error


def _as_it_was(kind: type[RewardAnythingError]) -> RewardAnythingError:
    return kind.__new__(kind)


class InvalidCaseError(RewardAnythingError, ValueError):
    """The case cannot be judged as given; nothing was sent to a model.

    Args:
        message: What is wrong, and where.
        field: The field of `Case` that is invalid.
        case_id: The case's own id. None: it has none.
    """

    def __init__(self, message: str, *, field: str, case_id: str | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.case_id = case_id


class ConfigError(RewardAnythingError, ValueError):
    """A setting is missing, unknown or contradicts another."""


class MissingExtraError(RewardAnythingError, ImportError):
    """An optional dependency is needed and not installed.

    Args:
        feature: What needs the dependency; it begins the message.
        extra: The name of the extra that installs it.
    """

    def __init__(self, feature: str, *, extra: str) -> None:
        super().__init__(
            f"{feature} needs packages that are not installed.",
            hint=f"Run: pip install 'rewardanything-core[{extra}]', or in a clone: pip install '.[{extra}]'.",
        )
        self.extra = extra


class ContextLengthError(RewardAnythingError):
    """The rendered case and its reply do not fit the model's window; nothing is ever cut to make it fit.

    Args:
        tokens: The tokens that the request needs. None: unknown.
        limit: The model's window, in tokens. None: unknown.
        detail: A further sentence for the message. Empty: none.
    """

    def __init__(self, *, tokens: int | None, limit: int | None, detail: str = "") -> None:
        needs = f"{tokens:,} tokens" if tokens is not None else "more tokens than the model takes"
        has = f"the model's window of {limit:,}" if limit is not None else "the model's window"
        super().__init__(
            f"The case needs {needs}, which exceeds {has}. {detail}".strip(),
            hint="Shorten the texts, judge fewer responses at a time, or use a model with a longer window.",
        )
        self.tokens = tokens
        self.limit = limit


class VerdictParseError(RewardAnythingError):
    """The model's reply is not a complete, in-range verdict.

    Args:
        message: What is wrong with the reply.
        raw: The whole reply.
    """

    raw: str
    """The whole reply."""

    retryable = True

    def __init__(self, message: str, *, raw: str) -> None:
        super().__init__(message)
        self.raw = raw


class AbstainedError(RewardAnythingError):
    """No stage of a cascade was sure enough, so a person is to decide; ``failure`` is an `Abstention`."""


class DecisionFormatError(RewardAnythingError, ValueError):
    """A request or response of a decision API does not follow its specification, or exceeds a limit in it.

    Args:
        message: What is wrong.
        path: Where in the body, such as ``questions[0].levels[2].label``. Empty: the whole body.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path
        """Where in the body, such as ``questions[0].levels[2].label``. Empty: the whole body."""


class StoreError(RewardAnythingError):
    """The verdict store cannot be opened, read or written."""


class BudgetExceededError(RewardAnythingError):
    """What the judge may spend is used up (`Budget`). The case was not judged; it is never stored as failed."""

    hint = "Raise the limit; what has been judged is stored and not paid for again."


class BatchPendingError(RewardAnythingError):
    """A provider's batch has not brought the reply yet. The case has not failed, and is never stored as failed."""

    hint = "Come back later, or wait with `ra-judge batch wait`."

    retryable = True


class ModelFetchError(RewardAnythingError):
    """Model weights could not be found, fetched or verified."""


class BackendError(RewardAnythingError):
    """The model could not be asked, or failed while answering.

    Args:
        message: What failed, and where.
        hint: What to do about it. Empty: the hint of the class.
        status_code: The HTTP status. None: there is none.
        retryable: Whether the same call may succeed later. None: as the class says.
    """

    def __init__(
        self, message: str, *, hint: str = "", status_code: int | None = None, retryable: bool | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status_code = status_code
        if retryable is not None:
            self.retryable = retryable


class AuthenticationError(BackendError):
    """The endpoint refused the key, or none was given."""


class ModelNotFoundError(BackendError):
    """There is no such model, provider or route."""


class RateLimitError(BackendError):
    """The endpoint rejected every attempt with a rate limit."""

    retryable = True


class RefusalError(BackendError):
    """The model refused to answer, or a content filter stopped it. ``raw`` is the text that came with it."""


class NoProbabilitiesError(BackendError):
    """The model gives no probabilities of the answers that it was asked to choose from."""


class BackendTimeoutError(BackendError):
    """No reply came within the time limit of an attempt."""

    retryable = True


class BackendConnectionError(BackendError):
    """The endpoint could not be reached, or closed the connection."""

    retryable = True


SETUP_ERRORS: tuple[type[RewardAnythingError], ...] = (
    AuthenticationError,
    ConfigError,
    MissingExtraError,
    ModelFetchError,
    ModelNotFoundError,
)
"""Errors that every case has until the settings are corrected, whatever it contains."""


class JudgeUnavailableError(BaseException):
    """No row of a run can be judged: there is no judge, its settings are wrong, or it keeps failing.

    It derives from `BaseException` because evaluation hosts catch `Exception` around a metric and record a score, such
    as DSPy's 0.0, for what was never judged. Like `KeyboardInterrupt`, this one stops the run.

    Args:
        message: What failed.
        hint: What to do about it; part of ``str(error)``.
        last: The last failed judgement. None: no judgement had begun.
    """

    def __init__(self, message: str, *, hint: str = "", last: JudgeFailure | None = None) -> None:
        super().__init__(f"{message} {hint}".strip())
        self.message, self.hint, self.last = message, hint, last
