"""MLflow's traces: one, or those of a session, as objects or as ``to_dict`` gives them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewardanything_core.conversations.json_values import parsed
from rewardanything_core.conversations.opentelemetry import attributes_of, genai_span, is_genai, span_fields
from rewardanything_core.conversations.place import Place
from rewardanything_core.conversations.reader import ReadValue
from rewardanything_core.conversations.spans import Span, read_trace
from rewardanything_core.conversations.turns import Turns

_KINDS = {"CHAT_MODEL": "chat", "LLM": "chat", "TOOL": "tool", "RETRIEVER": "tool"}


def recognises(value: Any) -> bool:
    """Whether a value is a trace, a list of traces or spans, or a span."""
    if isinstance(value, list):
        return bool(value) and all(map(recognises, value))
    if not isinstance(value, Mapping):
        return False
    data = value.get("data")
    if isinstance(data, Mapping) and isinstance(data.get("spans"), list):
        return True
    return isinstance(value.get("attributes"), Mapping) and "mlflow.spanType" in value["attributes"]


def read(value: Any, turns: Turns, place: Place, read_value: ReadValue) -> None:
    """Read it; see `reader.Reader`."""
    spans: list[Any] = []
    for one in value if isinstance(value, list) else [value]:
        spans += one["data"]["spans"] if "data" in one else [one]
    read_trace([_span(span, place) for span in spans], turns, place, read_value)


def _span(span: Any, place: Place) -> Span:
    attributes = {name: _decoded(text) for name, text in attributes_of(span, place).items()}
    if "mlflow.spanInputs" not in attributes and "mlflow.spanOutputs" not in attributes and is_genai(span):
        return genai_span(span, place)
    kind: Any = _KINDS.get(str(attributes.get("mlflow.spanType")), "other")
    inputs, outputs = attributes.get("mlflow.spanInputs"), attributes.get("mlflow.spanOutputs")
    return Span(kind=kind, inputs=inputs, outputs=outputs, **span_fields(span))


def _decoded(text: Any) -> Any:
    if text == "NaN":  # an empty cell of a data frame that was evaluated; the word would have quotation marks
        return None
    return parsed(text) if isinstance(text, str) else text
