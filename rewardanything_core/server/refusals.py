"""What a client is told when it gets no verdict: one JSON shape, a fitting status, and nothing about our insides."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from rewardanything_core.errors import (
    AuthenticationError,
    BackendError,
    BackendTimeoutError,
    ContextLengthError,
    InvalidCaseError,
    RateLimitError,
    RewardAnythingError,
    VerdictParseError,
)
from rewardanything_core.types import JudgeFailure

_log = logging.getLogger("rewardanything_core.server")

SEE_LOG = "The server's log says more, under this request's id."


class Refusal(Exception):  # noqa: N818  # it is an answer
    """A request, or a case of a batch, that gets no verdict.

    Args:
        status: The HTTP status.
        kind: A stable name for programs.
        message: What is wrong, for people.
        hint: What to do about it.
        field: The part of the request that is wrong. None: no single part.
        failure: The judgement that failed. None: none had begun.
        failures: The same for several, each with its index.
        retry_after: Seconds to wait before asking again. None: asking again is of no use, or may be at once.
        headers: More headers.
    """

    def __init__(
        self,
        status: int,
        kind: str,
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
        self.status, self.kind, self.message, self.hint = status, kind, message, hint
        self.field, self.failure, self.failures = field, failure, failures
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["retry-after"] = str(max(1, math.ceil(retry_after)))

    def to_dict(self, request_id: str | None) -> dict[str, Any]:
        """The body: ``{"error": {"type", "message", ...}}``; what does not apply is left out."""
        error: dict[str, Any] = {"type": self.kind, "message": self.message}
        about = {"hint": self.hint, "field": self.field, "request_id": request_id}
        error |= {name: value for name, value in about.items() if value}
        if self.failure is not None:
            error["failure"] = self.failure.to_dict()
        if self.failures:
            error["failures"] = [{"index": index, "failure": failure.to_dict()} for index, failure in self.failures]
        return {"error": error}

    def response(self, request_id: str | None) -> Response:
        """The whole answer."""
        return json_response(self.to_dict(request_id), status=self.status, headers=self.headers)


def json_bytes(value: Any) -> bytes:
    """JSON in UTF-8; half a surrogate pair, which a model may write and UTF-8 cannot carry, is escaped."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def json_response(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(json_bytes(value), status_code=status, media_type="application/json", headers=headers)


def failed(error: RewardAnythingError, case_id: str | None, request_id: str | None) -> Refusal:
    """What a client is told of an error while its case was judged.

    What the model's server or the store said may name hosts, files and keys: that goes to our log only.
    """
    known = error.failure or JudgeFailure(case_id=case_id, error_type=type(error).__name__, message=str(error))
    known = dataclasses.replace(known, case_id=case_id)
    if isinstance(error, InvalidCaseError):
        return Refusal(422, "invalid_case", error.message, hint=error.hint, field=error.field, failure=known)
    if isinstance(error, ContextLengthError):
        return Refusal(413, "context_length", error.message, hint=error.hint, failure=known)
    if isinstance(error, VerdictParseError):
        message = "The model gave no complete verdict in any attempt."
        return Refusal(502, "judge_failed", f"{message} {error.message}", hint=error.hint, failure=known)
    _log.error("%s: %s: %s", request_id or "-", type(error).__name__, error)
    status, message = _status_and_message(error)
    failure = dataclasses.replace(known, message=message)
    retry_after = 5.0 if status == 503 else None
    return Refusal(
        status,
        "timeout" if status == 504 else "judge_failed",
        message,
        hint=SEE_LOG,
        failure=failure,
        retry_after=retry_after,
    )


def _status_and_message(error: RewardAnythingError) -> tuple[int, str]:
    if isinstance(error, AuthenticationError):
        return 502, "The model's server did not accept this server's credentials."
    if isinstance(error, RateLimitError):
        return 503, "The model's server is limiting this server's requests."
    if isinstance(error, BackendTimeoutError):
        return 504, "The model's server did not answer in time."
    if isinstance(error, BackendError):
        return (503 if error.retryable else 502), "The model could not be asked."
    return 503, "The judge cannot work at the moment."


def late(case_id: str | None, seconds: float) -> Refusal:
    """A case that took longer than a case may."""
    message = f"There was no verdict within this server's limit of {seconds:g} s."
    failure = JudgeFailure(case_id=case_id, error_type="BackendTimeoutError", message=message)
    return Refusal(504, "timeout", message, failure=failure)


def stopping(case_id: str | None) -> Refusal:
    """A case that was cut off because the server stops."""
    message = "The server is stopping and had no time left for this case."
    failure = JudgeFailure(case_id=case_id, error_type="BackendConnectionError", message=message)
    return Refusal(503, "stopping", message, failure=failure, retry_after=5)


def broken(case_id: str | None) -> Refusal:
    """A case during which something of ours broke."""
    message = "Something in the server broke."
    failure = JudgeFailure(case_id=case_id, error_type="RewardAnythingError", message=message)
    return Refusal(500, "internal", message, hint=SEE_LOG, failure=failure)
