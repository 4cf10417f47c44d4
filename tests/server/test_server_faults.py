"""Any JSON from a model's server and any exception of a backend: one outcome per case, in order."""

from __future__ import annotations

import asyncio
import json
import logging
from decimal import Decimal

import pytest
from arbitrary_replies import READOUTS, replies, reply_oddly
from endpoints import MODELS, judge_for
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripts import by_length
from servers import FakeOpenAI, verdict_for
from serving import case, serving

from rewardanything_core import Judge, ScriptedBackend, Usage
from rewardanything_core.backends import Completion
from rewardanything_core.backends.endpoint.backend import EndpointBackend

COMPAT_BATCH = "/api/rewardanything_batch"
CASES = [case("is 4", id="0"), case("odd", id="1"), case("is 2", id="2"), case("odd", id="3"), case("is 5", id="4")]
ODD = (1, 3)
VERDICT = '{"scores": {"model-1": 4}, "best-to-worst": ["model-1"]}'

generated = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def batch_outcomes(server, order="input"):
    """The lines of a batch, which are valid JSON with one outcome per case."""

    def refuse(constant):
        raise AssertionError(constant)

    response = server.client.post("/v1/judge/batch", params={"order": order}, json={"cases": CASES})
    assert response.status_code == 200
    lines = [json.loads(line, parse_constant=refuse) for line in response.iter_lines()]
    assert all(set(line) in ({"index", "verdict"}, {"index", "failure"}) for line in lines)
    assert [line["index"] for line in lines] == list(range(len(CASES))) or order == "completed"
    assert sorted(line["index"] for line in lines) == list(range(len(CASES)))
    for line in lines:
        assert line.get("verdict", line.get("failure"))["case_id"] == CASES[line["index"]]["id"]
        if line["index"] not in ODD:
            assert "verdict" in line
    return sorted(lines, key=lambda line: line["index"])


@pytest.fixture(scope="module", params=READOUTS)
def endpoint_server(request):
    """A judge server with the stub of its model's server."""
    logging.disable(logging.CRITICAL)
    with (
        FakeOpenAI() as upstream,
        serving(judge_for(upstream, attempts=1, retries=0, readout=request.param)) as server,
    ):
        yield server, upstream, request.param
    logging.disable(logging.NOTSET)


@settings(generated, max_examples=30)
@given(data=st.data(), status=st.sampled_from([200, 200, 200, 400, 500]), order=st.sampled_from(["input", "completed"]))
def test_any_reply_of_the_models_server_costs_its_own_cases_only(endpoint_server, data, status, order):
    server, upstream, readout = endpoint_server
    reply_oddly(upstream, readout, data.draw(replies(readout)), status)
    batch_outcomes(server, order)


class UnprintableError(Exception):
    def __str__(self):
        raise ValueError("it cannot be printed")


EXCEPTIONS = [
    TypeError("sk-secret"),
    AttributeError("x"),
    KeyError("x"),
    RecursionError("x"),
    IndexError(),
    StopIteration(),
    StopAsyncIteration(),
    TimeoutError("x"),
    OSError(5, "x"),
    MemoryError(),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
    ExceptionGroup("several", [ValueError("x"), TypeError("y")]),
    AssertionError("\ud800"),
    UnprintableError(),
    asyncio.CancelledError(),
    Completion(answer=None),
    Completion(answer=VERDICT, reasoning=["x"]),
    Completion(answer=VERDICT, usage=Usage(cost=float("nan"))),
    Completion(answer=VERDICT, usage=Usage(cost=Decimal(1))),
    Completion(answer=VERDICT, tokens=5),
]


@pytest.mark.parametrize("cache", ["on", "off"])
@pytest.mark.parametrize("error", EXCEPTIONS, ids=lambda error: type(error).__name__)
def test_any_exception_of_a_backend_costs_its_own_cases_only(error, cache):
    def respond(request):
        if "odd" not in request.messages[1]["content"]:
            return by_length(request)
        if isinstance(error, BaseException):
            raise error
        return error

    with serving(Judge(ScriptedBackend(respond), cache=cache, retries=0)) as server:
        for order in ("input", "completed"):
            lines = batch_outcomes(server, order)
            assert "sk-secret" not in json.dumps(lines)
        for body in CASES:
            status = server.post("/v1/judge", body).status_code
            assert status == 200 or (body["responses"] == {"a": "odd"} and status in (500, 502, 503, 504))
        batch = [{name: value for name, value in body.items() if name != "id"} for body in CASES]
        response = server.post(COMPAT_BATCH, batch)
        if response.status_code == 200:  # the format leaves out what was wrong
            assert len(response.json()) == len(batch)
        else:
            assert response.status_code == 502
            assert [failed["index"] for failed in response.json()["error"]["failures"]] == list(ODD)


@settings(generated, max_examples=40)
@given(plan=st.lists(st.sampled_from([*EXCEPTIONS[:13], None]), min_size=5, max_size=5))
def test_any_mixture_of_exceptions_leaves_outcomes_in_order(plan):
    errors = {f"text {index}": error for index, error in enumerate(plan)}

    def respond(request):
        (text,) = json.loads(request.messages[1]["content"])["responses"].values()
        if errors[text] is not None:
            raise errors[text]
        return by_length(request)

    cases = [case(text, id=text) for text in errors]
    with serving(Judge(ScriptedBackend(respond), cache="off", retries=0)) as server:
        response = server.post("/v1/judge/batch", {"cases": cases})
    assert response.status_code == 200
    lines = [json.loads(line) for line in response.iter_lines()]
    assert [line["index"] for line in lines] == list(range(5))
    assert ["verdict" in line for line in lines] == [error is None for error in plan]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("given", [True, False], ids=["given", "from-environment"])
def test_a_key_that_the_models_server_echoes_is_neither_returned_nor_stored(tmp_path, monkeypatch, model, given):
    key = "abc123/+private"
    variable = f"{model.partition('/')[0].upper()}_API_KEY"
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SERVER_KEY" if given else variable, key)

    def respond(body):
        if "odd" in json.dumps(body["messages"]):
            return {"content": f"Received Authorization: Bearer {key}", "reasoning_content": f"The key is {key}."}
        verdict = json.loads(verdict_for(body))
        return {"content": json.dumps({"reasoning": f"Sent with {key}.", **verdict}), "reasoning_content": key}

    store = tmp_path / "verdicts.sqlite3"
    with FakeOpenAI(respond, require_key=key) as upstream:
        options = {"api_key_env": "SERVER_KEY"} if given else {}
        backend = EndpointBackend(model, api_base=upstream.url, attempts=1, **options)
        judge = Judge(backend, store=store, retries=0)
        with serving(judge) as server:
            response = server.post("/v1/judge/batch", {"cases": CASES})
            assert ["verdict" in json.loads(line) for line in response.iter_lines()] == [True, False, True, False, True]
            assert "***" in response.text
            single = server.post("/v1/judge", CASES[1])
            assert (single.status_code, "***" in single.text) == (502, True)
            assert key not in response.text + single.text
        judge.close()
    assert store.exists()
    for path in tmp_path.iterdir():
        assert key.encode() not in path.read_bytes()
