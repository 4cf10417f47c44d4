"""From MLflow's traces to what a program was given, and what it said and did."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, TypeAlias

from mlflow.entities import Trace
from mlflow.tracing.constant import TraceMetadataKey

from rewardanything_core import InvalidCaseError, Message
from rewardanything_core.conversations import Response, split_conversation
from rewardanything_mlflow.fields import prompt_from

Unit: TypeAlias = Literal["row", "trace", "session"]
"""What is judged: a row's outputs, all that its trace records, or all traces of a session."""


def inputs_and_outputs(trace: Trace) -> tuple[Any, Any]:
    """The inputs and outputs of a trace's root span; None where there are none."""
    root = next((span for span in trace.data.spans if span.parent_id is None), None)
    return (root.inputs, root.outputs) if root else (None, None)


def conversation_from(traces: Sequence[Trace]) -> tuple[list[Message], Response]:
    """What a program was given first, and the turns that its traces record after that.

    Args:
        traces: A trace, or those of a session.

    Raises:
        InvalidCaseError: there are no traces, or a part of one cannot be read.
    """
    ordered = in_order(traces)
    given: str | list[Message] = ""
    with suppress(InvalidCaseError):  # if the inputs have several fields; the conversation has all of them
        given = prompt_from(inputs_and_outputs(ordered[0])[0])
    return split_conversation(ordered, where="trace", prompt=given)


def in_order(traces: Sequence[Trace]) -> list[Trace]:
    """Traces from the first to the last.

    Raises:
        InvalidCaseError: there are none.
    """
    if not traces:
        raise InvalidCaseError("There is no trace to judge.", field="trace")
    return sorted(traces, key=lambda trace: trace.info.request_time)


def session_id(traces: Sequence[Trace]) -> str | None:
    """The id of the session that traces belong to. None: they do not say."""
    return next(
        (name for trace in traces if (name := trace.info.trace_metadata.get(TraceMetadataKey.TRACE_SESSION))), None
    )


def session_expectations(traces: Sequence[Trace]) -> dict[str, Any]:
    """Name -> value of the expectations of a session, which MLflow keeps on its first trace."""
    return {
        one.name: one.expectation.value
        for one in in_order(traces)[0].info.assessments
        if one.expectation is not None and TraceMetadataKey.TRACE_SESSION in (one.metadata or {})
    }
