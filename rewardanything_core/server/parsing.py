"""From the JSON of a request to cases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sized
from typing import Any

from starlette.requests import Request

from rewardanything_core.cases import Case
from rewardanything_core.errors import ConfigError, InvalidCaseError
from rewardanything_core.principles import Principle
from rewardanything_core.principles.texts import check_text
from rewardanything_core.server.errors import MESSAGE_CHARS, APIError
from rewardanything_core.server.limits import Limits
from rewardanything_core.types import JudgeFailure

CASE_FIELDS = ("principle", "principle_name", "prompt", "responses", "reference", "context", "id")
ID_CHARS = 512
"""Maximum length of a case's id, in characters."""


def check_query(request: Request, *known: str) -> None:
    """Check that a request has no other query parameters than the known ones.

    Args:
        request: The request.
        *known: The names of its parameters.

    Raises:
        APIError: it has another one.
    """
    if unknown := sorted(set(request.query_params) - set(known)):
        name = unknown[0][:80]
        raise APIError(
            422,
            "invalid_request",
            f"There is no query parameter {name!r}.",
            hint=f"The parameters are: {', '.join(known)}." if known else "",
            field=name,
        )


def check_object(data: Any, allowed: tuple[str, ...], noun: str) -> dict[str, Any]:
    """A JSON object without unknown fields.

    Args:
        data: The parsed JSON.
        allowed: The names of the known fields.
        noun: What the object is, for messages: ``"A case"``.

    Raises:
        APIError: it is not an object, or has an unknown field.
    """
    if not isinstance(data, dict):
        raise APIError(422, "invalid_request", f"{noun} must be a JSON object, not {_type_name(data)}.", field="body")
    if unknown := sorted(data.keys() - set(allowed)):
        raise APIError(
            422,
            "invalid_request",
            f"{noun} has an unknown field {unknown[0][:80]!r}; the fields are: {', '.join(allowed)}.",
            hint="Models, endpoints, keys and files are settings of the server; a request cannot choose them.",
            field=unknown[0][:80],
        )
    return data


def check_batch(items: Any, limits: Limits, field: str) -> list[Any]:
    """The items of a batch, which may be invalid cases.

    Args:
        items: The parsed JSON.
        limits: The server's limits.
        field: The field that the items are in, or ``"body"``.

    Raises:
        APIError: it is not a list, is empty, or is too long.
    """
    if not isinstance(items, list) or not items:
        what = "The body" if field == "body" else field
        raise APIError(422, "invalid_request", f"{what} must be a list of one or more cases.", field=field)
    if len(items) > limits.batch:
        message = f"There are {len(items):,} cases and this server's limit for a batch is {limits.batch:,}."
        raise APIError(413, "too_large", message, hint="Send several batches.", field=field)
    return items


def parse_case(data: Any, limits: Limits) -> Case:
    """The case that a JSON object describes.

    Args:
        data: The parsed JSON.
        limits: The server's limits.

    Raises:
        APIError: it is not an object, has an unknown field, or exceeds a limit.
        InvalidCaseError: it cannot be judged.
    """
    fields = {name: value for name, value in check_object(data, CASE_FIELDS, "A case").items() if value is not None}
    case_id = fields.get("id")
    fields = _with_principle(fields, case_id if isinstance(case_id, str) else None)
    check_texts(fields, limits)
    for name, limit, noun in (("responses", limits.responses, "responses"), ("prompt", limits.messages, "messages")):
        value = fields.get(name)
        if isinstance(value, dict | list):
            check_number(value, limit, f"A case has {{}} {noun}", name)
    _check_runs(fields.get("responses"), limits)
    if isinstance(fields.get("principle"), dict):
        _check_rubric(fields["principle"], limits)
    try:
        return Case.of(fields)
    except RecursionError:
        raise APIError(422, "invalid_request", "A case is nested too deeply.", field="body") from None


def parse_item(data: Any, limits: Limits) -> Case | JudgeFailure:
    """`parse_case` for an item of a batch, where an invalid case is a failure.

    Args:
        data: The parsed JSON.
        limits: The server's limits.
    """
    try:
        return parse_case(data, limits)
    except InvalidCaseError as error:
        message = str(error)
    except APIError as error:
        message = f"{error.message} {error.hint}".strip()
    case_id = data.get("id") if isinstance(data, dict) else None
    case_id = case_id[:200] if isinstance(case_id, str) else None
    return JudgeFailure(case_id=case_id, error_type="InvalidCaseError", message=message[:MESSAGE_CHARS])


def invalid_case(error: InvalidCaseError, prefix: str = "") -> APIError:
    """The answer for a case that cannot be judged.

    Args:
        error: What is wrong with it.
        prefix: The beginning of the message, such as ``"Item 3: "``.
    """
    message = f"{prefix}{error.message}"[:MESSAGE_CHARS]
    return APIError(422, "invalid_case", message, hint=error.hint, field=error.field[:80])


def check_texts(fields: Mapping[str, Any], limits: Limits, *, encodable: bool = False) -> None:
    """Check all strings in the fields of an object.

    Args:
        fields: The object.
        limits: The server's limits.
        encodable: Also check that UTF-8 can encode them; `Case` does that for its own.

    Raises:
        APIError: one is too long, or contains a lone surrogate.
    """
    for name, text in _texts(fields):
        limit = ID_CHARS if name == "id" else limits.text_chars
        if len(text) > limit:
            message = f"A text in {name[:80]} has {len(text):,} characters and this server's limit is {limit:,}."
            raise APIError(413, "too_large", message, field=name[:80])
        if encodable:
            try:
                check_text(text, field=name, what=f"A text in {name[:80]!a}")
            except InvalidCaseError as error:
                raise APIError(422, "invalid_request", error.message, field=f"{name[:80]!a}"[1:-1]) from None


def check_number(items: Sized, limit: int, has: str, field: str) -> None:
    """Check the number of items.

    Args:
        items: The items.
        limit: How many there may be.
        has: The beginning of the message, with a place for the number: ``"A case has {} responses"``.
        field: The field that they are in.

    Raises:
        APIError: there are more.
    """
    if len(items) > limit:
        message = f"{has.format(f'{len(items):,}')} and this server's limit is {limit:,}."
        raise APIError(413, "too_large", message, field=field)


def _check_runs(responses: Any, limits: Limits) -> None:
    """Check the numbers of messages of the responses that are lists of messages."""
    values = responses.values() if isinstance(responses, dict) else responses if isinstance(responses, list) else ()
    for value in values:
        if isinstance(value, list):
            check_number(value, limits.messages, "A response has {} messages", "responses")


def _check_rubric(data: dict[str, Any], limits: Limits) -> None:
    """Check that a rubric is in the form of `Rubric.to_json`; `Rubric.of` accepts more forms."""
    check_object(data, ("criteria", "name"), "A rubric")
    criteria = data.get("criteria")
    if not isinstance(criteria, dict):
        message = f"The criteria of a rubric must be a JSON object, not {_type_name(criteria)}."
        raise APIError(422, "invalid_request", message, field="principle")
    check_number(criteria, limits.criteria, "A rubric has {} criteria", "principle")


def _with_principle(fields: dict[str, Any], case_id: str | None) -> dict[str, Any]:
    """The fields with the library's principle or rubric in place of its name."""
    if "principle_name" not in fields:
        return fields
    name = fields.pop("principle_name")
    if "principle" in fields:
        raise InvalidCaseError("Give principle or principle_name, not both.", field="principle_name", case_id=case_id)
    if not isinstance(name, str):
        raise InvalidCaseError("principle_name must be a string.", field="principle_name", case_id=case_id)
    try:
        return {**fields, "principle": Principle.named(name[:80])}
    except ConfigError as error:
        raise InvalidCaseError(error.message, field="principle_name", case_id=case_id) from None


def _texts(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every string in the fields of a case with the field's name; also labels and the parts of messages."""
    for name, value in fields.items():
        stack = [value]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                yield name, item
            elif isinstance(item, dict):
                stack += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                stack += item


def _type_name(value: Any) -> str:
    names = {list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
