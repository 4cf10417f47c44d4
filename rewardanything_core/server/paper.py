"""The routes of the `rewardanything` distribution 1.0.1, so that its ``Client`` works against this server unchanged."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from rewardanything_core.cases import Case
from rewardanything_core.errors import InvalidCaseError
from rewardanything_core.server.intake import case_of, fields_of, read_json
from rewardanything_core.server.limits import Limits
from rewardanything_core.server.refusals import Refusal, json_response
from rewardanything_core.server.schemas import accepts, answers
from rewardanything_core.server.service import Batch, Service
from rewardanything_core.server.streams import while_there
from rewardanything_core.types import JudgeFailure, Verdict

FIELDS = ("principle", "prompt", "responses", "mask_responses")


def routes(service: Service) -> APIRouter:
    """``/api/rewardanything`` and ``/api/rewardanything_batch``."""
    router = APIRouter(tags=["rewardanything 1.0.1"])

    @router.post(
        "/api/rewardanything",
        summary="Judge one case",
        openapi_extra=accepts("PaperCase"),
        responses=answers("PaperVerdict"),
    )
    async def one(request: Request) -> Response:
        service.ready()
        service.admission.check()
        case = _case(await read_json(request, service.limits), service.limits)
        request.state.cases = 1
        service.admission.enter()
        try:
            verdict = await while_there(request.receive, service.verdict(case, request.state.request_id))
        finally:
            service.admission.leave()
        return json_response(_result(verdict))

    @router.post(
        "/api/rewardanything_batch",
        summary="Judge several cases: all their verdicts in order, or an error",
        description="The format has no place for a case that failed, so one of them makes the whole answer an error "
        "that lists the failures. The other verdicts are in the store, where asking again finds them.",
        openapi_extra=accepts("PaperBatch"),
        responses=answers("PaperVerdicts"),
    )
    async def several(request: Request) -> Response:
        service.ready()
        service.admission.check()
        data = await read_json(request, service.limits)
        if not isinstance(data, list) or not data:
            raise Refusal(422, "invalid_request", "The body must be a list of one or more cases.", field="body")
        if len(data) > service.limits.batch:
            message = f"There are {len(data):,} cases; this server takes {service.limits.batch:,} in a batch."
            raise Refusal(413, "too_large", message)
        cases = [_nth(index, item, service.limits) for index, item in enumerate(data)]
        request.state.cases = len(cases)
        service.admission.enter(len(cases))
        batch = Batch(service, cases, request.state.request_id)
        return json_response(await while_there(request.receive, _all(batch)))

    return router


async def _all(batch: Batch) -> list[dict[str, Any]]:
    verdicts: list[dict[str, Any]] = []
    failures: list[tuple[int, JudgeFailure]] = []
    async with aclosing(batch.outcomes("input")) as outcomes:
        async for index, outcome in outcomes:
            if isinstance(outcome, Verdict):
                verdicts.append(_result(outcome))
            else:
                failures.append((index, outcome))
    if failures:
        raise Refusal(
            502,
            "judge_failed",
            f"{len(failures):,} of {len(failures) + len(verdicts):,} cases got no verdict.",
            hint="POST /v1/judge/batch answers case by case.",
            failures=failures,
        )
    return verdicts


def _nth(index: int, item: Any, limits: Limits) -> Case:
    try:
        return _case(item, limits)
    except InvalidCaseError as error:
        raise Refusal(422, "invalid_case", f"Item {index}: {error.message}", field=error.field) from None
    except Refusal as refusal:
        refusal.message = f"Item {index}: {refusal.message}"
        raise


def _case(item: Any, limits: Limits) -> Case:
    given = fields_of(item, FIELDS, "A case of rewardanything 1.0.1")
    # Judging is always blind here, so there is nothing that this could turn off.
    if not isinstance(given.pop("mask_responses", True), bool):
        raise Refusal(422, "invalid_request", "mask_responses must be true or false.", field="mask_responses")
    for name, kind in (("prompt", str), ("responses", dict)):
        if name in given and not isinstance(given[name], kind):
            what = "a string" if kind is str else "a mapping label -> text"
            raise Refusal(422, "invalid_request", f"{name} must be {what}.", field=name)
    return case_of(given, limits)


def _result(verdict: Verdict) -> dict[str, Any]:
    # The client cannot know which label was model-1, so it is told with the labels.
    return {
        "thoughts": verdict.explanation,
        "results": {"scores": verdict.scores, "best-to-worst": verdict.ranking},
    }
