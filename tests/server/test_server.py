"""What clients of a judge server get: verdicts, streams, and answers to what is no case."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from scripts import by_length, mute
from serving import CASE, Held, case, running, serving, until

from rewardanything_core import Judge, Principle, SamplingParams, ScriptedBackend
from rewardanything_core.errors import (
    AuthenticationError,
    BackendConnectionError,
    BackendError,
    BackendTimeoutError,
    ContextLengthError,
    RateLimitError,
    StoreError,
)
from rewardanything_core.server.app import create_app

PAPER, PAPER_BATCH = "/api/rewardanything", "/api/rewardanything_batch"


@pytest.fixture(scope="module")
def plain():
    with serving() as server:
        yield server


def lines(response):
    return [json.loads(line) for line in response.iter_lines()]


# --- one case


def test_a_verdict_is_the_judges_own(plain):
    answer = plain.post("/v1/judge", {**CASE, "id": "q1"})
    expected = Judge(ScriptedBackend(by_length), cache="off").judge(**CASE, id="q1")
    assert answer.status_code == 200
    assert answer.json() == json.loads(json.dumps(expected.to_dict()))
    assert answer.json()["scores"] == {"a": 4.0, "b": 5.0}


def test_everything_a_case_has_reaches_the_judge():
    backend = ScriptedBackend(by_length)
    with serving(Judge(backend, cache="off")) as server:
        chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": [{"type": "text", "text": "?"}]}]
        more = {"reference": "384,400 km", "context": "From an atlas.", "prompt": chat, "responses": ["Far.", "Ö"]}
        answer = server.post("/v1/judge", {"principle_name": "concise", **more})
    assert answer.json()["scores"] == {"0": 4.0, "1": 1.0}
    asked = json.loads(backend.requests[0].messages[1]["content"])
    assert asked["principle"] == Principle.named("concise").text
    assert asked["reference"] == "384,400 km"
    assert asked["context"] == "From an atlas."
    assert asked["prompt"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "?"}]


@pytest.mark.parametrize(
    ("change", "field", "part"),
    [
        ({"principle": " "}, "principle", "empty"),
        ({"principle": 3}, "principle", "must be a string"),
        ({"principle_name": "concise"}, "principle_name", "not both"),
        ({"principle": None, "principle_name": "nonesuch"}, "principle_name", "the library has: "),
        ({"principle": None}, "principle", "no 'principle'"),
        ({"prompt": ""}, "prompt", "is empty"),
        ({"prompt": [{"role": "wizard", "content": "x"}]}, "prompt", "roles are"),
        ({"responses": {}}, "responses", "nothing to judge"),
        ({"responses": {"a": None}}, "responses", "labelled 'a' must be a string"),
        ({"responses": "one"}, "responses", "for one response give [text]"),
        ({"responses": {"a": "\ud800"}}, "responses", "surrogate"),
        ({"id": 7}, "id", "must be a string"),
    ],
)
def test_a_case_that_cannot_be_judged_names_the_field(plain, change, field, part):
    body = json.dumps({**CASE, **change}).encode()
    answer = plain.client.post("/v1/judge", content=body, headers={"content-type": "application/json"})
    error = answer.json()["error"]
    assert answer.status_code == 422
    assert error["type"] == "invalid_case"
    assert error["field"] == field
    assert part in error["message"]


@pytest.mark.parametrize("path", ["/v1/judge", "/v1/judge/batch", PAPER, PAPER_BATCH])
@pytest.mark.parametrize("field", ["model", "api_base", "api_key", "store", "output_path", "config", "passes"])
def test_no_request_can_name_an_endpoint_a_key_a_path_or_a_model(plain, path, field):
    body = {**CASE, field: "http://evil.example"}
    body = {PAPER_BATCH: [CASE, body], "/v1/judge/batch": {"cases": [CASE], field: "x"}}.get(path, body)
    answer = plain.post(path, body)
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == field
    (line,) = lines(plain.post("/v1/judge/batch", {"cases": [{**CASE, field: "x"}]}))
    assert field in line["failure"]["message"]
    assert plain.client.post(f"/v1/judge?{field}=x", json=CASE).status_code == 422


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "Expecting value"),
        (b"{", "property name"),
        (b"[1]", "must be a JSON object, not a list"),
        (b'{"prompt": NaN}', "NaN is not a JSON number"),
        (b'{"responses": {"a": "x", "a": "y"}}', "the key 'a' twice"),
        (b"\xff\xfe", "codec can't decode"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused(plain, content, part):
    for path in ("/v1/judge", "/v1/judge/batch"):
        answer = plain.client.post(path, content=content, headers={"content-type": "application/json"})
        assert answer.status_code == 422
        assert part in answer.json()["error"]["message"]


def test_what_is_not_said_to_be_json_is_refused(plain):
    """A web page can send text to this machine without asking, but not JSON."""
    answer = plain.client.post("/v1/judge", content=json.dumps(CASE), headers={"content-type": "text/plain"})
    assert answer.status_code == 415
    assert plain.client.post("/v1/judge", content=b"").status_code == 415


def test_a_model_that_gives_no_verdict_is_an_error_with_its_reply():
    with serving(Judge(ScriptedBackend(mute), cache="off", retries=1)) as server:
        for path in ("/v1/judge", PAPER):
            answer = server.post(path, CASE)
            assert answer.status_code == 502
            failure = answer.json()["error"]["failure"]
            assert failure["error_type"] == "VerdictParseError"
            assert failure["raw_output"] == "I would rather not say."
            assert failure["attempts"] == 2
        (line,) = lines(server.post("/v1/judge/batch", {"cases": [{**CASE, "id": "q"}]}))
        assert (line["failure"]["case_id"], line["failure"]["error_type"]) == ("q", "VerdictParseError")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (AuthenticationError("Incorrect key sk-secret at http://inner:8000", status_code=401), 502),
        (RateLimitError("inner says sk-secret"), 503),
        (BackendConnectionError("inner sk-secret"), 503),
        (BackendTimeoutError("inner sk-secret"), 504),
        (BackendError("inner sk-secret"), 502),
        (StoreError("/srv/inner/sk-secret.sqlite3"), 503),
        (ContextLengthError(tokens=5000, limit=4096), 413),
        (ZeroDivisionError("inner sk-secret"), 502),
    ],
)
def test_what_goes_wrong_behind_has_its_status_and_stays_behind(error, status, caplog):
    def fail(request):
        raise error

    with serving(Judge(ScriptedBackend(fail), cache="off", retries=0)) as server:
        answer = server.post("/v1/judge", CASE)
        (line,) = lines(server.post("/v1/judge/batch", {"cases": [CASE]}))
        server.client.get("/metrics")
    assert answer.status_code == status
    told = answer.json()["error"]
    assert ("retry-after" in answer.headers) == (status == 503)
    assert set(line) == {"index", "failure"}
    assert told["failure"]["message"] == line["failure"]["message"]
    for secret in ("sk-secret", "inner", "sqlite"):
        assert secret not in answer.text + json.dumps(line)
    if status != 413:
        assert "sk-secret" in caplog.text
        assert told["request_id"] in caplog.text


# --- many cases


@pytest.mark.parametrize("order", ["input", "completed"])
def test_a_batch_has_one_line_for_each_case(plain, order):
    cases = [case("x" * (i % 5 + 1), id=f"q{i}") for i in range(300)]
    cases[7] = {"id": "bad"}
    cases[8] = "not even that"
    got = lines(plain.client.post("/v1/judge/batch", params={"order": order}, json={"cases": cases}))
    by_index = {line["index"]: line for line in got}
    assert sorted(by_index) == list(range(300))
    if order == "input":
        assert list(by_index) == sorted(by_index)
    for i, line in by_index.items():
        if i in (7, 8):
            assert line["failure"]["error_type"] == "InvalidCaseError"
        else:
            assert line["verdict"]["scores"] == {"a": i % 5 + 1}
            assert line["verdict"]["case_id"] == f"q{i}"
    assert by_index[7]["failure"]["case_id"] == "bad"


@pytest.mark.parametrize("body", [{"cases": []}, {"cases": {}}, {}, []])
def test_a_batch_must_have_cases(plain, body):
    assert plain.post("/v1/judge/batch", body).status_code == 422


def test_an_order_that_there_is_not(plain):
    answer = plain.post("/v1/judge/batch?order=random", {"cases": [CASE]})
    assert (answer.status_code, answer.json()["error"]["field"]) == (422, "order")


@pytest.mark.parametrize("order", ["input", "completed"])
def test_lines_come_as_soon_as_they_are_there(order):
    held = Held("slow")
    with serving(held.judge()) as server:
        cases = [case("x"), case("slow"), case("xx")]
        with server.client.stream("POST", f"/v1/judge/batch?order={order}", json={"cases": cases}) as answer:
            coming = answer.iter_lines()
            before = [json.loads(next(coming))["index"] for _ in range(1 if order == "input" else 2)]
            held.released.set()
            after = [json.loads(line)["index"] for line in coming]
    assert (before, after) == (([0], [1, 2]) if order == "input" else ([0, 2], [1]))


def test_headers_come_before_any_verdict():
    held = Held()
    asked = {"json": {"cases": [CASE]}}
    with serving(held.judge()) as server, server.client.stream("POST", "/v1/judge/batch", **asked) as answer:
        assert answer.headers["content-type"] == "application/x-ndjson"
        held.released.set()
        assert len(lines(answer)) == 1


def test_a_long_batch_leaves_room_for_others():
    held = Held("long batch")
    with serving(held.judge(), window=4) as server, ThreadPoolExecutor() as pool:
        cases = [case(f"long batch {i}") for i in range(40)]
        batch = pool.submit(server.post, "/v1/judge/batch", {"cases": cases})
        until(lambda: held.started == 4)
        assert server.post("/v1/judge", CASE).status_code == 200
        held.released.set()
        assert len(lines(batch.result())) == 40


def test_hanging_up_cancels_what_was_asked():
    held = Held()
    with serving(held.judge(), window=8) as server:
        with pytest.raises(httpx.ReadTimeout):
            server.post("/v1/judge", CASE, timeout=0.5)
        until(lambda: held.cancelled == 1)
        with server.client.stream("POST", "/v1/judge/batch", json={"cases": [case(str(i)) for i in range(20)]}):
            until(lambda: held.started == 9)
        until(lambda: held.cancelled == 9)
        with pytest.raises(httpx.ReadTimeout):
            server.post(PAPER_BATCH, [case(str(i)) for i in range(20)], timeout=0.5)
        until(lambda: held.cancelled == held.started == 17)
        until(lambda: server.app.service.admission.pending == 0)


def test_the_same_case_asked_by_many_at_once_is_asked_once():
    held = Held()
    judge = Judge(ScriptedBackend(held.reply))  # with its store, for those who come when it has just been answered
    with serving(judge) as server, ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(server.post, "/v1/judge", {**CASE, "id": str(i)}) for i in range(20)]
        until(lambda: server.app.service.admission.pending == 20)
        held.released.set()
        assert [answer.result().json()["case_id"] for answer in asked] == [str(i) for i in range(20)]
    assert held.started == 1


# --- the client of the paper's package

CLIENT = """
import json, sys, types
from importlib.metadata import distribution
package = types.ModuleType("rewardanything")  # its own __init__ loads torch
package.__path__ = [str(distribution("rewardanything").locate_file("rewardanything"))]
sys.modules["rewardanything"] = package
from rewardanything.client import Client

url, token = sys.argv[1:]
client = Client(url, api_key=token, max_retries=0)
assert client.health_check()
assert not Client("http://127.0.0.1:9", max_retries=0).health_check()
one = client.judge("Be brief.", "How far?", {"gpt": "abc", "llama": "a"}, mask_responses=False)
cases = [{"principle": "Be brief.", "prompt": "How far?", "responses": {"x": "a" * (i % 5 + 1)}} for i in range(30)]
many = client.judge_batch(cases)
try:
    client.judge_batch([*cases, {"principle": "Be brief.", "prompt": "Mute?", "responses": {"x": ""}}])
except Exception as error:
    failed = [type(error).__name__, error.response.status_code, error.response.json()["error"]]
print(json.dumps([vars(one), [vars(result) for result in many], failed, "torch" in sys.modules]))
"""


def test_the_papers_own_client_works_unchanged():
    def reply(request):
        return "No." if "Mute?" in request.messages[1]["content"] else by_length(request)

    token = "a-token-of-some-length"
    with serving(Judge(ScriptedBackend(reply), cache="off"), tokens=(token,)) as server:
        done = subprocess.run([sys.executable, "-c", CLIENT, server.url, token], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one, many, (kind, status, error), torch = json.loads(done.stdout)
    assert one["scores"] == {"gpt": 3.0, "llama": 1.0}
    assert one["ranking"] == ["gpt", "llama"]
    assert one["reasoning"] == "by length"
    assert [result["scores"] for result in many] == [{"x": i % 5 + 1} for i in range(30)]
    assert (kind, status) == ("HTTPError", 502)
    assert [failed["index"] for failed in error["failures"]] == [30]
    assert not torch


# --- while there is no judge


def test_while_the_judge_is_loaded():
    with running(create_app(None)) as server:
        for path, body in (("/v1/judge", CASE), ("/v1/judge/batch", {"cases": [CASE]}), (PAPER, CASE)):
            answer = server.post(path, body)
            assert (answer.status_code, answer.json()["error"]["type"]) == (503, "loading")
            assert answer.headers["retry-after"] == "5"
        health = server.client.get("/health")
        assert (health.status_code, health.json()) == (503, {"status": "loading"})
        assert server.client.get("/health/live").status_code == 200
        assert "ra_judge_ready 0.0" in server.client.get("/metrics").text
        server.app.service.judge = Judge(ScriptedBackend(by_length), cache="off")
        assert server.client.get("/health").json() == {"status": "ready"}
        assert server.post("/v1/judge", CASE).status_code == 200


# --- what it says of itself


def test_metrics_count_what_happened():
    from prometheus_client.parser import text_string_to_metric_families

    with serving(Judge(ScriptedBackend(by_length))) as server:
        for _ in range(3):
            server.post("/v1/judge", CASE)
        server.post("/v1/judge", {})
        server.post("/v1/judge/batch", {"cases": [case("new"), {}]})
        page = server.client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }
    assert found["ra_judge_requests_total", "/v1/judge", "200"] == 3
    assert found["ra_judge_requests_total", "/v1/judge", "422"] == 1
    assert found["ra_judge_cases_total", "verdict"] == 2
    assert found["ra_judge_cases_total", "stored"] == 2
    assert found["ra_judge_cases_total", "InvalidCaseError"] == 1
    assert found["ra_judge_model_calls_total",] == 2
    assert found["ra_judge_pending_cases",] == 0


def test_the_access_log_has_ids_and_no_texts(caplog):
    caplog.set_level(logging.INFO, logger="rewardanything_core")
    with serving() as server:
        named = server.post("/v1/judge", CASE, headers={"x-request-id": "trace-7"})
        forged = server.client.get("/Be%20brief.%0A?moon=1", headers={"x-request-id": "a b"})
    assert named.headers["x-request-id"] == "trace-7"
    assert forged.headers["x-request-id"] != "a b"
    noted = [record.getMessage() for record in caplog.records if record.name.endswith("access")]
    assert noted[0].startswith('127.0.0.1 trace-7 "POST /v1/judge" 200 ')
    assert noted[0].endswith("cases=1")
    assert len(noted) == 2
    assert not any("moon" in line or "\n" in line or "Far." in line for line in noted)


@pytest.mark.model
def test_with_a_real_model(small_model):
    with serving(Judge(small_model, cache="off", sampling=SamplingParams(thinking_budget=0))) as server:
        got = lines(server.post("/v1/judge/batch", {"cases": [CASE, case("A long way.")]}, timeout=250))
    assert [set(line["verdict"]["scores"]) for line in got] == [{"a", "b"}, {"a"}]
