"""A judge server under load and under attack: limits, back-pressure, tokens, hosts, signals."""

from __future__ import annotations

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
from serving import CASE, Command, Held, case, serving, until

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_core.errors import ConfigError
from rewardanything_core.server.app import create_app
from rewardanything_core.server.limits import Limits
from rewardanything_core.server.running import listen

TOKEN, OTHER = "first-token-of-this-test", "second-token-of-this-test"
PAPER, PAPER_BATCH = "/api/rewardanything", "/api/rewardanything_batch"


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
def test_a_case_may_be_so_large(tight, change, field):
    answer = tight.post("/v1/judge", {**CASE, **change})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["field"]) == (413, "too_large", field)
    batch = tight.post("/v1/judge/batch", {"cases": [CASE, {**CASE, **change}]})
    first, second = [json.loads(line) for line in batch.iter_lines()]
    assert "verdict" in first
    assert error["message"] in second["failure"]["message"]


def test_a_batch_may_be_so_long(tight):
    assert tight.post("/v1/judge/batch", {"cases": [CASE] * 5}).status_code == 413
    assert tight.post(PAPER_BATCH, [CASE] * 5).status_code == 413
    assert tight.post(PAPER_BATCH, [CASE, {**CASE, "prompt": ""}]).json()["error"]["message"].startswith("Item 1: ")


@pytest.mark.parametrize("path", ["/v1/judge", "/v1/judge/batch", PAPER, PAPER_BATCH])
def test_a_body_may_be_so_long(tight, path):
    headers = {"content-type": "application/json"}
    known = tight.client.post(path, content=b"[" * 20_000_000, headers=headers)
    unknown = tight.client.post(path, content=(b"[" * 10_000 for _ in range(1000)), headers=headers)
    for answer in (known, unknown):
        assert answer.status_code == 413
        assert "300,000 bytes" in answer.json()["error"]["message"]
    assert tight.post(path, {}).status_code == 422  # the connection goes on


def test_a_body_may_take_so_long():
    with serving(body_seconds=0.2) as server, socket.socket() as slow:
        slow.connect(("127.0.0.1", server.client.base_url.port))
        slow.sendall(b"POST /v1/judge HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        slow.sendall(b"Content-Length: 100\r\n\r\n{")
        assert slow.recv(1000).startswith(b"HTTP/1.1 408")


def test_a_case_may_take_so_long():
    held = Held("slow")
    with serving(held.judge(), seconds=2) as server:
        server.post("/v1/judge", case("x")).raise_for_status()  # what the first case waits for is no part of this
        answer = server.post("/v1/judge", case("slow", id="q"))
        failure = answer.json()["error"]["failure"]
        assert (answer.status_code, failure["case_id"]) == (504, "q")
        assert failure["error_type"] == "BackendTimeoutError"
        assert "2 s" in failure["message"]
        until(lambda: (held.started, held.cancelled) == (2, 1))
        batch = server.post("/v1/judge/batch", {"cases": [case("slow"), case("x")]})
        late, good = [json.loads(line) for line in batch.iter_lines()]
        assert late["failure"]["error_type"] == "BackendTimeoutError"
        assert good["verdict"]["scores"] == {"a": 1.0}


def test_beyond_so_many_cases_there_is_429():
    held = Held()
    with serving(held.judge(), pending=3, batch=3) as server, ThreadPoolExecutor() as pool:
        one = pool.submit(server.post, "/v1/judge", case("one"))
        two = pool.submit(server.post, "/v1/judge/batch", {"cases": [case("two"), case("three")]})
        until(lambda: held.started == 3)
        for path, body in (("/v1/judge", CASE), ("/v1/judge/batch", {"cases": [CASE]}), (PAPER, CASE)):
            refused = server.post(path, body)
            assert (refused.status_code, refused.json()["error"]["type"]) == (429, "overloaded")
            assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert server.client.get("/health").status_code == 200
        held.released.set()
        assert one.result().status_code == two.result().status_code == 200
        assert server.post("/v1/judge", CASE).status_code == 200
        assert server.app.service.admission.pending == 0
        held.released.clear()
        one = pool.submit(server.post, "/v1/judge", case("four"))
        until(lambda: server.app.service.admission.pending == 1)
        assert server.post("/v1/judge/batch", {"cases": [CASE] * 3}).status_code == 429
        held.released.set()
        one.result()


@pytest.mark.parametrize("limits", [{"batch": 0}, {"seconds": -1}, {"batch": 11, "pending": 10}])
def test_limits_that_make_no_sense(limits):
    with pytest.raises(ConfigError):
        Limits(**limits)


# --- who may come in


def test_a_token_is_wanted_for_all_but_health():
    with serving(tokens=(TOKEN, OTHER)) as server:
        for path in ("/v1/judge", PAPER, "/v1/judge/batch", "/nope"):
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
def test_what_is_no_token(token):
    with pytest.raises(ConfigError, match="16 or more") as caught:
        create_app(None, tokens=[token])
    assert not token or token not in str(caught.value)


def test_without_a_token_other_names_of_this_machine_are_refused():
    """A web page can give this machine a name of its own, and then ask it as its own server."""
    with serving(hosts=["localhost", "127.0.0.1", "[::1]"]) as server:
        for host in ("evil.example", "evil.example:8700", "127.0.0.1.evil.example", ""):
            assert server.post("/v1/judge", CASE, headers={"host": host}).status_code == 421
        for host in ("localhost", "LOCALHOST:8700", "[::1]:8700"):
            assert server.post("/v1/judge", CASE, headers={"host": host}).status_code == 200


def test_other_origins_are_not_let_in():
    with serving() as server:
        asked = {"origin": "http://evil.example", "access-control-request-method": "POST"}
        assert server.client.options("/v1/judge", headers=asked).status_code == 405
        answer = server.post("/v1/judge", CASE, headers=asked)
        assert not [name for name in answer.headers if name.startswith("access-control")]


# --- the command


def test_the_other_commands_load_nothing_of_it():
    code = "import sys, rewardanything_core.cli.app; print([m for m in sys.modules if m in ('fastapi', 'uvicorn')])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_answers_are_not_held_back():
    """asyncio turns off Nagle's algorithm for sockets that say that they are TCP; uvicorn writes in two pieces."""
    with listen("localhost", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_without_the_extra_it_says_what_to_install(tmp_path):
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
def test_what_the_command_refuses(tmp_path, arguments, env, part):
    arguments = arguments if "--model" in arguments else [*arguments, "--model", "scripted:scripts:by_length"]
    with Command(tmp_path, *arguments, **env) as command:
        assert command.ended() == 2
        assert part in " ".join(command.said.split())


def test_the_command_asks_for_the_token_and_never_shows_it(tmp_path):
    arguments = ["--host", "0.0.0.0", "--token-env", "T", "--model", "scripted:scripts:by_length"]
    with Command(tmp_path, *arguments, T=TOKEN) as command:
        port = command.url.rpartition(":")[2]
        url = f"http://127.0.0.1:{port}/v1/judge"
        assert httpx.post(url, json=CASE, headers={"host": "anything"}).status_code == 401
        assert httpx.post(url, json=CASE, headers=bearer(TOKEN)).status_code == 200
        command.process.send_signal(signal.SIGINT)
        assert command.ended() == 0
        assert TOKEN not in command.said


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stopping_server_finishes_what_is_in_flight(tmp_path, sent):
    calls = tmp_path / "calls"
    arguments = ["--model", "scripted:scripts:tarrying", "--cache", "off"]
    with Command(tmp_path, *arguments, CALLS=str(calls)) as command, ThreadPoolExecutor() as pool:
        one = pool.submit(httpx.post, f"{command.url}/v1/judge", json=CASE, timeout=60)
        body = {"cases": [case("x" * i) for i in range(1, 6)]}
        batch = pool.submit(httpx.post, f"{command.url}/v1/judge/batch", json=body, timeout=60)
        until(lambda: calls.exists() and len(calls.read_text().splitlines()) == 6)
        command.process.send_signal(sent)
        assert one.result().json()["scores"] == {"a": 4.0, "b": 5.0}
        assert [set(json.loads(line)) for line in batch.result().iter_lines()] == [{"index", "verdict"}] * 5
        assert command.ended() == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{command.url}/health")


def test_a_stopping_server_does_not_wait_for_ever(tmp_path):
    arguments = ["--model", "scripted:scripts:never", "--cache", "off", "--drain", "0.3"]
    with Command(tmp_path, *arguments) as command, ThreadPoolExecutor() as pool:
        one = pool.submit(httpx.post, f"{command.url}/v1/judge", json=CASE, timeout=60)
        body = {"cases": [case(str(i)) for i in range(300)]}
        batch = pool.submit(httpx.post, f"{command.url}/v1/judge/batch", json=body, timeout=60)
        until(lambda: "ra_judge_pending_cases 301.0" in httpx.get(f"{command.url}/metrics").text)
        began = time.monotonic()
        command.process.send_signal(signal.SIGTERM)
        assert (one.result().status_code, one.result().json()["error"]["type"]) == (503, "stopping")
        failures = [json.loads(line)["failure"] for line in batch.result().iter_lines()]
        assert len(failures) == 300
        assert {failure["error_type"] for failure in failures} == {"BackendConnectionError"}
        assert command.ended() == 0
        assert time.monotonic() - began < 60


def test_a_judge_that_breaks_leaves_the_server_standing(caplog):
    caplog.set_level(logging.CRITICAL, logger="rewardanything_core")
    broken = [True]

    def reply(request):
        if broken:
            raise MemoryError("no room")
        return by_length(request)

    with serving(Judge(ScriptedBackend(reply), cache="off")) as server:
        answer = server.post("/v1/judge", CASE)
        assert (answer.status_code, answer.json()["error"]["type"]) == (502, "judge_failed")
        broken.clear()
        assert server.post("/v1/judge", CASE).status_code == 200
