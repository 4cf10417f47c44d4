import gzip
import json
import os
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from checks import RA_JUDGE
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from paths import ROOT

from rewardanything_core import Case, ConfigError, Judge, Jury, Principle, Rubric, ScriptedBackend, load_judge
from rewardanything_core.backends import verdict_reply
from rewardanything_core.backends.scripted import rubric_reply
from rewardanything_core.errors import RewardAnythingError
from rewardanything_core.judging.opentelemetry import EvaluationEvents

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONCISE = Principle("Prefer the shorter answer.", name="concise")
RUBRIC = Rubric({"short": "Is it short?", "true": {"text": "Is it true?", "required": 4}}, name="answer")


def reply(request):
    content = json.loads(request.messages[1]["content"])
    if "mute" in str(content["prompt"]):
        return "no verdict"
    scores = {name: len(text) for name, text in content["responses"].items()}
    if "rubric" not in content:
        return verdict_reply(scores, thoughts="model-1 is short")
    return rubric_reply(dict.fromkeys(content["rubric"], scores))


@pytest.fixture
def exported():
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    return provider, lambda: [one.log_record for one in exporter.get_finished_logs()]


def judge_with(observer, **options):
    return Judge(ScriptedBackend(reply), on_verdict=[observer], retries=0, criteria="together", **options)


def test_an_event_for_each_response_with_score_label_explanation_and_judge(exported):
    provider, records = exported
    judge = judge_with(EvaluationEvents(provider=provider))
    verdict = judge.judge(CONCISE, "q", {"a": "xxxx", "b": "x"}, id="q1")
    first, second = records()
    assert {record.event_name for record in records()} == {"gen_ai.evaluation.result"}
    assert first.attributes == {
        "gen_ai.evaluation.name": "concise",
        "gen_ai.evaluation.score.value": 4.0,
        "gen_ai.evaluation.score.label": "pass",
        "gen_ai.evaluation.explanation": verdict.explanation,
        "rewardanything.principle": CONCISE.text,
        "rewardanything.response": "a",
        "rewardanything.case.id": "q1",
        "rewardanything.record_id": verdict.record_id,
        "rewardanything.judge.model": "scripted",
        "rewardanything.judge.template_hash": judge.template_hash,
        "rewardanything.judge.seed": 0,
        "rewardanything.judge.passes": 1,
        "rewardanything.cached": False,
        "rewardanything.spread": 0.0,
    }
    assert second.attributes["gen_ai.evaluation.score.label"] == "fail"
    assert first.trace_id == first.span_id == 0
    assert first.timestamp > 10**18


def test_criteria_have_events_of_their_own_and_a_required_one_decides_the_label(exported):
    provider, records = exported
    judge_with(EvaluationEvents(provider=provider, pass_score=1, explanations=False)).judge(RUBRIC, "q", ["xx"])
    values = [
        [record.attributes[f"gen_ai.evaluation.{key}"] for key in ("name", "score.value", "score.label")]
        for record in records()
    ]
    assert values == [["answer", 1.0, "fail"], ["answer.short", 2.0, "pass"], ["answer.true", 2.0, "fail"]]
    assert all("gen_ai.evaluation.explanation" not in record.attributes for record in records())
    assert records()[2].attributes["rewardanything.principle"] == "Is it true?"


def test_a_failure_has_its_error_type_and_no_score(exported):
    provider, records = exported
    judge = judge_with(EvaluationEvents(provider=provider))
    with pytest.raises(RewardAnythingError):
        judge.judge(CONCISE, "mute", ["x"])
    list(judge.judge_stream([{"principle": "p", "prompt": "q", "responses": []}]))
    failed, refused = records()
    assert failed.attributes["error.type"] == "VerdictParseError"
    assert failed.severity_number.name == "ERROR"
    assert not any("score" in key for key in failed.attributes)
    assert refused.attributes["error.type"] == "InvalidCaseError"


def test_an_event_belongs_to_the_judged_span(exported):
    provider, records = exported
    active = TracerProvider().get_tracer("app")
    by_id = judge_with(EvaluationEvents(provider=provider))
    given = f"00-{'9' * 32}-{'8' * 16}-01"
    by_function = judge_with(
        EvaluationEvents(provider=provider, span_of=lambda _, label: given if label == "a" else None)
    )
    with active.start_as_current_span("call") as span:
        by_id.judge(CONCISE, "q", ["1"], id=f"00-{TRACE}-{SPAN}-01")
        by_id.judge(CONCISE, "q", ["2"], id=f"tr-{TRACE}")  # as MLflow writes it
        by_id.judge(CONCISE, "q", ["3"], id="q17")
        by_function.judge(CONCISE, "q", {"a": "4", "b": "x"}, id=TRACE)
    called = span.get_span_context()
    trace, link = int(TRACE, 16), int(SPAN, 16)
    assert [(record.trace_id, record.span_id) for record in records()] == [
        (trace, link),
        (trace, 0),
        (called.trace_id, called.span_id),
        (int("9" * 32, 16), int("8" * 16, 16)),
        (trace, 0),
    ]


def test_spans_are_children_of_the_judged_span():
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    judge = judge_with(EvaluationEvents(signal="spans", provider=provider))
    judge.judge(CONCISE, "q", ["xxx"], id=f"00-{TRACE}-{SPAN}-01")
    judge.judge_batch([Case(CONCISE, "mute", ["x"])])
    scored, failed = exporter.get_finished_spans()
    assert (scored.name, scored.context.trace_id, scored.parent.span_id) == (
        "evaluate concise",
        int(TRACE, 16),
        int(SPAN, 16),
    )
    assert scored.attributes["gen_ai.evaluation.score.value"] == 3.0
    assert scored.start_time <= scored.end_time
    assert failed.status.status_code is StatusCode.ERROR
    assert "VerdictParseError" in failed.attributes["error.type"]


class Receiver:
    """An OTLP/HTTP endpoint that decodes what it gets."""

    def __init__(self):
        self.logs, self.spans, self.service = [], [], None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.receive(self.path, gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def receive(self, path, body):
        if path == "/v1/logs":
            groups = ExportLogsServiceRequest.FromString(body).resource_logs
            self.service = {one.key: one.value.string_value for one in groups[0].resource.attributes}["service.name"]
            self.logs += [record for group in groups for scope in group.scope_logs for record in scope.log_records]
        elif path == "/v1/traces":
            groups = ExportTraceServiceRequest.FromString(body).resource_spans
            self.spans += [span for group in groups for scope in group.scope_spans for span in scope.spans]


@pytest.fixture
def receiver():
    running = Receiver()
    yield running
    running.server.shutdown()


def test_a_command_sends_events_to_an_otlp_endpoint_when_the_settings_say_so(receiver, tmp_path):
    (tmp_path / "ra-judge.toml").write_text(
        '[judge]\nmodel = "scripted:scripts:by_length"\non_verdict = ["otel", "otel-spans"]\n'
    )
    rows = [
        {"id": f"00-{TRACE}-{SPAN}-01", "prompt": "q", "response": "xxx"},
        {"id": "second", "prompt": "ünïcode", "response": "xxxx"},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = [RA_JUDGE, "grade", "rows.jsonl", "--principle", "p", "--id-column", "id"]
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "tests"),
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_SERVICE_NAME": "nightly",
    }
    done = subprocess.run(
        [*command, "--out", "out.jsonl"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert receiver.service == "nightly"
    scores = {}
    for record in receiver.logs:
        assert record.event_name == "gen_ai.evaluation.result"
        attributes = {one.key: one.value for one in record.attributes}
        scores[attributes["rewardanything.case.id"].string_value] = (
            attributes["gen_ai.evaluation.score.value"].double_value,
            record.trace_id.hex(),
            record.span_id.hex(),
        )
    assert scores == {rows[0]["id"]: (3.0, TRACE, SPAN), "second": (4.0, "", "")}
    assert sorted(span.parent_span_id.hex() for span in receiver.spans) == ["", SPAN]


def test_observers_by_name_and_wrong_ones(monkeypatch):
    monkeypatch.setenv("RA_JUDGE_ON_VERDICT", "otel")
    assert isinstance(load_judge("scripted:scripts:by_length").observers[0], EvaluationEvents)
    judge = Judge(ScriptedBackend(reply), on_verdict=["otel"])
    assert isinstance(judge.with_options(seed=1).observers[0], EvaluationEvents)
    assert isinstance(Jury([judge], on_verdict=["otel"]).observers[0], EvaluationEvents)
    assert judge.fingerprint() == Judge(ScriptedBackend(reply)).fingerprint()
    for wrong in (["hotel"], "otel", [3]):
        with pytest.raises(ConfigError, match="on_verdict"):
            Judge(ScriptedBackend(reply), on_verdict=wrong)
    with pytest.raises(ConfigError, match="pass_score"):
        EvaluationEvents(pass_score=0.8)
    with pytest.raises(ConfigError, match="signal"):
        EvaluationEvents(signal="metrics")
    with pytest.raises(ConfigError, match="span_of"):
        EvaluationEvents(span_of="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
