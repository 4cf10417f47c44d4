"""Error answers in the shape that the clients of a route parse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from starlette.responses import Response

from rewardanything_core.decisions import openai_format, systemone_format
from rewardanything_core.server.errors import APIError, json_response

_StatusAndBody: TypeAlias = tuple[int, dict[str, Any]]

_OPENAI_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


def error_response(error: APIError, path: str, request_id: str | None) -> Response:
    """An error as the HTTP response of a route.

    Args:
        error: The error.
        path: The path of the request.
        request_id: The request's id.
    """
    of_route = next((write for route, write in _OF_ROUTES.items() if path.rstrip("/").endswith(route)), None)
    if of_route is None:
        return error.response(request_id)
    status, body = of_route(error, request_id)
    return json_response(body, status=status, headers=error.headers)


def _openai(error: APIError, request_id: str | None) -> _StatusAndBody:
    """OpenAI's shape: ``type``, ``param`` and ``code``; what cannot be processed has status 400."""
    status = 400 if error.status == 422 or error.code == "context_length" else error.status
    kind = _OPENAI_TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return status, {
        "error": {
            "message": _message(error),
            "type": kind,
            "param": error.field,
            "code": {"context_length": "context_length_exceeded"}.get(error.code, error.code),
            "request_id": request_id,
        }
    }


def _systemone(error: APIError, request_id: str | None) -> _StatusAndBody:
    """System One's shape: ``detail`` with ``error_type`` and ``message``."""
    status = 422 if error.code == "context_length" else error.status
    kind = {"context_length": "max_tokens_exceeded", "unauthorized": "authentication_error"}.get(error.code, error.code)
    detail = {"error_type": kind, "message": _message(error), "field": error.field, "request_id": request_id}
    return status, {"detail": {name: value for name, value in detail.items() if value is not None}}


def _message(error: APIError) -> str:
    return f"{error.message} {error.hint}".strip()


_OF_ROUTES: Mapping[str, Callable[[APIError, str | None], _StatusAndBody]] = {
    openai_format.PATH: _openai,
    systemone_format.PATH: _systemone,
}
