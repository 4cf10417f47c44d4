"""Hostile clients: half-open requests, stalled bodies, unread responses, expensive JSON; on the loopback address."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from contextlib import ExitStack, contextmanager, suppress

import httpx
import pytest
from serving import CASE, BlockedModel, Command, case, serving, wait_until

from rewardanything_core.errors import ConfigError
from rewardanything_core.server.app import create_app
from rewardanything_core.server.bodies import _parse
from rewardanything_core.server.connections import backlog, max_connections
from rewardanything_core.server.errors import APIError
from rewardanything_core.server.limits import Limits
from rewardanything_core.server.log_limits import RateLimit, RateLimitFilter

HALF_OPEN = b"POST /v1/judge HTTP/1.1\r\nHost: 127.0.0.1\r\n"


def body_headers(length):
    return HALF_OPEN + f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()


@contextmanager
def sockets(port, number, data):
    """Connections on which the same data was sent."""
    with ExitStack() as stack:
        connections = []
        for _ in range(number):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            connection.sendall(data)
            connections.append(connection)
        yield connections


def is_closed(connection):
    try:
        return connection.recv(1000) == b""
    except ConnectionResetError:
        return True


# --- headers and connections


@pytest.mark.parametrize("data", [b"", HALF_OPEN], ids=["silent", "half-open"])
def test_a_connection_without_complete_headers_is_closed(data):
    with serving(header_seconds=0.3) as server, sockets(server.port, 3, data) as connections:
        assert all(map(is_closed, connections))
        assert server.post("/v1/judge", CASE).status_code == 200


def test_a_byte_now_and_then_does_not_extend_the_time_for_headers():
    with serving(header_seconds=0.4) as server, sockets(server.port, 1, HALF_OPEN) as (connection,):
        started = time.monotonic()
        with pytest.raises(OSError):  # a reset or a broken pipe
            while time.monotonic() < started + 10:
                connection.sendall(b"X-Header: value\r\n")
                time.sleep(0.05)
        assert time.monotonic() < started + 5


def test_the_time_for_headers_applies_to_every_request_of_a_connection():
    request = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with serving(header_seconds=0.3) as server, sockets(server.port, 1, request) as (connection,):
        received = b""
        while b'"ready"' not in received:
            received += connection.recv(4096)
        connection.sendall(HALF_OPEN)
        assert is_closed(connection)


def test_a_slow_judge_is_not_limited_by_the_time_for_headers():
    model = BlockedModel("slow")
    with (
        serving(model.judge(), header_seconds=0.2) as server,
        server.client.stream("POST", "/v1/judge/batch", json={"cases": [case("slow")]}) as response,
    ):
        time.sleep(0.6)
        model.released.set()
        assert len(list(response.iter_lines())) == 1


def test_half_open_connections_beyond_the_limit_do_not_keep_others_out(caplog):
    with serving(connections=20, header_seconds=60) as server, sockets(server.port, 60, HALF_OPEN) as connections:
        assert server.post("/v1/judge", CASE).status_code == 200
        assert all(map(is_closed, connections[:40]))  # the oldest make room
    messages = [record for record in caplog.records if "which is the limit" in record.getMessage()]
    assert 1 <= len(messages) <= 3


def test_a_connection_is_refused_when_all_others_have_requests():
    model = BlockedModel()
    content = json.dumps(CASE).encode()
    request = body_headers(len(content)) + content
    with serving(model.judge(), connections=2) as server, sockets(server.port, 2, request) as connections:
        wait_until(lambda: model.started >= 1 and server.app.service.admission.pending == 2)
        with sockets(server.port, 1, b"") as (refused,):
            assert refused.recv(1000).startswith(b"HTTP/1.1 503")
        model.released.set()
        for connection in connections:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        for connection in connections:
            connection.close()
        wait_until(lambda: server.client.get("/health").status_code == 200)


def test_a_client_that_does_not_read_is_disconnected():
    """Pipelined requests whose responses exceed the buffers of both sockets."""
    requests = b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1000
    with serving(send_seconds=0.3) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.settimeout(0.2)
        with suppress(OSError):
            client.sendall(requests)
        wait_until(lambda: not server.server.server_state.connections)
        assert server.post("/v1/judge", CASE).status_code == 200


def test_the_number_of_connections_fits_the_file_descriptors():
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        for descriptors in (256, 1024):
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, limits[1]))
            assert max_connections(Limits()) + 5 * backlog() < descriptors
            assert max_connections(Limits(connections=10)) == 10
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_command_survives_more_half_open_connections_than_it_has_descriptors(tmp_path):
    arguments = ["--model", "scripted:scripts:by_length", "--cache", "off"]
    with Command(tmp_path, *arguments, descriptors=256) as command:
        port = int(command.url.rpartition(":")[2])
        with sockets(port, 400, HALF_OPEN):
            started = time.monotonic()
            assert httpx.post(f"{command.url}/v1/judge", json=CASE, timeout=20).status_code == 200
            assert time.monotonic() - started < 5
            command.process.terminate()
            assert command.exit_code() == 0
        assert len(command.output) < 10_000


# --- bodies


def test_a_stalled_body_makes_room_when_memory_is_short():
    """Each stalled body is below the limit of one body; together they would exceed the limit of all."""
    with serving(body_bytes=100_000, bodies_bytes=250_000) as server:
        with sockets(server.port, 4, body_headers(90_000) + b" " * 80_000) as connections:
            dropped = [connection.recv(4096) for connection in connections[:1]]
            assert dropped[0].startswith(b"HTTP/1.1 429")
            assert server.app.service.bodies.held_bytes <= 250_000
            big = json.dumps(case("x" * 90_000)).encode()
            response = server.client.post("/v1/judge", content=big, headers={"content-type": "application/json"})
            assert response.status_code == 200
            assert connections[1].recv(4096).startswith(b"HTTP/1.1 429")
        wait_until(lambda: server.app.service.bodies.held_bytes == 0)


def test_many_stalled_bodies_hold_a_bounded_amount_of_memory():
    limit = 8 * 2**20
    with serving(body_bytes=2**20, bodies_bytes=limit) as server:
        with sockets(server.port, 20, body_headers(2**20) + b" " * (2**20 - 1)):
            wait_until(lambda: server.app.service.bodies.held_bytes > limit // 2)
            assert server.app.service.bodies.held_bytes <= limit
            assert server.post("/v1/judge", CASE).status_code == 200
        wait_until(lambda: server.app.service.bodies.held_bytes == 0)


@pytest.mark.parametrize("number", [1, 2])
def test_repeated_keys_are_refused_in_linear_time(number):
    """With n distinct keys of which the last repeats, counting each key is quadratic."""

    def seconds(n):
        body = ("{" + ",".join(f'"k{i}":0' for i in range(n)) + f',"k{n - 1}":0' * number + "}").encode()
        started = time.process_time()
        with pytest.raises(APIError, match=f"the key 'k{n - 1}' twice"):
            _parse(bytearray(body))
        return time.process_time() - started

    seconds(1000)
    small, large = min(seconds(20_000) for _ in range(3)), min(seconds(160_000) for _ in range(3))
    assert large < 40 * small  # 8 times the keys; quadratic would be 64 times the time


def test_a_long_body_with_repeated_keys_does_not_delay_others():
    body = ("{" + ",".join(f'"k{i}":0' for i in range(100_000)) + ',"k99999":0}').encode()
    with serving() as server:
        started = time.monotonic()
        refused = server.client.post("/v1/judge", content=body, headers={"content-type": "application/json"})
        assert (refused.status_code, refused.json()["error"]["type"]) == (422, "invalid_json")
        assert server.post("/v1/judge", CASE).status_code == 200
        assert time.monotonic() - started < 10


@pytest.mark.parametrize("role", ["[" * 900 + "]" * 900, "[" + "1," * 200_000 + "1]"], ids=["deep", "long"])
def test_an_odd_value_in_a_case_is_a_short_error(role):
    """Deep enough that Python cannot print it, long enough that a message must not quote it."""
    padding = " " * 300_000  # long bodies are parsed in a thread, whose stack has more room than the event loop's
    body = f'{{"principle": "p", "responses": ["a"], "prompt": [{{"role": {role}, "content": "x"}}]{padding}}}'
    with serving() as server:
        headers = {"content-type": "application/json"}
        single = server.client.post("/v1/judge", content=body, headers=headers)
        batch = server.client.post("/v1/judge/batch", content=f'{{"cases": [{body}]}}', headers=headers)
    assert single.status_code == 422
    assert batch.status_code in (200, 422)
    assert len(single.content) < 5000
    assert len(batch.content) < 5000


def test_a_request_with_content_length_and_transfer_encoding_is_refused():
    smuggled = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    headers = HALF_OPEN + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    request = headers + f"Content-Length: {len(smuggled)}\r\n\r\n".encode() + smuggled
    with serving() as server, sockets(server.port, 1, request) as (connection,):
        received = b""
        while chunk := connection.recv(4096):
            received += chunk
    assert received.startswith(b"HTTP/1.1 400")
    assert received.count(b"HTTP/1.1") == 1
    assert b"connection: close" in received.lower()


# --- the log


def test_a_rate_limit_allows_a_burst_and_counts_the_rest():
    now = 0.0
    limit = RateLimit(burst=2, period=10, clock=lambda: now)
    assert [limit.allow() for _ in range(5)] == [True, True, False, False, False]
    assert (limit.take_suppressed(), limit.take_suppressed()) == (3, 0)
    now = 10.0
    assert limit.allow()


def test_repeated_log_records_are_suppressed_and_counted(caplog, monkeypatch):
    logger = logging.getLogger("test.limited")
    record_filter = RateLimitFilter()
    logger.addFilter(record_filter)
    for i in range(100):
        logger.warning("connection %d failed", i)
    logger.warning("another place")
    assert len(caplog.records) == 21
    for limit in record_filter._limits.values():
        monkeypatch.setattr(limit, "_started", limit._started - 60)
    (key,) = [key for key, limit in record_filter._limits.items() if limit._suppressed]
    record = logging.LogRecord("test.limited", logging.WARNING, key[0], key[1], "connection %d failed", (100,), None)
    assert record_filter.filter(record)
    assert record.getMessage() == "connection 100 failed (80 similar messages were suppressed)"


def test_requests_without_a_token_do_not_flood_the_access_log(caplog):
    caplog.set_level(logging.INFO, logger="rewardanything_core")
    token = "a-token-of-some-length"
    with serving(tokens=(token,)) as server:
        for _ in range(200):
            assert server.post("/v1/judge", CASE).status_code == 401
        assert server.post("/v1/judge", CASE, headers={"authorization": f"Bearer {token}"}).status_code == 200
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("access")]
    assert len(lines) == 102
    assert lines[-2] == "100 requests without a token were not logged"
    assert '" 200 ' in lines[-1]


# --- limits


def test_new_limits_must_be_positive():
    for name in ("bodies_bytes", "connections", "header_seconds", "send_seconds"):
        with pytest.raises(ConfigError, match=name):
            Limits(**{name: 0})
    assert create_app(None, limits=Limits(body_bytes=10**9)).service.bodies._max_bytes == 10**9
    assert os.name != "posix" or backlog() <= 256
