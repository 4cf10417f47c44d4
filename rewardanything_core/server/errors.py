"""Error answers: one JSON shape, a fitting HTTP status, and no detail about the server's own hosts, files or keys."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from rewardanything_core.errors import (
    AbstainedError,
    AuthenticationError,
    BackendError,
    BackendTimeoutError,
    BudgetExceededError,
    ContextLengthError,
    DecisionFormatError,
    InvalidCaseError,
    NoProbabilitiesError,
    RateLimitError,
    RewardAnythingError,
    VerdictParseError,
)
from rewardanything_core.types import JudgeFailure

_log = logging.getLogger("rewardanything_core.server")

MESSAGE_CHARS = 2000
"""Maximum length of an error message: messages quote parts of the request, which can be long."""

SEE_LOG = "The server's log has the details under this request's id."


class APIError(Exception):
    """An error answer to a request, or the failure of one case of a batch.

    Args:
        status: The HTTP status.
        code: A stable name for programs; ``error.type`` in the JSON.
        message: A description for people.
        hint: What to do about it.
        field: The invalid part of the request. None: no single part.
        failure: The failed judgement. None: no judgement had begun.
        failures: Several failed judgements, each with the index of its case.
        retry_after: Seconds to wait before a retry, for the ``Retry-After`` header. None: no such header.
        headers: Further HTTP headers.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        hint: str = "",
        field: str | None = None,
        failure: JudgeFailure | None = None,
        failures: Sequence[tuple[int, JudgeFailure]] = (),
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.hint = status, code, message, hint
        self.field, self.failure, self.failures = field, failure, failures
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["retry-after"] = str(max(1, math.ceil(retry_after)))

    def to_dict(self, request_id: str | None) -> dict[str, Any]:
        """The JSON body: ``{"error": {"type", "message", ...}}``, without the parts that do not apply."""
        error: dict[str, Any] = {"type": self.code, "message": self.message}
        details = {"hint": self.hint, "field": self.field, "request_id": request_id}
        error |= {name: value for name, value in details.items() if value}
        if self.failure is not None:
            error["failure"] = self.failure.to_dict()
        if self.failures:
            error["failures"] = [{"index": index, "failure": failure.to_dict()} for index, failure in self.failures]
        return {"error": error}

    def response(self, request_id: str | None) -> Response:
        """The complete HTTP response."""
        return json_response(self.to_dict(request_id), status=self.status, headers=self.headers)


def json_bytes(value: Any) -> bytes:
    """JSON in UTF-8. A lone surrogate, which a model may write and UTF-8 cannot encode, is escaped.

    Raises:
        ValueError: there is a number that JSON does not have, such as NaN.
        TypeError: there is an object that JSON does not have.
    """
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def json_response(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response.

    Args:
        value: Plain JSON.
        status: The HTTP status.
        headers: Additional headers. None: none.
    """
    return Response(json_bytes(value), status_code=status, media_type="application/json", headers=headers)


def judging_failed(error: RewardAnythingError, case_id: str | None, request_id: str | None) -> APIError:
    """The answer for an error that was raised while a case was judged.

    Messages of the model's server or of the store may contain hosts, files and keys, so they go to the log only.

    Args:
        error: The error.
        case_id: The case's own id.
        request_id: The request's id, for the log.
    """
    failure = error.failure or JudgeFailure(case_id=case_id, error_type=type(error).__name__, message=str(error))
    failure = dataclasses.replace(failure, case_id=case_id, stages=None)
    if isinstance(error, InvalidCaseError):
        return APIError(422, "invalid_case", error.message, hint=error.hint, field=error.field, failure=failure)
    if isinstance(error, NoProbabilitiesError):
        return no_probabilities(error, failure)
    if isinstance(error, ContextLengthError):
        return APIError(413, "context_length", error.message, hint=error.hint, failure=failure)
    if isinstance(error, VerdictParseError):
        message = f"No attempt of the model gave a complete verdict. {error.message}"
        return APIError(502, "judge_failed", message, hint=error.hint, failure=failure)
    if isinstance(error, AbstainedError):  # failures of stages are as secret as any other
        message = "No judge was sure enough, so a person is to decide."
        own = dataclasses.replace(failure, message=message, stages=None)
        return APIError(422, "abstained", message, failure=own)
    if isinstance(error, BudgetExceededError):
        message = "This server has reached its limit on what judging may cost."
        return APIError(
            402, "budget_exceeded", message, hint=SEE_LOG, failure=dataclasses.replace(failure, message=message)
        )
    _log.error("%s: %s: %s", request_id or "-", type(error).__name__, error)
    status, message = _status_and_message(error)
    return APIError(
        status,
        "timeout" if status == 504 else "judge_failed",
        message,
        hint=SEE_LOG,
        failure=dataclasses.replace(failure, message=message),
        retry_after=5.0 if status == 503 else None,
    )


def no_probabilities(error: NoProbabilitiesError, failure: JudgeFailure | None = None) -> APIError:
    """The answer for typed questions to a model that gives no probabilities: for it, the route does not exist.

    Args:
        error: The error.
        failure: The failed judgement. None: none had begun.
    """
    return APIError(404, "no_probabilities", error.message, hint=error.hint, failure=failure)


def invalid_decision(error: DecisionFormatError) -> APIError:
    """The answer for a request of a decision API that does not follow its format.

    Args:
        error: What is wrong with it.
    """
    return APIError(
        422, "invalid_request", error.message[:MESSAGE_CHARS], hint=error.hint, field=error.path[:80] or None
    )


def _status_and_message(error: RewardAnythingError) -> tuple[int, str]:
    if isinstance(error, AuthenticationError):
        return 502, "The model's server did not accept this server's credentials."
    if isinstance(error, RateLimitError):
        return 503, "The model's server is rate limiting this server's requests."
    if isinstance(error, BackendTimeoutError):
        return 504, "The model's server did not answer in time."
    if isinstance(error, BackendError):
        return (503 if error.retryable else 502), "The model could not be called."
    return 503, "The judge is not able to work at the moment."


def case_timeout(case_id: str | None, seconds: float) -> APIError:
    """The answer for a case that took longer than the limit.

    Args:
        case_id: The case's own id.
        seconds: The limit, in seconds.
    """
    message = f"There was no verdict within this server's limit of {seconds:g} s."
    failure = JudgeFailure(case_id=case_id, error_type="BackendTimeoutError", message=message)
    return APIError(504, "timeout", message, failure=failure)


def stopping(message: str, failure: JudgeFailure | None = None) -> APIError:
    """The answer for a request that is abandoned because the server stops.

    Args:
        message: What was abandoned.
        failure: The case's failure. None: no judgement had begun.
    """
    return APIError(503, "stopping", message, failure=failure, retry_after=5, headers={"connection": "close"})


def case_abandoned(case_id: str | None) -> APIError:
    """`stopping` for a case that was being judged."""
    message = "The server is stopping and did not finish this case."
    failure = JudgeFailure(case_id=case_id, error_type="BackendConnectionError", message=message)
    return stopping(message, failure)


def internal_error(case_id: str | None) -> APIError:
    """The answer for a bug of the server.

    Args:
        case_id: The case's own id.
    """
    message = "The server failed with an internal error."
    failure = JudgeFailure(case_id=case_id, error_type="RewardAnythingError", message=message)
    return APIError(500, "internal", message, hint=SEE_LOG, failure=failure)


def client_disconnected() -> APIError:
    """The client closed the connection. No one receives this answer; the status is for the log and the metrics."""
    return APIError(499, "client_gone", "The client closed the connection.")
