"""Verdicts as OpenTelemetry events, for any backend that takes OTLP.

The event is ``gen_ai.evaluation.result`` of the GenAI semantic conventions (development status; published in
https://github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai/gen-ai-events.md). The conventions have no
attributes for the identity of the evaluator yet, so the judge is described under ``rewardanything.*``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args

from rewardanything_core.errors import ConfigError, MissingExtraError
from rewardanything_core.principles import Principle, Rubric
from rewardanything_core.types import MAX_SCORE, MIN_SCORE, Abstention, JudgeFailure, Verdict

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import SpanContext

    from rewardanything_core.cases import Case
    from rewardanything_core.judging.observers import VerdictEvent

EVENT_NAME = "gen_ai.evaluation.result"

Signal = Literal["events", "spans"]

_SCOPE = "rewardanything_core"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
_TRACE_ID = re.compile(r"(?:tr-)?([0-9a-f]{32})")  # MLflow's trace ids begin with tr-


class EvaluationEvents:
    """An observer that emits each score as an OpenTelemetry event ``gen_ai.evaluation.result``.

    There is an event for each response, and under a rubric one more for each criterion, named ``rubric.criterion``. A
    failed judgement is an event with ``error.type`` and without a score.

    An event belongs to the span of the run that was judged: the one that ``span_of`` returns, else the one that the
    case's id names (a W3C ``traceparent``, a trace id of 32 hexadecimal digits, or MLflow's ``tr-`` and such an id),
    else the span that was active where the judge was called.

    Args:
        pass_score: The score, 1..5, from which the label is ``pass`` instead of ``fail``. A required criterion has its
            own minimum, and a response that misses one fails the rubric.
        explanations: Whether events have the judge's reasoning, which may quote the response.
        signal: ``events`` emits log records, as the conventions have it. ``spans`` emits spans with the same
            attributes, children of the judged span, for backends that take traces only; it needs a span, since a trace
            id alone cannot be a parent.
        span_of: Called with the case and a response's label; returns the judged span as a ``Span``, a ``SpanContext``,
            or a string as for the case's id. None from it: as without it.
        provider: The ``LoggerProvider`` or, for spans, ``TracerProvider``. None: the one that the process has set up;
            without one, an OTLP/HTTP exporter that is configured by the standard ``OTEL_*`` variables.

    Raises:
        MissingExtraError: OpenTelemetry or, where it is needed, its OTLP exporter is not installed.
        ConfigError: an argument has an invalid value.
    """

    def __init__(
        self,
        *,
        pass_score: float = 4.0,
        explanations: bool = True,
        signal: Signal = "events",
        span_of: Callable[[Case, str], Any] | None = None,
        provider: LoggerProvider | TracerProvider | None = None,
    ) -> None:
        if not isinstance(pass_score, int | float) or not MIN_SCORE <= pass_score <= MAX_SCORE:
            raise ConfigError(f"pass_score must be a score within 1..5, not {pass_score!r}.")
        if signal not in get_args(Signal):
            raise ConfigError(f"signal must be 'events' or 'spans', not {signal!r}.")
        if span_of is not None and not callable(span_of):
            raise ConfigError(f"span_of must be a function of a case and a label, not {span_of!r:.80}.")
        self.pass_score = pass_score
        self.explanations = explanations
        self._span_of = span_of
        self._provider: Any = provider or _provider(signal)
        self._emit = self._emit_event if signal == "events" else self._emit_span

    def __call__(self, event: VerdictEvent) -> None:
        """Emit the scores of a verdict, or its failure."""
        labels = list(event.case.responses) if event.case else [""]
        for label in labels:
            context = self._context(event.case, label)
            for attributes in self._evaluations(event, label):
                if len(labels) > 1:
                    attributes["rewardanything.response"] = label
                self._emit(event, {key: value for key, value in attributes.items() if value is not None}, context)

    def flush(self) -> None:
        """Export what is waiting; otherwise that happens within seconds, and when the process ends."""
        self._provider.force_flush()

    # --- attributes

    def _evaluations(self, event: VerdictEvent, label: str) -> Iterator[dict[str, Any]]:
        outcome = event.outcome
        principle = event.case.principle if event.case else None
        name = (principle.name if principle else None) or "principle"
        common: dict[str, Any] = {
            "gen_ai.evaluation.name": name,
            "rewardanything.case.id": outcome.case_id,
            "rewardanything.judge.model": outcome.model or event.judge.model,
            "rewardanything.record_id": outcome.record_id,
        }
        if isinstance(outcome, JudgeFailure):
            if isinstance(outcome, Abstention):
                yield common | {"rewardanything.abstained": True, "gen_ai.evaluation.explanation": outcome.message}
                return
            yield common | {"error.type": outcome.error_type, "rewardanything.error.message": outcome.message}
            return
        assert principle is not None
        common |= {
            "rewardanything.judge.template_hash": outcome.template_hash or None,
            "rewardanything.judge.seed": outcome.seed,
            "rewardanything.judge.passes": len(outcome.pass_scores),
            "rewardanything.cached": outcome.cached,
        }
        yield common | self._score(outcome, label, principle, passed=False if label in outcome.missed else None)
        for criterion, verdict in outcome.criteria.items():
            assert isinstance(principle, Rubric)
            minimum = principle.criteria[criterion].required
            passed = None if minimum is None else verdict.scores[label] >= minimum
            text = Principle(principle.criteria[criterion].full_text)
            named = {"gen_ai.evaluation.name": f"{name}.{criterion}"}
            yield common | named | self._score(verdict, label, text, passed=passed)

    def _score(self, verdict: Verdict, label: str, principle: Principle, *, passed: bool | None) -> dict[str, Any]:
        """The attributes of one score; ``passed`` None: by ``pass_score``."""
        score = verdict.scores[label]
        return {
            "gen_ai.evaluation.score.value": float(score),
            "gen_ai.evaluation.score.label": "pass"
            if (score >= self.pass_score if passed is None else passed)
            else "fail",
            "gen_ai.evaluation.explanation": (verdict.explanation or None) if self.explanations else None,
            "rewardanything.principle": principle.text,
            "rewardanything.spread": verdict.spread.get(label),
            "rewardanything.agreement": verdict.agreement,
        }

    # --- where it belongs, and how it is sent

    def _context(self, case: Case | None, label: str) -> Any:
        """The OpenTelemetry context of the judged span. None: that of the call."""
        from opentelemetry.trace import NonRecordingSpan, set_span_in_context

        if case is None:
            return None
        chosen = self._span_of(case, label) if self._span_of else None
        span = _span_context(chosen)
        if chosen is not None and span is None:
            raise ConfigError(f"span_of returned {chosen!r:.80}; return a span, a span context or a traceparent.")
        span = span or _span_context(case.id)
        return None if span is None else set_span_in_context(NonRecordingSpan(span))

    def _emit_event(self, event: VerdictEvent, attributes: dict[str, Any], context: Any) -> None:
        from opentelemetry._logs import SeverityNumber

        failed = "error.type" in attributes
        self._provider.get_logger(_SCOPE).emit(
            timestamp=event.ended_ns,
            context=context,
            severity_number=SeverityNumber.ERROR if failed else SeverityNumber.INFO,
            attributes=attributes,
            event_name=EVENT_NAME,
        )

    def _emit_span(self, event: VerdictEvent, attributes: dict[str, Any], context: Any) -> None:
        from opentelemetry.trace import StatusCode

        name = f"evaluate {attributes['gen_ai.evaluation.name']}"
        span = self._provider.get_tracer(_SCOPE).start_span(
            name, context, attributes=attributes, start_time=event.started_ns
        )
        if "error.type" in attributes:
            span.set_status(StatusCode.ERROR, attributes["rewardanything.error.message"])
        span.end(event.ended_ns)


def _span_context(value: Any) -> SpanContext | None:
    """The span that a value names. None: it names none."""
    from opentelemetry.trace import SpanContext, TraceFlags

    if hasattr(value, "get_span_context"):
        value = value.get_span_context()
    if isinstance(value, SpanContext):
        return value
    if not isinstance(value, str):
        return None
    if found := _TRACEPARENT.fullmatch(value):
        trace, span, flags = (int(part, 16) for part in found.groups())
        return SpanContext(trace, span, is_remote=True, trace_flags=TraceFlags(flags))
    if found := _TRACE_ID.fullmatch(value):
        return SpanContext(int(found[1], 16), 0, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return None


def _provider(signal: Signal) -> Any:
    """The provider that the process has set up, else one of our own."""
    try:
        if signal == "events":
            from opentelemetry._logs import get_logger_provider
            from opentelemetry.sdk._logs import LoggerProvider

            current: Any = get_logger_provider()
            return current if isinstance(current, LoggerProvider) else _own_logger_provider()
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace import get_tracer_provider

        current = get_tracer_provider()
        return current if isinstance(current, TracerProvider) else _own_tracer_provider()
    except ImportError as error:
        raise MissingExtraError("Emitting OpenTelemetry events", extra="otel") from error


@cache
def _own_logger_provider() -> Any:
    """A provider that exports over OTLP/HTTP; not the process's global one, which belongs to the application."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    return provider


@cache
def _own_tracer_provider() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
