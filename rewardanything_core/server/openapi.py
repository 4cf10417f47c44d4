"""The OpenAPI document: the models' schemas, what each route answers, and whether it needs a token."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from pydantic.json_schema import models_json_schema

from rewardanything_core import types
from rewardanything_core.server import decision_schemas, schemas
from rewardanything_core.server.limits import Limits
from rewardanything_core.server.schemas import DerivedFields, Json

_ERRORS = {
    400: "The request has both Content-Length and Transfer-Encoding.",
    401: "The token is missing or wrong.",
    404: "The judge's model gives no probabilities of its answers.",
    408: "The body took too long to arrive.",
    413: "The body, a text or a list exceeds a limit of this server or of its model.",
    415: "The body is not declared as JSON.",
    421: "The server does not accept requests for that host name.",
    422: "The case cannot be judged as given; `field` has the invalid part.",
    429: "Too much is pending; retry after `Retry-After` seconds.",
    500: "The server failed with an internal error.",
    502: "The model gave no verdict, or its server refused the request.",
    503: "The model cannot be reached, or the server is loading or stopping.",
    504: "There was no verdict in time.",
}
"""Status -> what it means."""

_OPERATION_ERRORS = (400, 401, 421, 429, 500, 503)
"""The errors of routes that judge nothing."""

_REF = "#/components/schemas/{model}"


def components(limits: Limits) -> dict[str, Json]:
    """The JSON schemas of all models, by name.

    Args:
        limits: The limits to document.
    """
    requests = [*schemas.request_models(limits), *decision_schemas.request_models(limits)]
    models = [(model, "validation") for model in [*requests, *schemas.ANSWERS, *decision_schemas.ANSWERS]]
    found: dict[str, Json] = models_json_schema(models, ref_template=_REF)[1]["$defs"]  # type: ignore[arg-type]
    outcome = TypeAdapter(types.Verdict | types.JudgeFailure).json_schema(mode="serialization", ref_template=_REF)
    for name, schema in outcome["$defs"].items():
        if name == "Verdict":
            schema["properties"] |= DerivedFields.model_json_schema()["properties"]
        schema["required"] = list(schema["properties"])
        found[name] = schema
    return found


def ref(name: str) -> Json:
    """A reference to one of `components`."""
    return {"$ref": _REF.format(model=name)}


def documented_body(name: str) -> Json:
    """The request body of a route, for ``openapi_extra``.

    Args:
        name: The model of the body.
    """
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": ref(name)}}}}


def documented_responses(
    name: str, *, media_type: str = "application/json", error: str = "Error"
) -> dict[int | str, Json]:
    """The answers of a route, for ``responses``.

    Args:
        name: The model of the answer with status 200, or ``"Metrics"``.
        media_type: The media type of that answer.
        error: The model of its errors.
    """
    if name == "Metrics":
        media_type, schema = "text/plain", {"type": "string"}
    else:
        schema = ref(name)
    judging = name not in ("Health", "Metrics", "Models")
    responses: dict[int | str, Json] = {200: {"description": "Success.", "content": {media_type: {"schema": schema}}}}
    for status, description in _ERRORS.items():
        if status in _OPERATION_ERRORS or (judging and (status != 404 or error != "Error")):
            responses[status] = {"description": description, "content": {"application/json": {"schema": ref(error)}}}
    if name == "Health":
        either = {"anyOf": [ref("Health"), ref("Error")]}
        responses[503] = {"description": "It cannot judge.", "content": {"application/json": {"schema": either}}}
    return responses


def install_openapi(app: FastAPI, limits: Limits, *, secured: bool) -> None:
    """Give an application its OpenAPI document.

    Args:
        app: The application.
        limits: The limits to document.
        secured: Whether requests need a token.
    """

    def document() -> Json:
        if app.openapi_schema is None:
            openapi = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            parts = openapi.setdefault("components", {})
            parts["schemas"] = components(limits)
            if secured:
                parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                for path, methods in openapi["paths"].items():
                    for operation in methods.values():
                        operation["security"] = [] if path.startswith("/health") else [{"token": []}]
            app.openapi_schema = openapi
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # the way that FastAPI documents
