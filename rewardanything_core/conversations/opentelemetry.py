"""OpenTelemetry's GenAI conventions: spans with messages as attributes or events, messages of parts, and log records.

Spans come as ``ReadableSpan`` objects or as JSON of the SDK or of OTLP. See
https://opentelemetry.io/docs/specs/semconv/gen-ai/ for the attributes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rewardanything_core.conversations.content import add_content
from rewardanything_core.conversations.json_values import parsed
from rewardanything_core.conversations.openai_chat import role_of
from rewardanything_core.conversations.place import Fields, Place
from rewardanything_core.conversations.reader import ReadValue
from rewardanything_core.conversations.spans import Span, read_trace
from rewardanything_core.conversations.turns import Turns

_MESSAGE_EVENTS = {f"gen_ai.{role}.message": role for role in ("system", "user", "assistant", "tool")}
_CHOICE = "gen_ai.choice"
_DETAILS = "gen_ai.client.inference.operation.details"
_OLD_TEXTS = {"gen_ai.content.prompt": "gen_ai.prompt", "gen_ai.content.completion": "gen_ai.completion"}
_INPUTS = ("gen_ai.system_instructions", "gen_ai.input.messages")
_OUTPUTS = "gen_ai.output.messages"


def recognises(value: Any) -> bool:
    """Whether a value is a span, a list of them, an OTLP export, an event, or a message with ``parts``."""
    if isinstance(value, list):
        return bool(value) and all(_is_span(one) for one in value) and any(map(is_genai, value))
    if not isinstance(value, Mapping):
        return False
    if isinstance(value.get("parts"), list) and "role" in value:
        return True
    return (
        any(key in value for key in ("resourceSpans", "scopeSpans"))
        or is_genai(value)
        or _event_name(value) is not None
    )


def read(value: Any, turns: Turns, place: Place, read_value: ReadValue) -> None:
    """Read it; see `reader.Reader`."""
    if isinstance(value, Mapping) and "parts" in value and "role" in value:
        _read_message(value, turns, place)
    elif isinstance(value, Mapping) and _event_name(value) is not None:
        for message in _event_messages(value, place):
            read_value(message, turns, place)
    else:
        spans = list(_spans_in(value, place))
        read_trace([genai_span(span, place) for span in spans], turns, place, read_value)


def is_genai(span: Any) -> bool:
    """Whether a span has attributes or events of the GenAI conventions."""
    if not _is_span(span):
        return False
    names = span.get("attributes") or ()
    names = [item.get("key") if isinstance(item, Mapping) else item for item in names]
    events = span.get("events") if isinstance(span.get("events"), list) else []
    return any(str(name).startswith("gen_ai.") for name in names) or any(_event_name(one) for one in events)


def attributes_of(value: Any, place: Place) -> dict[str, Any]:
    """The attributes of a span or event, from a mapping or from OTLP's list of keys and typed values.

    Args:
        value: The span.
        place: Where it is.
    """
    attributes = Fields(value, place.inside("a span")).take("attributes")
    if isinstance(attributes, list):
        return {str(item.get("key")): _otlp(item.get("value")) for item in attributes if isinstance(item, Mapping)}
    if attributes is not None and not isinstance(attributes, Mapping):
        raise place.error("has a span whose attributes are not a mapping")
    return dict(attributes or {})


def span_fields(span: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a `Span` that MLflow's and OpenTelemetry's have alike."""
    context = span.get("context") if isinstance(span.get("context"), Mapping) else {}
    status = span.get("status") if isinstance(span.get("status"), Mapping) else {}
    assert isinstance(context, Mapping) and isinstance(status, Mapping)
    parent = span.get("parent_span_id") or span.get("parentSpanId") or span.get("parent_id")
    failed = str(status.get("code") or status.get("status_code")) in ("ERROR", "STATUS_CODE_ERROR", "2")
    return {
        "id": str(span.get("span_id") or span.get("spanId") or context.get("span_id")),
        "parent": str(parent) if parent else None,
        "start": time_of(span.get("start_time_unix_nano") or span.get("startTimeUnixNano") or span.get("start_time")),
        "name": str(span.get("name") or ""),
        "error": str(status.get("message") or status.get("description") or "error") if failed else None,
    }


def genai_span(span: Mapping[str, Any], place: Place) -> Span:
    """A span with attributes or events of the GenAI conventions.

    Args:
        span: The span as JSON.
        place: Where it is.
    """
    attributes, fields = attributes_of(span, place), span_fields(span)
    if attributes.get("gen_ai.operation.name") == "execute_tool" or "gen_ai.tool.call.result" in attributes:
        fields["name"] = attributes.get("gen_ai.tool.name") or fields["name"].removeprefix("execute_tool ")
        return Span(
            kind="tool",
            inputs=_decoded(attributes.get("gen_ai.tool.call.arguments")),
            outputs=_decoded(attributes.get("gen_ai.tool.call.result")),
            call_id=attributes.get("gen_ai.tool.call.id"),
            **fields,
        )
    inputs, outputs = _messages_of(attributes, place)
    for event in span.get("events") or ():
        if (name := _event_name(event)) == _DETAILS:
            more_inputs, more_outputs = _messages_of(attributes_of(event, place), place)
            inputs += more_inputs
            outputs += more_outputs
        elif name is not None:
            is_output = name in (_CHOICE, "gen_ai.content.completion")
            (outputs if is_output else inputs).extend(_event_messages(event, place))
    structural = attributes.get("gen_ai.operation.name") in ("invoke_agent", "create_agent", "invoke_workflow")
    if (not inputs and not outputs) or structural:
        return Span(kind="other", inputs=inputs or None, outputs=outputs or None, **fields)
    return Span(kind="chat", inputs=inputs, outputs=outputs, **fields)


def _read_message(value: Mapping[str, Any], turns: Turns, place: Place) -> None:
    """A message with ``parts``; the role ``tool`` has the results of tools."""
    fields = Fields(value, place)
    role = role_of(fields.take("role"), place)
    name, parts = fields.text("name"), fields.items("parts")
    fields.close()
    turns.begin(role, name)
    add_content([_media(part) for part in parts], turns, place)
    if not turns.begun:
        turns.add_empty(None)


def _media(part: Any) -> Any:
    """An image by its URI or bytes as an image block; other parts as they are."""
    if isinstance(part, Mapping) and part.get("type") in ("uri", "blob") and part.get("modality") == "image":
        return {
            "type": "image",
            "url": part.get("uri"),
            "data": part.get("content"),
            "mime_type": part.get("mime_type"),
        }
    return part


def _messages_of(attributes: Mapping[str, Any], place: Place) -> tuple[list[Any], list[Any]]:
    """The messages in a span's attributes: what the model was given, and what it replied."""
    system, inputs = (_decoded(attributes.get(name)) for name in _INPUTS)
    outputs = _decoded(attributes.get(_OUTPUTS))
    found = [{"role": "system", "parts": system if isinstance(system, list) else [_text(system)]}] if system else []
    if (inputs is not None and not isinstance(inputs, list)) or (outputs is not None and not isinstance(outputs, list)):
        raise place.error("has a span whose messages are not a list")
    found += inputs or []
    if outputs and len(outputs) > 1 and all(isinstance(one, Mapping) and "finish_reason" in one for one in outputs):
        raise place.error(f"has a span with {len(outputs)} choices; a conversation has one, so select it")
    return found, outputs or []


def _event_name(event: Any) -> str | None:
    """The name of an event that is a message; None for another one."""
    if not isinstance(event, Mapping):
        return None
    attributes = event.get("attributes") if isinstance(event.get("attributes"), Mapping) else {}
    assert isinstance(attributes, Mapping)
    names = (event.get("event_name"), event.get("eventName"), event.get("name"), attributes.get("event.name"))
    known = {*_MESSAGE_EVENTS, *_OLD_TEXTS, _CHOICE, _DETAILS}
    return next((name for name in names if isinstance(name, str) and name in known), None)


def _event_messages(event: Mapping[str, Any], place: Place) -> list[Any]:
    name = _event_name(event)
    attributes = attributes_of(event, place)
    if name == _DETAILS:
        inputs, outputs = _messages_of(attributes, place)
        return [*inputs, *outputs]
    if name in _OLD_TEXTS:
        role = "user" if name == "gen_ai.content.prompt" else "assistant"
        content = _decoded(attributes.get(_OLD_TEXTS[name]))
        return content if isinstance(content, list) else [{"role": role, "content": content}]
    body = _decoded(event.get("body")) or {
        key: _decoded(item) for key, item in attributes.items() if not key.startswith(("gen_ai.", "event."))
    }
    if not isinstance(body, Mapping):
        body = {"content": body}
    if name == _CHOICE:
        message = body.get(
            "message", {key: item for key, item in body.items() if key not in ("index", "finish_reason")}
        )
        return [{"role": "assistant", **(message if isinstance(message, Mapping) else {"content": message})}]
    assert name is not None
    role = _MESSAGE_EVENTS[name]
    message = {"role": role, **body}
    if role == "tool":
        message["tool_call_id"] = message.pop("id", None)
    return [message]


def _spans_in(value: Any, place: Place) -> Iterator[Any]:
    """The spans of a list, or of an OTLP export."""
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, Mapping):
            raise place.error("has a span that is not a mapping")
        nested = next((one[key] for key in ("resourceSpans", "scopeSpans", "spans") if key in one), None)
        if nested is None:
            yield one
        else:
            yield from _spans_in(nested, place)


def _is_span(value: Any) -> bool:
    keys = ("span_id", "spanId", "context", "start_time", "startTimeUnixNano", "start_time_unix_nano")
    return isinstance(value, Mapping) and any(key in value for key in keys)


def _decoded(value: Any) -> Any:
    return parsed(value) if isinstance(value, str) else value


def _text(value: Any) -> Any:
    return {"type": "text", "content": value} if isinstance(value, str) else value


def time_of(value: Any) -> float:
    """A time as a number, of which only the order within a trace matters; 0 if there is none.

    Args:
        value: A number, or a date and time in ISO 8601.
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        pass
    try:
        return datetime.fromisoformat(str(value)).timestamp()
    except (ValueError, OverflowError, OSError):
        return 0.0


def _otlp(value: Any) -> Any:
    """The value of OTLP's typed form, such as ``{"stringValue": "..."}``."""
    if not isinstance(value, Mapping) or len(value) != 1:
        return value
    ((kind, inner),) = value.items()
    if kind == "arrayValue" and isinstance(inner, Mapping):
        return [_otlp(item) for item in inner.get("values") or ()]
    if kind == "kvlistValue" and isinstance(inner, Mapping):
        pairs = [pair for pair in inner.get("values") or () if isinstance(pair, Mapping)]
        return {str(pair.get("key")): _otlp(pair.get("value")) for pair in pairs}
    return inner if kind in ("stringValue", "intValue", "doubleValue", "boolValue", "bytesValue") else value
