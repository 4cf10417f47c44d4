"""What the server says of itself in OpenAPI: the forms of requests and answers, with examples and its limits."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from rewardanything_core.cases import ROLES
from rewardanything_core.principles import library
from rewardanything_core.server.limits import Limits
from rewardanything_core.types import JudgeFailure, Verdict

Json = dict[str, Any]

EXAMPLE: Json = {
    "principle": "Concise before complete; never invent facts.",
    "prompt": "Who wrote Middlemarch?",
    "responses": {"a": "George Eliot.", "b": "It was written by Jane Austen in 1813, to great acclaim."},
    "id": "q1",
}
_REFUSALS = {
    401: "No token, or a wrong one.",
    408: "The body came too slowly.",
    413: "The body, a text or a list is longer than this server or its model takes.",
    415: "The body is not said to be JSON.",
    421: "The server is not called by that host name.",
    422: "The case cannot be judged as given; `field` says what is wrong.",
    429: "Too much is waiting; ask again after `Retry-After` seconds.",
    500: "Something in the server broke.",
    502: "The model gave no verdict, or refused to be asked.",
    503: "The model cannot be reached, or the server is loading or stopping.",
    504: "There was no verdict in time.",
}
# No white space, said so that every dialect of regular expressions means what `str.strip` means.
_INK = "[^\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]"
_NULL: Json = {"type": "null"}
_OPERATIONAL = (401, 421, 429, 500, 503)


def ref(name: str) -> Json:
    """A reference to one of `components`."""
    return {"$ref": f"#/components/schemas/{name}"}


def accepts(name: str) -> Json:
    """For ``openapi_extra``: the body."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": ref(name)}}}}


def answers(name: str, *, media_type: str = "application/json") -> dict[int | str, Json]:
    """For ``responses``: what comes when all goes well, and when it does not."""
    if name == "Metrics":
        media_type, schema = "text/plain", {"type": "string"}
    else:
        schema = ref(name)
    judging = name not in ("Health", "Metrics")
    found: dict[int | str, Json] = {200: {"description": "Done.", "content": {media_type: {"schema": schema}}}}
    for status, description in _REFUSALS.items():
        if judging or status in _OPERATIONAL:
            found[status] = {"description": description, "content": {"application/json": {"schema": ref("Error")}}}
    if name == "Health":
        found[503] = {"description": "Not now.", "content": {"application/json": {"schema": ref("Health")}}}
    return found


def describe(app: FastAPI, limits: Limits, *, secured: bool) -> None:
    """Give the application its OpenAPI document."""

    def document() -> Json:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            parts = made.setdefault("components", {})
            parts["schemas"] = components(limits)
            if secured:
                parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
                for path, methods in made["paths"].items():
                    for operation in methods.values():
                        operation["security"] = [] if path.startswith("/health") else [{"token": []}]
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # as FastAPI's documentation has it


def components(limits: Limits) -> dict[str, Json]:
    """All forms by name."""
    text: Json = {"type": "string", "maxLength": limits.text_chars}
    said: Json = {**text, "minLength": 1, "pattern": _INK}
    either = [{"type": "string", "maxLength": limits.text_chars}, _NULL]
    message: Json = {
        "type": "object",
        "required": ["role", "content"],
        "properties": {"role": {"enum": list(ROLES)}, "content": text},
        "additionalProperties": {"enum": [None, "", [], {}], "description": "What the judge would not see is refused."},
    }
    by_label: Json = {
        "type": "object",
        "minProperties": 1,
        "maxProperties": limits.responses,
        "propertyNames": {"maxLength": limits.text_chars},
        "additionalProperties": text,
    }
    case: Json = {
        "type": "object",
        "required": ["prompt", "responses"],
        "oneOf": [_only("principle", "principle_name"), _only("principle_name", "principle")],
        "additionalProperties": False,
        "properties": {
            "principle": {"anyOf": [said, _NULL], "description": "What makes a response good, in plain words."},
            "principle_name": {
                "enum": [*library(), None],
                "description": "Instead: one that ships with the package.",
            },
            "prompt": {
                "description": "What the responses answer: a text, or chat messages of which one has text.",
                "anyOf": [
                    said,
                    {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": limits.messages,
                        "items": message,
                        "contains": {"properties": {"content": {"pattern": _INK}}},
                    },
                ],
            },
            "responses": {
                "description": "By label, or a list, whose labels are then 0, 1, and so on. The judge sees no label.",
                "anyOf": [by_label, {"type": "array", "minItems": 1, "maxItems": limits.responses, "items": text}],
            },
            "reference": {"anyOf": either, "description": "A good answer to compare with."},
            "context": {"anyOf": either, "description": "Background that the judge should know."},
            "id": {
                "anyOf": [{"type": "string", "maxLength": 512}, _NULL],
                "description": "Your name for the case; it comes back as case_id.",
            },
        },
        "examples": [EXAMPLE],
    }
    batch: Json = {
        "type": "object",
        "required": ["cases"],
        "additionalProperties": False,
        "properties": {
            "cases": {
                "type": "array",
                "minItems": 1,
                "maxItems": limits.batch,
                "items": {"anyOf": [ref("Case"), {"description": "Whatever else it is, it fails on its own."}]},
            }
        },
        "examples": [{"cases": [EXAMPLE]}],
    }
    return {
        "Case": case,
        "Batch": batch,
        **_outcomes(),
        "Line": {
            "type": "object",
            "required": ["index"],
            "properties": {"index": {"type": "integer"}, "verdict": ref("Verdict"), "failure": ref("JudgeFailure")},
            "oneOf": [{"required": ["verdict"]}, {"required": ["failure"]}],
            "additionalProperties": False,
            "description": "One line; the answer has one for each case.",
        },
        "Error": _error(),
        "Health": {
            "anyOf": [
                {
                    "type": "object",
                    "required": ["status"],
                    "properties": {"status": {"enum": ["ready", "loading", "draining"]}},
                },
                ref("Error"),
            ]
        },
        **_paper(limits, said, by_label),
    }


def _only(name: str, other: str) -> Json:
    return {"required": [name], "properties": {name: {"type": "string"}, other: _NULL}}


def _paper(limits: Limits, said: Json, by_label: Json) -> dict[str, Json]:
    case = {
        "type": "object",
        "required": ["principle", "prompt", "responses"],
        "additionalProperties": False,
        "properties": {
            "principle": said,
            "prompt": said,
            "responses": by_label,
            "mask_responses": {"type": "boolean", "description": "Has no effect: judging is always blind."},
        },
        "examples": [{name: EXAMPLE[name] for name in ("principle", "prompt", "responses")}],
    }
    verdict = {
        "type": "object",
        "required": ["thoughts", "results"],
        "properties": {
            "thoughts": {"type": "string"},
            "results": {
                "type": "object",
                "required": ["scores", "best-to-worst"],
                "properties": {
                    "scores": {"type": "object", "minProperties": 1, "additionalProperties": _SCORE},
                    "best-to-worst": {"type": "array", "minItems": 1, "items": {"type": "string"}},
                },
            },
        },
    }
    return {
        "PaperCase": case,
        "PaperBatch": {"type": "array", "minItems": 1, "maxItems": limits.batch, "items": ref("PaperCase")},
        "PaperVerdict": verdict,
        "PaperVerdicts": {"type": "array", "minItems": 1, "items": ref("PaperVerdict")},
    }


_SCORE: Json = {"type": "number", "minimum": 1, "maximum": 5}


def _outcomes() -> dict[str, Json]:
    """The schemas of `Verdict` and `JudgeFailure` as they are defined, with what ``to_dict`` adds."""
    from pydantic import TypeAdapter

    schema = TypeAdapter(Verdict | JudgeFailure).json_schema(
        mode="serialization", ref_template="#/components/schemas/{model}"
    )
    found: dict[str, Json] = schema["$defs"]
    by_label = {"type": "object", "minProperties": 1, "additionalProperties": _SCORE}
    verdict = found["Verdict"]
    verdict["properties"] |= {
        "scores": {**by_label, "description": "Label -> 1..5."},
        "normalized": {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": 1}},
        "best": {"type": "string", "description": "The label ranked first."},
        "explanation": {"type": "string", "description": "The reasoning with your labels for the judge's names."},
    }
    for part in found.values():
        part["required"] = list(part["properties"])
        for described in part["properties"].values():
            described.pop("default", None)
    return found


def _error() -> Json:
    failure = ref("JudgeFailure")
    return {
        "type": "object",
        "required": ["error"],
        "additionalProperties": False,
        "properties": {
            "error": {
                "type": "object",
                "required": ["type", "message"],
                "additionalProperties": False,
                "properties": {
                    "type": {"type": "string", "description": "For programs, such as `invalid_case`."},
                    "message": {"type": "string", "description": "For people."},
                    "hint": {"type": "string", "description": "What to do about it."},
                    "field": {"type": "string", "description": "What in the request is wrong."},
                    "request_id": {"type": "string", "description": "Under which the server's log has it."},
                    "failure": failure,
                    "failures": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["index", "failure"],
                            "properties": {"index": {"type": "integer"}, "failure": failure},
                        },
                    },
                },
            }
        },
    }
