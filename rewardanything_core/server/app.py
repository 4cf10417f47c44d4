"""The application: routes, their description, and what stands before them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rewardanything_core import __version__
from rewardanything_core.cases import Case
from rewardanything_core.errors import InvalidCaseError
from rewardanything_core.judging.base import BaseJudge
from rewardanything_core.server import metrics, paper, schemas
from rewardanything_core.server.gate import Gate
from rewardanything_core.server.intake import case_of, fields_of, read_json
from rewardanything_core.server.limits import Limits
from rewardanything_core.server.refusals import Refusal, json_bytes, json_response
from rewardanything_core.server.schemas import accepts, answers
from rewardanything_core.server.service import Batch, Order, Service
from rewardanything_core.server.streams import Lines, while_there
from rewardanything_core.types import JudgeFailure, Verdict

_KINDS = {404: "not_found", 405: "method_not_allowed"}


def create_app(
    judge: BaseJudge | None,
    *,
    limits: Limits | None = None,
    tokens: Sequence[str] = (),
    hosts: Sequence[str] | None = None,
) -> Gate:
    """The judge as an ASGI application, for uvicorn, hypercorn or to be mounted in another.

    Args:
        judge: The judge. None: set ``app.service.judge`` later; until then requests are answered with 503.
        limits: How much is taken on. None: the defaults.
        tokens: What clients may show to be let in. Empty: everyone is.
        hosts: The host names by which the server may be called. None: any.

    Raises:
        ConfigError: a token is too short.
    """
    service = Service(judge, limits or Limits())
    app = FastAPI(
        title="ra-judge",
        version=__version__,
        summary="Judges responses under a principle written in plain language.",
        redoc_url=None,
    )
    app.include_router(_routes(service))
    app.include_router(paper.routes(service))
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(InvalidCaseError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _malformed)
    schemas.describe(app, service.limits, secured=bool(tokens))
    return Gate(app, service, tokens=tokens, hosts=hosts)


def _routes(service: Service) -> APIRouter:
    router = APIRouter()

    @router.post(
        "/v1/judge",
        tags=["judging"],
        summary="Judge one case",
        openapi_extra=accepts("Case"),
        responses=answers("Verdict"),
    )
    async def judge(request: Request) -> Response:
        _no_query(request)
        service.ready()
        service.admission.check()
        case = case_of(await read_json(request, service.limits), service.limits)
        request.state.cases = 1
        service.admission.enter()
        try:
            verdict = await while_there(request.receive, service.verdict(case, request.state.request_id))
        finally:
            service.admission.leave()
        return json_response(verdict.to_dict())

    @router.post(
        "/v1/judge/batch",
        tags=["judging"],
        summary="Judge many cases, streamed",
        description="One line of JSON for each case as soon as it is done: its `index` and its `verdict` or `failure`. "
        "Cases fail one by one. An answer with fewer lines than cases was cut off.",
        openapi_extra=accepts("Batch"),
        responses=answers("Line", media_type="application/x-ndjson"),
    )
    async def judge_batch(request: Request, order: Order = "input") -> Response:
        _no_query(request, "order")
        service.ready()
        service.admission.check()
        data = fields_of(await read_json(request, service.limits), ("cases",), "A batch").get("cases")
        if not isinstance(data, list) or not data:
            raise Refusal(422, "invalid_request", "cases must be a list of one or more cases.", field="cases")
        if len(data) > service.limits.batch:
            message = f"There are {len(data):,} cases; this server takes {service.limits.batch:,} in a batch."
            raise Refusal(413, "too_large", message, hint="Send several batches.", field="cases")
        request.state.cases = len(data)
        items = [_item(item, service.limits) for item in data]
        service.admission.enter(len(items))
        return Lines(_lines(Batch(service, items, request.state.request_id), order))

    @router.get("/health", tags=["operation"], summary="Whether it can judge now", responses=answers("Health"))
    async def health() -> Response:
        state = service.state
        return json_response({"status": state}, status=200 if state == "ready" else 503)

    @router.get("/health/live", tags=["operation"], summary="Whether it runs at all", responses=answers("Health"))
    async def live() -> Response:
        return json_response({"status": service.state})

    @router.get("/metrics", tags=["operation"], summary="Counters for Prometheus", responses=answers("Metrics"))
    async def counters() -> Response:
        return Response(service.metrics.page(), headers={"content-type": metrics.CONTENT_TYPE})

    return router


def _item(item: Any, limits: Limits) -> Case | JudgeFailure:
    """A case of a batch, or why it is none."""
    try:
        return case_of(item, limits)
    except InvalidCaseError as error:
        message = str(error)
    except Refusal as refusal:
        message = f"{refusal.message} {refusal.hint}".strip()
    case_id = item.get("id") if isinstance(item, dict) else None
    case_id = case_id[:200] if isinstance(case_id, str) else None
    return JudgeFailure(case_id=case_id, error_type="InvalidCaseError", message=message)


async def _lines(batch: Batch, order: Order) -> AsyncGenerator[bytes, None]:
    async with aclosing(batch.outcomes(order)) as outcomes:
        async for index, outcome in outcomes:
            name = "verdict" if isinstance(outcome, Verdict) else "failure"
            yield json_bytes({"index": index, name: outcome.to_dict()}) + b"\n"


def _no_query(request: Request, *known: str) -> None:
    if unknown := sorted(set(request.query_params) - set(known)):
        raise Refusal(
            422,
            "invalid_request",
            f"There is no query parameter {unknown[0][:80]!r} here.",
            hint=f"There is: {', '.join(known)}." if known else "",
            field=unknown[0][:80],
        )


def _request_id(request: Request) -> str | None:
    return getattr(request.state, "request_id", None)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error.response(_request_id(request))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidCaseError)
    refusal = Refusal(422, "invalid_case", error.message, hint=error.hint, field=error.field)
    return refusal.response(_request_id(request))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = _KINDS.get(error.status_code, "invalid_request")
    headers = dict(error.headers or {})
    return Refusal(error.status_code, kind, str(error.detail), headers=headers).response(_request_id(request))


async def _malformed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = str(first["loc"][-1])
    return Refusal(422, "invalid_request", f"{field}: {first['msg']}.", field=field).response(_request_id(request))
