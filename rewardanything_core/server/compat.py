"""The routes of the `rewardanything` distribution 1.0.1, so that its ``Client`` works with this server unchanged."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from rewardanything_core.cases import Case
from rewardanything_core.errors import InvalidCaseError
from rewardanything_core.server.errors import APIError, json_response
from rewardanything_core.server.limits import Limits
from rewardanything_core.server.ndjson import cancel_on_disconnect
from rewardanything_core.server.openapi import documented_body, documented_responses
from rewardanything_core.server.parsing import check_batch, check_object, invalid_case, parse_case
from rewardanything_core.server.service import BatchOutcomes, Service, judge_request
from rewardanything_core.types import JudgeFailure, Verdict

FIELDS = ("principle", "prompt", "responses", "mask_responses")


def routes(service: Service) -> APIRouter:
    """``/api/rewardanything`` and ``/api/rewardanything_batch``."""
    router = APIRouter(tags=["rewardanything 1.0.1"])

    @router.post(
        "/api/rewardanything",
        summary="Judge one case",
        openapi_extra=documented_body("CompatCase"),
        responses=documented_responses("CompatVerdict"),
    )
    async def judge(request: Request) -> Response:
        return json_response(_verdict_dict(await judge_request(service, request, _parse_case)))

    @router.post(
        "/api/rewardanything_batch",
        summary="Judge several cases: all their verdicts in order, or an error",
        description="The format has no place for a failed case, so one failed case makes the whole answer an error "
        "that lists the failures. The other verdicts are in the store and are served from there on a retry.",
        openapi_extra=documented_body("CompatBatch"),
        responses=documented_responses("CompatVerdicts"),
    )
    async def judge_batch(request: Request) -> Response:
        service.require_judge()
        service.admission.check()
        data = check_batch(await service.bodies.read_json(request), service.limits, "body")
        cases = [_parse_item(index, item, service.limits) for index, item in enumerate(data)]
        request.state.cases = len(cases)
        service.admission.admit(len(cases))
        batch = BatchOutcomes(service, cases, request.state.request_id)
        return json_response(await cancel_on_disconnect(request.receive, _verdicts(batch)))

    return router


async def _verdicts(batch: BatchOutcomes) -> list[dict[str, Any]]:
    verdicts: list[dict[str, Any]] = []
    failures: list[tuple[int, JudgeFailure]] = []
    async with aclosing(batch.outcomes("input")) as outcomes:
        async for index, outcome in outcomes:
            if isinstance(outcome, Verdict):
                verdicts.append(_verdict_dict(outcome))
            else:
                failures.append((index, outcome))
    if failures:
        raise APIError(
            502,
            "judge_failed",
            f"{len(failures):,} of {len(failures) + len(verdicts):,} cases have no verdict.",
            hint="POST /v1/judge/batch answers case by case.",
            failures=failures,
        )
    return verdicts


def _parse_item(index: int, item: Any, limits: Limits) -> Case:
    try:
        return _parse_case(item, limits)
    except InvalidCaseError as error:
        raise invalid_case(error, prefix=f"Item {index}: ") from None
    except APIError as error:
        error.message = f"Item {index}: {error.message}"
        raise


def _parse_case(data: Any, limits: Limits) -> Case:
    fields = dict(check_object(data, FIELDS, "A case of rewardanything 1.0.1"))
    # Judging is always blind, so the field has no effect.
    if not isinstance(fields.pop("mask_responses", True), bool):
        raise APIError(422, "invalid_request", "mask_responses must be true or false.", field="mask_responses")
    for name, kind in (("principle", str), ("prompt", str), ("responses", dict)):
        if name in fields and not isinstance(fields[name], kind):
            expected = "a string" if kind is str else "a mapping label -> text"
            raise APIError(422, "invalid_request", f"{name} must be {expected}.", field=name)
    return parse_case(fields, limits)


def _verdict_dict(verdict: Verdict) -> dict[str, Any]:
    # The client does not know which label was model-1, so it gets the explanation, which has the labels.
    return {
        "thoughts": verdict.explanation,
        "results": {"scores": verdict.scores, "best-to-worst": verdict.ranking},
    }
