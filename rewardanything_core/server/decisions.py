"""Decision APIs: ``/v1/decisions`` (OpenAI's) and ``/v1/systemone`` (TypeSafe's), answered by the judge's model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from rewardanything_core.decisions import (
    ChoiceQuestion,
    DecisionFormat,
    DecisionRequest,
    PredicateQuestion,
    openai_format,
    systemone_format,
)
from rewardanything_core.errors import DecisionFormatError, NoProbabilitiesError
from rewardanything_core.judging.typed_questions import check_answers_questions
from rewardanything_core.prompting.typed_questions import check_text_only
from rewardanything_core.server.errors import APIError, invalid_decision, json_response, no_probabilities
from rewardanything_core.server.limits import Limits
from rewardanything_core.server.ndjson import cancel_on_disconnect
from rewardanything_core.server.openapi import documented_body, documented_responses
from rewardanything_core.server.parsing import check_number, check_query, check_texts
from rewardanything_core.server.service import Service


def routes(service: Service) -> APIRouter:
    """The two decision routes, and ``/v1/models``."""
    router = APIRouter(tags=["decisions"])
    started = datetime.now(UTC)

    @router.post(
        openai_format.PATH,
        summary="Answer typed questions about an input, in the format of OpenAI's Decisions API",
        openapi_extra=documented_body("OpenAIDecisionRequest"),
        responses=documented_responses("OpenAIDecision", error="OpenAIError"),
    )
    async def decisions(request: Request) -> Response:
        return await _answer(service, request, openai_format)

    @router.post(
        systemone_format.PATH,
        summary="Answer typed questions about a state, in the format of TypeSafe's System One",
        openapi_extra=documented_body("SystemOneRequest"),
        responses=documented_responses("SystemOneResponse", error="SystemOneError"),
    )
    async def systemone(request: Request) -> Response:
        return await _answer(service, request, systemone_format)

    @router.get(
        "/v1/models",
        summary="The model of the judge, as the SDKs of OpenAI and TypeSafe list models",
        responses=documented_responses("Models"),
    )
    async def models(request: Request) -> Response:
        check_query(request)
        name = service.require_judge().model
        described = {"name": name, "description": "The judge of this server.", "release_date": f"{started:%Y-%m-%d}"}
        listed = {"id": name, "object": "model", "created": int(started.timestamp()), "owned_by": "ra-judge"}
        return json_response({"object": "list", "data": [listed], "models": [described]})

    return router


async def _answer(service: Service, request: Request, wire: DecisionFormat) -> Response:
    check_query(request)
    try:
        check_answers_questions(service.require_judge())
    except NoProbabilitiesError as error:
        raise no_probabilities(error) from error
    service.admission.check()
    decision = _read(wire, await service.bodies.read_json(request), service.limits)
    count = request.state.cases = len(decision.questions)
    service.admission.admit(count)
    try:
        work = service.decide(decision, request.state.request_id)
        response = await cancel_on_disconnect(request.receive, work)
    finally:
        service.admission.release(count)
    try:
        return json_response(wire.write_response(response, decision.questions))
    except DecisionFormatError as error:  # a refusal, for which System One has no place
        raise APIError(502, "judge_failed", error.message) from error


def _read(wire: DecisionFormat, body: Any, limits: Limits) -> DecisionRequest:
    """The request in a body.

    Raises:
        APIError: it does not follow the format, or exceeds a limit.
    """
    if isinstance(body, dict):
        check_texts(body, limits, encodable=True)
        for name, limit, nouns in (("questions", limits.questions, "questions"), ("input", limits.messages, "items")):
            if isinstance(body.get(name), dict | list):
                check_number(body[name], limit, f"{name} has {{}} {nouns}", name)
    try:
        decision = wire.read_request(body)
        check_text_only(decision)
    except DecisionFormatError as error:
        raise invalid_decision(error) from error
    except RecursionError:
        raise APIError(422, "invalid_request", "The request is nested too deeply.", field="body") from None
    check_number(_answers(decision), limits.answers, "All questions together have {} options and levels", "questions")
    return decision


def _answers(decision: DecisionRequest) -> list[Any]:
    """The options and levels of all questions."""
    lists = [
        question.options if isinstance(question, ChoiceQuestion) else question.levels
        for question in decision.questions
        if not isinstance(question, PredicateQuestion)
    ]
    return [answer for each in lists for answer in each]
