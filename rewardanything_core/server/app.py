"""The ASGI application: the routes under ``/v1``, operation, and the handling of errors."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rewardanything_core import __version__
from rewardanything_core.agreement.calibration import Calibration
from rewardanything_core.errors import InvalidCaseError
from rewardanything_core.judging.base import BaseJudge, Outcome
from rewardanything_core.loading import resolve_judge
from rewardanything_core.server import compat, decisions, metrics, openapi
from rewardanything_core.server.error_formats import error_response
from rewardanything_core.server.errors import APIError, internal_error, json_bytes, json_response
from rewardanything_core.server.limits import Limits
from rewardanything_core.server.middleware import AuthMiddleware
from rewardanything_core.server.ndjson import NDJSONResponse
from rewardanything_core.server.openapi import documented_body, documented_responses
from rewardanything_core.server.parsing import (
    check_batch,
    check_object,
    check_query,
    invalid_case,
    parse_case,
    parse_item,
)
from rewardanything_core.server.service import BatchOutcomes, Order, Service, judge_request
from rewardanything_core.types import Verdict

_log = logging.getLogger("rewardanything_core.server")

_CODES = {404: "not_found", 405: "method_not_allowed"}


def create_app(
    judge: BaseJudge | str | None,
    *,
    limits: Limits | None = None,
    tokens: Sequence[str] = (),
    hosts: Sequence[str] | None = None,
    predicate_calibration: Calibration | str | Path | None = None,
) -> AuthMiddleware:
    """A judge as an ASGI application, to be run by any ASGI server or mounted in another application.

    The limits on connections, headers and unread answers belong to `running.Server`; another server has its own.

    Args:
        judge: The judge, or a model string such as ``openai/gpt-5-mini``. None: set ``app.service.judge`` later; until
            then requests are answered with 503.
        limits: The server's limits. None: the defaults.
        tokens: A request needs one of them. Empty: it needs none.
        hosts: The host names by which the server may be called, and `hosts.ANY_ADDRESS` for every IP address. None:
            any.
        predicate_calibration: Maps the probabilities of predicates of the decision routes; see
            `readouts.typed_questions.calibrated`. None: they stay as the model gives them.

    Raises:
        ConfigError: a token is too short, or the calibration cannot be read.
    """
    calibration = None if predicate_calibration is None else Calibration.of(predicate_calibration)
    service = Service(resolve_judge(judge), limits or Limits(), predicate_calibration=calibration)
    app = FastAPI(
        title="ra-judge",
        version=__version__,
        summary="Judges responses under a principle written in plain language.",
        redoc_url=None,
    )
    app.include_router(_routes(service))
    app.include_router(decisions.routes(service))
    app.include_router(compat.routes(service))
    app.add_exception_handler(APIError, _api_error)
    app.add_exception_handler(InvalidCaseError, _invalid_case)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(RequestValidationError, _invalid_query)
    openapi.install_openapi(app, service.limits, secured=bool(tokens))
    return AuthMiddleware(app, service, tokens=tokens, hosts=hosts)


def _routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post(
        "/v1/judge",
        tags=["judging"],
        summary="Judge one case",
        openapi_extra=documented_body("Case"),
        responses=documented_responses("Verdict"),
    )
    async def judge(request: Request) -> Response:
        check_query(request)
        return json_response((await judge_request(service, request, parse_case)).to_dict())

    @router.post(
        "/v1/judge/batch",
        tags=["judging"],
        summary="Judge many cases, streamed",
        description="The answer has one line of JSON for each case, sent as soon as it is available: the case's "
        "`index` and its `verdict` or `failure`. An answer with fewer lines than cases was cut off.",
        openapi_extra=documented_body("Batch"),
        responses=documented_responses("BatchLine", media_type="application/x-ndjson"),
    )
    async def judge_batch(request: Request, order: Order = "input") -> Response:
        check_query(request, "order")
        service.require_judge()
        service.admission.check()
        body = check_object(await service.bodies.read_json(request), ("cases",), "A batch")
        data = check_batch(body.get("cases"), service.limits, "cases")
        request.state.cases = len(data)
        items = [parse_item(item, service.limits) for item in data]
        service.admission.admit(len(items))
        return NDJSONResponse(_lines(BatchOutcomes(service, items, request.state.request_id), order))

    @router.get(
        "/health", tags=["operation"], summary="Whether it can judge now", responses=documented_responses("Health")
    )
    async def health() -> Response:
        state = service.state
        return json_response({"status": state}, status=200 if state == "ready" else 503)

    @router.get(
        "/health/live",
        tags=["operation"],
        summary="Whether the process responds",
        responses=documented_responses("Health"),
    )
    async def live() -> Response:
        return json_response({"status": service.state})

    @router.get(
        "/metrics", tags=["operation"], summary="Metrics for Prometheus", responses=documented_responses("Metrics")
    )
    async def prometheus() -> Response:
        return Response(service.metrics.render(), headers={"content-type": metrics.CONTENT_TYPE})

    return router


async def _lines(batch: BatchOutcomes, order: Order) -> AsyncGenerator[bytes, None]:
    async with aclosing(batch.outcomes(order)) as outcomes:
        async for index, outcome in outcomes:
            yield _line(index, outcome)


def _line(index: int, outcome: Outcome) -> bytes:
    """One line of a batch. A verdict that is not valid JSON, through a backend's fault, fails alone."""
    name = "verdict" if isinstance(outcome, Verdict) else "failure"
    try:
        return json_bytes({"index": index, name: outcome.to_dict()}) + b"\n"
    except Exception:  # noqa: BLE001  # it is logged, and the case fails
        _log.exception("Case %r has an outcome that is not valid JSON", outcome.case_id)
        failure = internal_error(outcome.case_id).failure
        assert failure is not None
        return json_bytes({"index": index, "failure": failure.to_dict()}) + b"\n"


def _response(error: APIError, request: Request) -> Response:
    return error_response(error, request.url.path, getattr(request.state, "request_id", None))


async def _api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, APIError)
    return _response(error, request)


async def _invalid_case(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidCaseError)
    return _response(invalid_case(error), request)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "invalid_request")
    headers: dict[str, Any] = dict(error.headers or {})
    return _response(APIError(error.status_code, code, str(error.detail), headers=headers), request)


async def _invalid_query(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    return _response(APIError(422, "invalid_request", f"{field}: {first['msg']}.", field=field), request)
