"""MLflow traces and OpenTelemetry GenAI spans, recorded by the real libraries."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import mlflow
import pytest
from mlflow.entities import SpanType, Trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Status, StatusCode, Tracer
from weather import ANSWER, ARGUMENTS, CALLING, CONVERSATION, QUESTION, RESULT, assistant, text, thought

from rewardanything_core import InvalidCaseError
from rewardanything_core.conversations import read_messages

CALL = {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": json.dumps(ARGUMENTS)}}
OPENAI_CALLING = {"role": "assistant", "content": "I will look.", "tool_calls": [CALL]}


def read(value: Any) -> list[Any]:
    return list(read_messages(value, where="response"))


# --- MLflow


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}")
    mlflow.set_experiment("traces")  # the active one may be of a store that another test used
    yield
    mlflow.set_experiment("Default")  # which every store has
    mlflow.set_tracking_uri(None)


def trace_of(program: Any, *arguments: Any) -> Trace:
    with contextlib.suppress(ValueError):
        program(*arguments)
    return mlflow.get_trace(mlflow.get_last_active_trace_id(), flush=True)


@mlflow.trace(span_type=SpanType.TOOL)
def get_weather(city: str, days: list[int]) -> dict[str, int]:
    return {"temp": 21}


@mlflow.trace(span_type=SpanType.TOOL)
def broken(x: int) -> int:
    raise ValueError("no luck")


@mlflow.trace(span_type=SpanType.CHAT_MODEL)
def model(messages: list[Any]) -> Any:
    asked = messages[-1]["role"] == "user"
    return {"choices": [{"index": 0, "finish_reason": "stop", "message": OPENAI_CALLING if asked else ANSWER}]}


@mlflow.trace(span_type=SpanType.AGENT)
def agent(question: str) -> str:
    messages: list[Any] = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": question}]
    messages.append(model(messages)["choices"][0]["message"])
    if question == "Broken?":
        broken(1)
    messages.append({**RESULT, "content": json.dumps(get_weather(**ARGUMENTS))})
    return str(model(messages)["choices"][0]["message"]["content"])


def test_a_traced_agent() -> None:
    trace = trace_of(agent, "Is it warm in Ulm?")
    expected = [{"role": "system", "content": "Be kind."}, *CONVERSATION]
    for form in (trace, trace.to_dict(), json.loads(trace.to_json()), trace.data.spans, [trace]):
        assert read(form) == expected


def test_a_session_has_what_is_said_twice_twice_and_what_is_given_again_once() -> None:
    traces = [trace_of(agent, "Is it warm in Ulm?"), trace_of(agent, "Is it warm in Ulm?")]
    assert read(traces) == [{"role": "system", "content": "Be kind."}, *CONVERSATION, *CONVERSATION]

    @mlflow.trace(span_type=SpanType.CHAT_MODEL)
    def chat(messages: list[Any]) -> Any:
        return {"role": "assistant", "content": f"Answer {len(messages)}"}

    yes = {"role": "user", "content": "Yes?"}
    first = [yes, {"role": "assistant", "content": "Answer 1"}]
    session = [trace_of(chat, [yes]), trace_of(chat, [*first, yes])]
    assert read(session) == [*first, yes, {"role": "assistant", "content": "Answer 3"}]


@pytest.mark.parametrize("form", ["text", "messages"])
def test_equal_turns_of_a_session_without_a_traced_model_all_count(form: str) -> None:
    asked, answered = {"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes."}

    @mlflow.trace
    def program(messages: Any) -> Any:
        return "Yes." if form == "text" else answered

    given = ["Sure?", "Sure?"] if form == "text" else [[asked], [asked, answered, asked]]
    assert read([trace_of(program, one) for one in given]) == [asked, answered] * 2


def test_a_failed_tool_is_an_error_and_the_program_input_is_kept() -> None:
    system, asked, _, calling, result = read(trace_of(agent, "Broken?"))
    assert system["content"] == "Be kind." and asked == {"role": "user", "content": "Broken?"}
    assert calling["tool_calls"][0]["name"] == "broken" and calling["tool_calls"][0]["arguments"] == {"x": 1}
    assert result["is_error"] and "no luck" in result["content"] and result["name"] == "broken"


def test_what_looks_like_a_setting_and_is_a_text_is_part_of_the_program_input() -> None:
    @mlflow.trace
    def program(question: str, context: str, user_id: str) -> str:
        return f"{question} Yes."

    asked = read(trace_of(program, "Is it warm?", "Ulm is warm.", "u1"))[0]
    assert asked == {"role": "user", "content": "question: Is it warm?\ncontext: Ulm is warm."}


def test_a_program_without_a_model() -> None:
    @mlflow.trace(name="lookup", span_type=SpanType.RETRIEVER)
    def lookup(query: str) -> Any:
        return [{"page_content": "Ulm is warm.", "id": 1}]

    @mlflow.trace
    def program(question: str, language: str) -> Any:
        lookup(question)
        return {"answer": "Yes, it is.", "sources": [1]}

    asked, calling, result, answer = read(trace_of(program, "Warm?", "en"))
    assert asked == {"role": "user", "content": "question: Warm?\nlanguage: en"}
    assert calling["tool_calls"][0]["name"] == "lookup" and calling["tool_calls"][0]["arguments"] == {"query": "Warm?"}
    assert "Ulm is warm." in result["content"]
    assert answer == {"role": "assistant", "content": "answer: Yes, it is.\nsources: [1]"}


@pytest.mark.parametrize("output", [None, float("nan")])
def test_a_trace_without_an_output_has_no_answer(output: Any) -> None:
    @mlflow.trace
    def program(question: str) -> Any:
        return output

    assert read(trace_of(program, "Warm?")) == [{"role": "user", "content": "Warm?"}]


def test_results_of_tools_that_no_model_was_given_follow_their_calls() -> None:
    @mlflow.trace(span_type=SpanType.AGENT)
    def stops_early(question: str) -> None:
        model([{"role": "user", "content": question}])
        get_weather(**ARGUMENTS)

    expected = [QUESTION, CALLING, {**RESULT, "name": "get_weather"}]
    assert read(trace_of(stops_early, "Is it warm in Ulm?")) == expected


def test_a_call_that_two_libraries_record_counts_once() -> None:
    @mlflow.trace(span_type=SpanType.CHAT_MODEL)
    def outer(messages: list[Any]) -> Any:
        return model(messages)

    assert read(trace_of(outer, [QUESTION])) == [QUESTION, CALLING]


# --- OpenTelemetry


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Tracer:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider.get_tracer("test")


PARTS = [
    {"role": "user", "parts": [{"type": "text", "content": "Is it warm in Ulm?"}]},
    {
        "role": "assistant",
        "parts": [
            {"type": "text", "content": "I will look."},
            {"type": "tool_call", "id": "c1", "name": "get_weather", "arguments": ARGUMENTS},
        ],
    },
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": {"temp": 21}}]},
    {"role": "assistant", "parts": [{"type": "text", "content": "Yes, it is."}], "finish_reason": "stop"},
]


def attributes(inputs: list[Any], outputs: list[Any]) -> dict[str, Any]:
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be kind."}]),
        "gen_ai.input.messages": json.dumps(inputs),
        "gen_ai.output.messages": json.dumps(outputs),
    }


def agent_spans(tracer: Tracer, exporter: InMemorySpanExporter) -> tuple[Any, ...]:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "get_weather", "gen_ai.tool.call.id": "c1"}
    with tracer.start_as_current_span("invoke_agent", attributes={"gen_ai.operation.name": "invoke_agent"}):
        with tracer.start_as_current_span("chat m", attributes=attributes(PARTS[:1], PARTS[1:2])):
            pass
        arguments = {"gen_ai.tool.call.arguments": json.dumps(ARGUMENTS), "gen_ai.tool.call.result": '{"temp": 21}'}
        with tracer.start_as_current_span("execute_tool get_weather", attributes={**tool, **arguments}):
            pass
        with tracer.start_as_current_span("chat m", attributes=attributes(PARTS[:3], PARTS[3:])):
            pass
    return exporter.get_finished_spans()


def otlp(value: Any) -> Any:
    """A JSON value in OTLP's typed form."""
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": otlp(item)} for key, item in value.items()]}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [otlp(item) for item in value]}}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


def test_spans_with_messages(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    spans = agent_spans(tracer, exporter)
    expected = [{"role": "system", "content": "Be kind."}, *CONVERSATION]
    assert read(spans) == expected
    assert read([json.loads(span.to_json()) for span in spans]) == expected
    exported = [
        {
            "traceId": "1",
            "spanId": str(number),
            "parentSpanId": "",
            "name": span.name,
            "startTimeUnixNano": str(span.start_time),
            "attributes": [{"key": key, "value": otlp(value)} for key, value in span.attributes.items()],
            "status": {},
        }
        for number, span in enumerate(spans)
    ]
    assert read({"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": exported}]}]}) == expected
    assert read(PARTS) == list(CONVERSATION)


def test_a_tool_that_failed(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "f", "gen_ai.tool.call.id": "c"}
    with tracer.start_as_current_span("execute_tool f", attributes=tool) as span:
        span.set_status(Status(StatusCode.ERROR, "down"))
    assert read(exporter.get_finished_spans()[0])[1] == {
        "role": "tool",
        "name": "f",
        "tool_call_id": "c",
        "content": "down",
        "is_error": True,
    }


def test_other_parts_of_messages() -> None:
    message = {
        "role": "assistant",
        "parts": [
            {"type": "reasoning", "content": "hm"},
            {"type": "uri", "modality": "image", "mime_type": "image/png", "uri": "https://example.org/a.png"},
            {"type": "text", "content": "Here."},
        ],
    }
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    assert read([message]) == [assistant(thought("hm"), image, text("Here."))]
    with pytest.raises(InvalidCaseError, match="message 0, content part 0 has type 'blob'"):
        read([{"role": "user", "parts": [{"type": "blob", "modality": "audio", "content": "AA"}]}])


EVENTS: list[dict[str, Any]] = [
    {"name": "gen_ai.system.message", "body": {"content": "Be kind."}},
    {"name": "gen_ai.user.message", "body": {"content": "Is it warm in Ulm?"}},
    {"name": "gen_ai.assistant.message", "body": {"content": "I will look.", "tool_calls": [CALL]}},
    {"name": "gen_ai.tool.message", "body": {"content": '{"temp": 21}', "id": "c1"}},
    {"name": "gen_ai.choice", "body": {"index": 0, "finish_reason": "stop", "message": {"content": "Yes, it is."}}},
]


def test_events_of_the_older_conventions(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    expected = [{"role": "system", "content": "Be kind."}, *CONVERSATION]
    assert read(EVENTS) == expected
    assert (
        read([{"event_name": one["name"], "body": json.dumps(one["body"]), "attributes": {}} for one in EVENTS])
        == expected
    )
    with tracer.start_as_current_span("chat m", attributes={"gen_ai.operation.name": "chat"}) as span:
        for event in EVENTS:
            values = {key: item if isinstance(item, str) else json.dumps(item) for key, item in event["body"].items()}
            span.add_event(event["name"], values)
    assert read(exporter.get_finished_spans()) == expected
    with tracer.start_as_current_span("chat m", attributes={"gen_ai.operation.name": "chat"}) as span:
        span.add_event("gen_ai.client.inference.operation.details", attributes(PARTS[:1], PARTS[1:2]))
    assert read(exporter.get_finished_spans()[-1]) == [expected[0], QUESTION, CALLING]
    with tracer.start_as_current_span("chat m", attributes={"gen_ai.operation.name": "chat"}) as span:
        span.add_event("gen_ai.content.prompt", {"gen_ai.prompt": json.dumps([QUESTION])})
        span.add_event("gen_ai.content.completion", {"gen_ai.completion": "Yes, it is."})
    assert read(exporter.get_finished_spans()[-1]) == [QUESTION, ANSWER]


def test_what_a_trace_cannot_say(tracer: Tracer, exporter: InMemorySpanExporter) -> None:
    with tracer.start_as_current_span("chat m", attributes=attributes(PARTS[:1], PARTS[3:] * 2)):
        pass
    with pytest.raises(InvalidCaseError, match="a span with 2 choices"):
        read(exporter.get_finished_spans())
    with pytest.raises(InvalidCaseError, match="not a known form"):
        read([{"span_id": "1", "name": "http", "attributes": {"http.method": "GET"}}])
    loop = [
        {"run_type": "chain", "id": str(i), "parent_run_id": str(1 - i), "inputs": {}, "outputs": {}} for i in range(2)
    ]
    with pytest.raises(InvalidCaseError, match="has no messages"):
        read(loop)
