"""Limits, back pressure, tokens, host names, and the command with its signals."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from scripts import by_length
from serving import CASE, BlockedModel, Command, case, serving, wait_until

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.errors import ConfigError
from rewardanything_core.server.app import create_app
from rewardanything_core.server.hosts import accepted_hosts
from rewardanything_core.server.limits import Limits
from rewardanything_core.server.running import listen

TOKEN, OTHER = "first-token-of-this-test", "second-token-of-this-test"
COMPAT, COMPAT_BATCH = "/api/rewardanything", "/api/rewardanything_batch"


STALLED_BODY = (
    b"POST /v1/judge HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
)


def bearer(token):
    return {"authorization": f"Bearer {token}"}


# --- sizes and times


@pytest.fixture(scope="module")
def tight():
    with serving(body_bytes=300_000, text_chars=1000, responses=3, messages=2, batch=4, pending=100) as server:
        yield server


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"principle": "x" * 1001}, "principle"),
        ({"prompt": "x" * 1001}, "prompt"),
        ({"prompt": [{"role": "user", "content": "x" * 1001}]}, "prompt"),
        ({"prompt": [{"role": "user", "content": "x"}] * 3}, "prompt"),
        ({"responses": {"a": "x" * 1001}}, "responses"),
        ({"responses": {"x" * 1001: "a"}}, "responses"),
        ({"responses": ["a"] * 4}, "responses"),
        ({"reference": "x" * 1001}, "reference"),
        ({"context": "x" * 1001}, "context"),
        ({"id": "x" * 1001}, "id"),
    ],
)
def test_a_case_beyond_a_limit_is_refused(tight, change, field):
    response = tight.post("/v1/judge", {**CASE, **change})
    error = response.json()["error"]
    assert (response.status_code, error["type"], error["field"]) == (413, "too_large", field)
    batch = tight.post("/v1/judge/batch", {"cases": [CASE, {**CASE, **change}]})
    first, second = [json.loads(line) for line in batch.iter_lines()]
    assert "verdict" in first
    assert error["message"] in second["failure"]["message"]


def test_a_batch_beyond_the_limit_is_refused(tight):
    assert tight.post("/v1/judge/batch", {"cases": [CASE] * 5}).status_code == 413
    assert tight.post(COMPAT_BATCH, [CASE] * 5).status_code == 413
    assert tight.post(COMPAT_BATCH, [CASE, {**CASE, "prompt": ""}]).json()["error"]["message"].startswith("Item 1: ")


@pytest.mark.parametrize("path", ["/v1/judge", "/v1/judge/batch", COMPAT, COMPAT_BATCH])
def test_a_body_beyond_the_limit_is_refused(tight, path):
    headers = {"content-type": "application/json"}
    known = tight.client.post(path, content=b"[" * 20_000_000, headers=headers)
    unknown = tight.client.post(path, content=(b"[" * 10_000 for _ in range(1000)), headers=headers)
    for response in (known, unknown):
        assert response.status_code == 413
        assert "300,000 bytes" in response.json()["error"]["message"]
    assert tight.post(path, {}).status_code == 422  # other requests are served


def test_a_slow_body_is_refused():
    with serving(body_seconds=0.2) as server, socket.socket() as slow:
        slow.connect(("127.0.0.1", server.client.base_url.port))
        slow.sendall(b"POST /v1/judge HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        slow.sendall(b"Content-Length: 100\r\n\r\n{")
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_slow_case_fails_alone():
    model = BlockedModel("slow")
    with serving(model.judge(), seconds=2) as server:
        server.post("/v1/judge", case("x")).raise_for_status()  # the first case of a process takes longer
        response = server.post("/v1/judge", case("slow", id="q"))
        failure = response.json()["error"]["failure"]
        assert (response.status_code, failure["case_id"]) == (504, "q")
        assert failure["error_type"] == "BackendTimeoutError"
        assert "2 s" in failure["message"]
        wait_until(lambda: (model.started, model.cancelled) == (2, 1))
        batch = server.post("/v1/judge/batch", {"cases": [case("slow"), case("x")]})
        late, good = [json.loads(line) for line in batch.iter_lines()]
        assert late["failure"]["error_type"] == "BackendTimeoutError"
        assert good["verdict"]["scores"] == {"a": 1.0}


def test_cases_beyond_the_limit_are_answered_with_429():
    model = BlockedModel()
    with serving(model.judge(), pending=3, batch=3) as server, ThreadPoolExecutor() as pool:
        one = pool.submit(server.post, "/v1/judge", case("one"))
        two = pool.submit(server.post, "/v1/judge/batch", {"cases": [case("two"), case("three")]})
        wait_until(lambda: model.started == 3)
        for path, body in (("/v1/judge", CASE), ("/v1/judge/batch", {"cases": [CASE]}), (COMPAT, CASE)):
            refused = server.post(path, body)
            assert (refused.status_code, refused.json()["error"]["type"]) == (429, "overloaded")
            assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert server.client.get("/health").status_code == 200
        model.released.set()
        assert one.result().status_code == two.result().status_code == 200
        assert server.post("/v1/judge", CASE).status_code == 200
        assert server.app.service.admission.pending == 0
        model.released.clear()
        one = pool.submit(server.post, "/v1/judge", case("four"))
        wait_until(lambda: server.app.service.admission.pending == 1)
        assert server.post("/v1/judge/batch", {"cases": [CASE] * 3}).status_code == 429
        model.released.set()
        one.result()


@pytest.mark.parametrize("limits", [{"batch": 0}, {"seconds": -1}, {"batch": 11, "pending": 10}])
def test_contradictory_limits_are_refused(limits):
    with pytest.raises(ConfigError):
        Limits(**limits)


# --- access


def test_every_path_except_health_and_docs_needs_a_token():
    with serving(tokens=(TOKEN, OTHER)) as server:
        for path in ("/v1/judge", COMPAT, "/v1/judge/batch", "/nope"):
            for headers in (
                {},
                bearer("wrong"),
                {"authorization": "Bearer"},
                {"authorization": f"Basic {TOKEN}"},
                bearer(TOKEN[:-1]),
            ):
                refused = server.post(path, {}, headers=headers)
                assert (refused.status_code, refused.json()["error"]["type"]) == (401, "unauthorized")
                assert refused.headers["www-authenticate"] == "Bearer"
        assert server.client.get("/metrics").status_code == 401
        assert server.client.get("/metrics", headers=bearer(OTHER)).status_code == 200
        for token in (TOKEN, OTHER):
            assert server.post("/v1/judge", CASE, headers=bearer(token)).status_code == 200
        for path in ("/health", "/health/live", "/docs", "/openapi.json"):
            assert server.client.get(path).status_code == 200
        assert server.client.get("/openapi.json").json()["components"]["securitySchemes"]


@pytest.mark.parametrize("token", ["", "short", "has a space in the middle", "ümlaut-ümlaut-ümlaut"])
def test_a_token_that_is_too_short_or_not_ascii_is_refused(token):
    with pytest.raises(ConfigError, match="16 or more") as caught:
        create_app(None, tokens=[token])
    assert not token or token not in str(caught.value)


def test_unknown_host_names_are_refused():
    """DNS rebinding: a web page can give this machine a host name of its own."""
    with serving(hosts=["localhost", "127.0.0.1", "[::1]"]) as server:
        for host in ("evil.example", "evil.example:8700", "127.0.0.1.evil.example", ""):
            assert server.post("/v1/judge", CASE, headers={"host": host}).status_code == 421
        for host in ("localhost", "LOCALHOST:8700", "[::1]:8700"):
            assert server.post("/v1/judge", CASE, headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("address", "extra", "has_tokens", "accepted", "refused"),
    [
        ("127.0.0.1", [], False, ["localhost", "127.0.0.1", "[::1]"], ["evil.example", "10.0.0.5"]),
        ("127.0.0.1", ["Judge:8700"], False, ["judge", "localhost"], ["evil.example"]),
        ("0.0.0.0", [], False, ["10.0.0.5", "[fd00::5]", "localhost"], ["evil.example", "10.0.0.5.evil.example"]),
        ("0.0.0.0", ["judge"], False, ["judge", "10.0.0.5"], ["evil.example", "fd00::5", ""]),
        ("0.0.0.0", ["judge"], True, ["judge", "10.0.0.5"], ["evil.example"]),
        ("fd00::5", [], False, ["[fd00::5]"], ["evil.example"]),
        ("judge.example", [], False, ["judge.example"], ["evil.example"]),
    ],
)
def test_accepted_host_names(address, extra, has_tokens, accepted, refused):
    tokens = (TOKEN,) if has_tokens else ()
    with serving(tokens=tokens, hosts=accepted_hosts(address, extra, has_tokens=has_tokens)) as server:
        for host in accepted:
            assert server.client.get("/health", headers={"host": f"{host}:8700"}).status_code == 200, host
        for host in refused:
            assert server.client.get("/health", headers={"host": host}).status_code == 421, host


def test_a_token_alone_accepts_any_host_name():
    assert accepted_hosts("0.0.0.0", [], has_tokens=True) is None


def test_there_are_no_cors_headers():
    with serving() as server:
        headers = {"origin": "http://evil.example", "access-control-request-method": "POST"}
        assert server.client.options("/v1/judge", headers=headers).status_code == 405
        response = server.post("/v1/judge", CASE, headers=headers)
        assert not [name for name in response.headers if name.startswith("access-control")]


# --- the command


def test_other_commands_do_not_import_the_servers_packages():
    code = "import sys, rewardanything_core.cli.app; print([m for m in sys.modules if m in ('fastapi', 'uvicorn')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_nagles_algorithm_is_disabled():
    """asyncio disables it only for sockets declared as TCP; uvicorn sends headers and body separately."""
    with listen("localhost", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_a_missing_extra_is_named(tmp_path):
    code = "import sys; sys.modules['fastapi'] = None; from rewardanything_core.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "serve"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "rewardanything-core[serve]" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "part"),
    [
        (["--host", "0.0.0.0"], {}, "can be reached by others"),
        (["--host", "judge.example"], {}, "can be reached by others"),
        (["--token-env", "NONE_SUCH"], {}, "NONE_SUCH for --token-env is not set"),
        (["--token-env", "T"], {"T": "short"}, "16 or more"),
        (["--token-env", "T", "--no-auth"], {"T": TOKEN}, "not both"),
        (["--host", "192.0.2.1", "--no-auth"], {}, "Cannot listen on 192.0.2.1"),
        (["--model", "scripted:scripts:nonesuch"], {}, "There is no function"),
        (["--max-pending", "0"], {}, "must be above 0"),
    ],
)
def test_the_command_refuses_unusable_options(tmp_path, arguments, env, part):
    arguments = arguments if "--model" in arguments else [*arguments, "--model", "scripted:scripts:by_length"]
    with Command(tmp_path, *arguments, **env) as command:
        assert command.exit_code() == 2
        assert part in " ".join(command.output.split())


def test_the_command_requires_the_token_and_never_logs_it(tmp_path):
    arguments = ["--host", "0.0.0.0", "--token-env", "T", "--model", "scripted:scripts:by_length"]
    with Command(tmp_path, *arguments, T=TOKEN) as command:
        port = command.url.rpartition(":")[2]
        url = f"http://127.0.0.1:{port}/v1/judge"
        assert httpx.post(url, json=CASE, headers={"host": "anything"}).status_code == 401
        assert httpx.post(url, json=CASE, headers=bearer(TOKEN)).status_code == 200
        command.process.send_signal(signal.SIGINT)
        assert command.exit_code() == 0
        assert TOKEN not in command.output


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stopping_server_finishes_requests_in_flight(tmp_path, sent):
    calls = tmp_path / "calls"
    arguments = ["--model", "scripted:scripts:tarrying", "--cache", "off"]
    with Command(tmp_path, *arguments, CALLS=str(calls)) as command, ThreadPoolExecutor() as pool:
        one = pool.submit(httpx.post, f"{command.url}/v1/judge", json=CASE, timeout=60)
        body = {"cases": [case("x" * i) for i in range(1, 6)]}
        batch = pool.submit(httpx.post, f"{command.url}/v1/judge/batch", json=body, timeout=60)
        wait_until(lambda: calls.exists() and len(calls.read_text().splitlines()) == 6)
        command.process.send_signal(sent)
        assert one.result().json()["scores"] == {"a": 4.0, "b": 5.0}
        assert [set(json.loads(line)) for line in batch.result().iter_lines()] == [{"index", "verdict"}] * 5
        assert command.exit_code() == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{command.url}/health")


def test_a_stopping_server_abandons_cases_at_its_time_limit(tmp_path):
    arguments = ["--model", "scripted:scripts:never", "--cache", "off", "--drain", "0.3"]
    with Command(tmp_path, *arguments) as command, ThreadPoolExecutor() as pool:
        one = pool.submit(httpx.post, f"{command.url}/v1/judge", json=CASE, timeout=60)
        body = {"cases": [case(str(i)) for i in range(300)]}
        batch = pool.submit(httpx.post, f"{command.url}/v1/judge/batch", json=body, timeout=60)
        wait_until(lambda: "ra_judge_pending_cases 301.0" in httpx.get(f"{command.url}/metrics").text)
        began = time.monotonic()
        command.process.send_signal(signal.SIGTERM)
        assert (one.result().status_code, one.result().json()["error"]["type"]) == (503, "stopping")
        failures = [json.loads(line)["failure"] for line in batch.result().iter_lines()]
        assert len(failures) == 300
        assert {failure["error_type"] for failure in failures} == {"BackendConnectionError"}
        assert command.exit_code() == 0
        assert time.monotonic() - began < 60


def test_a_second_signal_answers_requests_in_flight_with_503(tmp_path):
    arguments = ["--model", "scripted:scripts:never", "--cache", "off", "--drain", "60"]
    with Command(tmp_path, *arguments) as command, ThreadPoolExecutor() as pool:
        url = command.url
        one = pool.submit(httpx.post, f"{url}/v1/judge", json=CASE, timeout=60)
        batch = pool.submit(httpx.post, f"{url}/v1/judge/batch", json={"cases": [CASE] * 3}, timeout=60)
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as stalled:
            stalled.sendall(STALLED_BODY)
            wait_until(lambda: "ra_judge_pending_cases 4.0" in httpx.get(f"{url}/metrics").text)
            started = time.monotonic()
            command.process.send_signal(signal.SIGTERM)
            wait_until(lambda: "Stopping" in command.output)
            command.process.send_signal(signal.SIGINT)
            assert (one.result().status_code, one.result().json()["error"]["type"]) == (503, "stopping")
            assert [set(json.loads(line)) for line in batch.result().iter_lines()] == [{"index", "failure"}] * 3
            assert stalled.recv(4096).startswith(b"HTTP/1.1 503")
        assert command.exit_code() == 0
        assert time.monotonic() - started < 10
        assert "Exception" not in command.output


def test_a_stalled_body_does_not_extend_the_drain(tmp_path):
    """Neither does a client that does not read its response."""
    arguments = ["--model", "scripted:scripts:by_length", "--cache", "off", "--drain", "0.3"]
    with Command(tmp_path, *arguments) as command:
        address = ("127.0.0.1", int(command.url.rpartition(":")[2]))
        with socket.create_connection(address, timeout=20) as stalled, socket.socket() as deaf:
            stalled.sendall(STALLED_BODY)
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.settimeout(0.2)
            deaf.connect(address)
            with contextlib.suppress(OSError):
                deaf.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1000)
            httpx.get(f"{command.url}/health").raise_for_status()
            started = time.monotonic()
            command.process.send_signal(signal.SIGTERM)
            assert stalled.recv(4096).startswith(b"HTTP/1.1 503")
            assert time.monotonic() - started < 3
            assert command.exit_code() == 0
        assert time.monotonic() - started < 15
        assert "Exception" not in command.output


def test_without_authentication_unknown_host_names_are_still_refused(tmp_path):
    arguments = ["--host", "0.0.0.0", "--no-auth", "--allow-host", "judge", "--model", "scripted:scripts:by_length"]
    with Command(tmp_path, *arguments, "--cache", "off") as command:
        url = f"http://127.0.0.1:{command.url.rpartition(':')[2]}/v1/judge"
        statuses = {
            host: httpx.post(url, json=CASE, headers={"host": host}).status_code
            for host in ("evil.example", "judge", "192.0.2.1:8700")
        }
        assert statuses == {"evil.example": 421, "judge": 200, "192.0.2.1:8700": 200}


def test_allow_host_applies_with_a_token(tmp_path):
    arguments = ["--host", "0.0.0.0", "--token-env", "T", "--allow-host", "judge"]
    with Command(tmp_path, *arguments, "--model", "scripted:scripts:by_length", "--cache", "off", T=TOKEN) as command:
        url = f"http://127.0.0.1:{command.url.rpartition(':')[2]}/v1/judge"
        statuses = {
            host: httpx.post(url, json=CASE, headers={"host": host, **bearer(TOKEN)}).status_code
            for host in ("evil.example", "judge")
        }
        assert statuses == {"evil.example": 421, "judge": 200}


def test_an_exception_of_the_judge_fails_only_its_case(caplog):
    caplog.set_level(logging.CRITICAL, logger="rewardanything_core")
    broken = [True]

    def reply(request):
        if broken:
            raise MemoryError("no room")
        return by_length(request)

    with serving(Judge(ScriptedBackend(reply), cache="off")) as server:
        response = server.post("/v1/judge", CASE)
        assert (response.status_code, response.json()["error"]["type"]) == (502, "judge_failed")
        broken.clear()
        assert server.post("/v1/judge", CASE).status_code == 200
