"""Responses of a judge server: verdicts, streams, and errors for invalid requests."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from agent_runs import CAREFUL, HASTY, PROMPT, asks_first
from scripts import by_length, mute
from serving import CASE, BlockedModel, case, running, serving, wait_until

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

COMPAT, COMPAT_BATCH = "/api/rewardanything", "/api/rewardanything_batch"


@pytest.fixture(scope="module")
def plain():
    with serving() as server:
        yield server


def lines(response):
    return [json.loads(line) for line in response.iter_lines()]


# --- one case


def test_the_response_is_the_judges_verdict(plain):
    response = plain.post("/v1/judge", {**CASE, "id": "q1"})
    expected = Judge(ScriptedBackend(by_length), cache="off").judge(**CASE, id="q1")
    assert response.status_code == 200
    assert response.json() == json.loads(json.dumps(expected.to_dict()))
    assert response.json()["scores"] == {"a": 4.0, "b": 5.0}


def test_every_field_of_a_case_reaches_the_judge():
    backend = ScriptedBackend(by_length)
    with serving(Judge(backend, cache="off")) as server:
        chat = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": [{"type": "text", "text": "?"}]}]
        more = {"reference": "384,400 km", "context": "From an atlas.", "prompt": chat, "responses": ["Far.", "Ö"]}
        response = server.post("/v1/judge", {"principle_name": "concise", **more})
    assert response.json()["scores"] == {"0": 4.0, "1": 1.0}
    visible = json.loads(backend.requests[0].messages[1]["content"])
    assert visible["principle"] == Principle.named("concise").text
    assert visible["reference"] == "384,400 km"
    assert visible["context"] == "From an atlas."
    assert visible["prompt"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "?"}]


def test_responses_may_be_agent_runs_of_which_one_has_too_many_messages():
    with serving(Judge(ScriptedBackend(asks_first), cache="off"), messages=5) as server:
        case = {"principle": "Ask first.", "prompt": PROMPT}
        response = server.post(
            "/v1/judge", {**case, "responses": {"careful": CAREFUL, "hasty": HASTY, "text": "Done."}}
        )
        assert response.json()["scores"] == {"careful": 5.0, "hasty": 2.0, "text": 2.0}
        response = server.post("/v1/judge", {**case, "responses": [CAREFUL, [*CAREFUL, HASTY[-1]]]})
        assert response.status_code == 413
        assert "A response has 6 messages and this server's limit is 5" in response.json()["error"]["message"]
        response = server.post("/v1/judge", {**case, "responses": [HASTY[0]]})
        assert (response.status_code, response.json()["error"]["field"]) == (422, "responses")
        assert "for one response of messages give [messages]" in response.json()["error"]["message"]


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
def test_an_invalid_case_is_refused_with_its_field(plain, change, field, part):
    body = json.dumps({**CASE, **change}).encode()
    response = plain.client.post("/v1/judge", content=body, headers={"content-type": "application/json"})
    error = response.json()["error"]
    assert response.status_code == 422
    assert error["type"] == "invalid_case"
    assert error["field"] == field
    assert part in error["message"]


@pytest.mark.parametrize("path", ["/v1/judge", "/v1/judge/batch", COMPAT, COMPAT_BATCH])
@pytest.mark.parametrize("field", ["model", "api_base", "api_key", "store", "output_path", "config", "passes"])
def test_a_request_cannot_choose_an_endpoint_a_key_a_path_or_a_model(plain, path, field):
    body = {**CASE, field: "http://evil.example"}
    body = {COMPAT_BATCH: [CASE, body], "/v1/judge/batch": {"cases": [CASE], field: "x"}}.get(path, body)
    response = plain.post(path, body)
    assert response.status_code == 422
    assert response.json()["error"]["field"] == field
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
        (b'{"prompt": -1e999}', "-1e999, which exceeds the range of a double, is not a JSON number"),
        (b'{"responses": {"a": "x", "a": "y"}}', "the key 'a' twice"),
        (b"\xff\xfe", "codec can't decode"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_invalid_json_is_refused(plain, content, part):
    for path in ("/v1/judge", "/v1/judge/batch"):
        response = plain.client.post(path, content=content, headers={"content-type": "application/json"})
        assert response.status_code == 422
        assert part in response.json()["error"]["message"]


def test_a_body_of_another_media_type_is_refused(plain):
    """A web page can send text to other origins without a preflight request, but not JSON."""
    response = plain.client.post("/v1/judge", content=json.dumps(CASE), headers={"content-type": "text/plain"})
    assert response.status_code == 415
    assert plain.client.post("/v1/judge", content=b"").status_code == 415


def test_a_reply_without_a_verdict_is_an_error_that_has_the_reply():
    with serving(Judge(ScriptedBackend(mute), cache="off", retries=1)) as server:
        for path in ("/v1/judge", COMPAT):
            response = server.post(path, CASE)
            assert response.status_code == 502
            failure = response.json()["error"]["failure"]
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
def test_an_error_of_the_judge_has_its_status_and_its_details_stay_in_the_log(error, status, caplog):
    def fail(request):
        raise error

    with serving(Judge(ScriptedBackend(fail), cache="off", retries=0)) as server:
        response = server.post("/v1/judge", CASE)
        (line,) = lines(server.post("/v1/judge/batch", {"cases": [CASE]}))
        server.client.get("/metrics")
    assert response.status_code == status
    body = response.json()["error"]
    assert ("retry-after" in response.headers) == (status == 503)
    assert set(line) == {"index", "failure"}
    assert body["failure"]["message"] == line["failure"]["message"]
    for secret in ("sk-secret", "inner", "sqlite"):
        assert secret not in response.text + json.dumps(line)
    if status != 413:
        assert "sk-secret" in caplog.text
        assert body["request_id"] in caplog.text


# --- many cases


@pytest.mark.parametrize("order", ["input", "completed"])
def test_a_batch_has_one_line_for_each_case(plain, order):
    cases = [case("x" * (i % 5 + 1), id=f"q{i}") for i in range(300)]
    cases[7] = {"id": "bad"}
    cases[8] = "not an object"
    received = lines(plain.client.post("/v1/judge/batch", params={"order": order}, json={"cases": cases}))
    by_index = {line["index"]: line for line in received}
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


def test_an_unknown_order_is_refused(plain):
    response = plain.post("/v1/judge/batch?order=random", {"cases": [CASE]})
    assert (response.status_code, response.json()["error"]["field"]) == (422, "order")


@pytest.mark.parametrize("order", ["input", "completed"])
def test_lines_are_sent_as_soon_as_they_are_available(order):
    model = BlockedModel("slow")
    with serving(model.judge()) as server:
        cases = [case("x"), case("slow"), case("xx")]
        with server.client.stream("POST", f"/v1/judge/batch?order={order}", json={"cases": cases}) as response:
            stream = response.iter_lines()
            before = [json.loads(next(stream))["index"] for _ in range(1 if order == "input" else 2)]
            model.released.set()
            after = [json.loads(line)["index"] for line in stream]
    assert (before, after) == (([0], [1, 2]) if order == "input" else ([0, 2], [1]))


def test_headers_are_sent_before_any_verdict():
    model = BlockedModel()
    request = {"json": {"cases": [CASE]}}
    with serving(model.judge()) as server, server.client.stream("POST", "/v1/judge/batch", **request) as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        model.released.set()
        assert len(lines(response)) == 1


def test_a_long_batch_leaves_room_for_others():
    model = BlockedModel("long batch")
    with serving(model.judge(), window=4) as server, ThreadPoolExecutor() as pool:
        cases = [case(f"long batch {i}") for i in range(40)]
        batch = pool.submit(server.post, "/v1/judge/batch", {"cases": cases})
        wait_until(lambda: model.started == 4)
        assert server.post("/v1/judge", CASE).status_code == 200
        model.released.set()
        assert len(lines(batch.result())) == 40


def test_a_disconnect_cancels_the_clients_cases():
    model = BlockedModel()
    with serving(model.judge(), window=8) as server:
        with pytest.raises(httpx.ReadTimeout):
            server.post("/v1/judge", CASE, timeout=0.5)
        wait_until(lambda: model.cancelled == 1)
        with server.client.stream("POST", "/v1/judge/batch", json={"cases": [case(str(i)) for i in range(20)]}):
            wait_until(lambda: model.started == 9)
        wait_until(lambda: model.cancelled == 9)
        with pytest.raises(httpx.ReadTimeout):
            server.post(COMPAT_BATCH, [case(str(i)) for i in range(20)], timeout=0.5)
        wait_until(lambda: model.cancelled == model.started == 17)
        wait_until(lambda: server.app.service.admission.pending == 0)


def test_identical_concurrent_cases_are_judged_once():
    model = BlockedModel()
    judge = Judge(ScriptedBackend(model.reply))  # the store serves requests that arrive just after the reply
    with serving(judge) as server, ThreadPoolExecutor(20) as pool:
        futures = [pool.submit(server.post, "/v1/judge", {**CASE, "id": str(i)}) for i in range(20)]
        wait_until(lambda: server.app.service.admission.pending == 20)
        model.released.set()
        assert [future.result().json()["case_id"] for future in futures] == [str(i) for i in range(20)]
    assert model.started == 1


# --- the client of rewardanything 1.0.1

CLIENT = """
import json, sys, types
from importlib.metadata import distribution
package = types.ModuleType("rewardanything")  # its own __init__ imports torch
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


def test_the_client_of_rewardanything_works_unchanged():
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


# --- loading


def test_requests_are_answered_with_503_while_the_judge_is_loading():
    with running(create_app(None)) as server:
        for path, body in (("/v1/judge", CASE), ("/v1/judge/batch", {"cases": [CASE]}), (COMPAT, CASE)):
            response = server.post(path, body)
            assert (response.status_code, response.json()["error"]["type"]) == (503, "loading")
            assert response.headers["retry-after"] == "5"
        health = server.client.get("/health")
        assert (health.status_code, health.json()) == (503, {"status": "loading"})
        assert server.client.get("/health/live").status_code == 200
        assert "ra_judge_ready 0.0" in server.client.get("/metrics").text
        server.app.service.judge = Judge(ScriptedBackend(by_length), cache="off")
        assert server.client.get("/health").json() == {"status": "ready"}
        assert server.post("/v1/judge", CASE).status_code == 200


# --- metrics and the access log


def test_metrics_count_requests_cases_and_calls():
    from prometheus_client.parser import text_string_to_metric_families

    with serving(Judge(ScriptedBackend(by_length))) as server:
        for _ in range(3):
            server.post("/v1/judge", CASE)
        server.post("/v1/judge", {})
        server.post("/v1/judge/batch", {"cases": [case("new"), {}]})
        page = server.client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    values = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }
    assert values["ra_judge_requests_total", "/v1/judge", "200"] == 3
    assert values["ra_judge_requests_total", "/v1/judge", "422"] == 1
    assert values["ra_judge_cases_total", "verdict"] == 2
    assert values["ra_judge_cases_total", "stored"] == 2
    assert values["ra_judge_cases_total", "InvalidCaseError"] == 1
    assert values["ra_judge_model_calls_total",] == 2
    assert values["ra_judge_pending_cases",] == 0


def test_the_access_log_has_ids_and_no_texts(caplog):
    caplog.set_level(logging.INFO, logger="rewardanything_core")
    with serving() as server:
        named = server.post("/v1/judge", CASE, headers={"x-request-id": "trace-7"})
        forged = server.client.get("/Be%20brief.%0A?moon=1", headers={"x-request-id": "a b"})
    assert named.headers["x-request-id"] == "trace-7"
    assert forged.headers["x-request-id"] != "a b"
    records = [record.getMessage() for record in caplog.records if record.name.endswith("access")]
    assert records[0].startswith('127.0.0.1 trace-7 "POST /v1/judge" 200 ')
    assert records[0].endswith("cases=1")
    assert len(records) == 2
    assert not any("moon" in line or "\n" in line or "Far." in line for line in records)


@pytest.mark.model
def test_a_real_model_is_served(small_model):
    with serving(Judge(small_model, cache="off", sampling=SamplingParams(thinking_budget=0))) as server:
        received = lines(server.post("/v1/judge/batch", {"cases": [CASE, case("A long way.")]}, timeout=250))
    assert [set(line["verdict"]["scores"]) for line in received] == [{"a", "b"}, {"a"}]
