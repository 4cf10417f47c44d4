"""From the bytes of a request to cases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

from starlette.requests import ClientDisconnect, Request

from rewardanything_core.cases import Case
from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.principles import Principle
from rewardanything_core.server.limits import Limits
from rewardanything_core.server.refusals import Refusal

CASE_FIELDS = ("principle", "principle_name", "prompt", "responses", "reference", "context", "id")
ID_CHARS = 512
_IN_THREAD = 256 * 2**10
"""Bodies longer than this are parsed beside the event loop."""


def gone() -> Refusal:
    """Nobody is there to read this; the status is for the log."""
    return Refusal(499, "client_gone", "The client hung up.")


async def read_json(request: Request, limits: Limits) -> Any:
    """The body as JSON.

    Raises:
        Refusal: it is too long, too slow, of another type, or no JSON.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Refusal(
            415,
            "unsupported_media_type",
            f"The body must be JSON, not {media_type[:60] or 'of an unnamed type'}.",
            hint="Send the header Content-Type: application/json.",
        )
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.body_bytes:
        raise _too_long(limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.body_bytes:
                    raise _too_long(limits)
    except TimeoutError:
        raise Refusal(
            408,
            "body_timeout",
            f"The body did not arrive within {limits.body_seconds:g} s.",
            headers={"connection": "close"},
        ) from None
    except ClientDisconnect:
        raise gone() from None
    return await asyncio.to_thread(_parsed, body) if len(body) > _IN_THREAD else _parsed(body)


def _too_long(limits: Limits) -> Refusal:
    return Refusal(
        413,
        "too_large",
        f"The body is longer than the {limits.body_bytes:,} bytes that this server takes.",
        hint="Send fewer cases at a time.",
    )


def _parsed(body: bytes | bytearray) -> Any:
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        problem = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Refusal(422, "invalid_json", f"The body is not valid JSON: {problem}.", field="body") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has the key {twice[:80]!r} twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)


def fields_of(data: Any, allowed: tuple[str, ...], what: str) -> dict[str, Any]:
    """The members of a JSON object, none of them unknown.

    Raises:
        Refusal: it is none, or has one that nothing here reads.
    """
    if not isinstance(data, dict):
        raise Refusal(422, "invalid_request", f"{what} must be a JSON object, not {_name_of(data)}.", field="body")
    if unknown := sorted(data.keys() - set(allowed)):
        raise Refusal(
            422,
            "invalid_request",
            f"{what} has an unknown field {unknown[0][:80]!r}; there are: {', '.join(allowed)}.",
            hint="Models, endpoints, keys and files are the server's own settings; no request can choose them.",
            field=unknown[0][:80],
        )
    return data


def case_of(data: Any, limits: Limits) -> Case:
    """The case that a JSON object says.

    Raises:
        Refusal: the object is none of a case.
        InvalidCaseError: it is, and the case cannot be judged.
    """
    given = {name: value for name, value in fields_of(data, CASE_FIELDS, "A case").items() if value is not None}
    case_id = given.get("id")
    case_id = case_id if isinstance(case_id, str) else None
    given = _with_principle(given, case_id)
    for name, text in _texts(given):
        if len(text) > (most := ID_CHARS if name == "id" else limits.text_chars):
            raise Refusal(
                413,
                "too_large",
                f"A text in {name} has {len(text):,} characters; this server takes {most:,}.",
                field=name,
            )
    for name, most, noun in (("responses", limits.responses, "responses"), ("prompt", limits.messages, "messages")):
        value = given.get(name)
        if isinstance(value, dict | list) and len(value) > most:
            message = f"A case has {len(value):,} {noun}; this server takes {most:,}."
            raise Refusal(413, "too_large", message, field=name)
    return Case.of(given)


def _with_principle(given: dict[str, Any], case_id: str | None) -> dict[str, Any]:
    if "principle_name" not in given:
        return given
    name = given.pop("principle_name")
    if "principle" in given:
        raise InvalidCaseError("Give principle or principle_name, not both.", field="principle_name", case_id=case_id)
    if not isinstance(name, str):
        raise InvalidCaseError("principle_name must be a string.", field="principle_name", case_id=case_id)
    try:
        return {**given, "principle": Principle.named(name[:80])}
    except ConfigError as error:
        raise InvalidCaseError(error.message, field="principle_name", case_id=case_id) from None


def _texts(given: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every string in the fields of a case, labels and parts of messages too."""
    for name, value in given.items():
        stack = [value]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                yield name, item
            elif isinstance(item, dict):
                stack += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                stack += item


def _name_of(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
