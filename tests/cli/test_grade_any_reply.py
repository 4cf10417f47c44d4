"""``ra-judge grade`` against a server that replies with any JSON: every row has one outcome, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from checks import invoke, read_jsonl, write_jsonl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import FakeOpenAI, verdict_for

pytestmark = pytest.mark.usefixtures("here")

ROWS = 6
QUICK = {"RA_JUDGE_ATTEMPTS": "1", "RA_JUDGE_RETRIES": "0", "RA_JUDGE_PATIENCE": "0", "RA_JUDGE_CACHE": "off"}

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
parts = st.lists(st.fixed_dictionaries({}, optional={"type": st.just("text") | any_json, "text": any_json}), max_size=3)


def shaped(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with some of these fields, or anything else."""
    return st.fixed_dictionaries({}, optional=fields) | any_json


token = shaped(
    token=any_json,
    logprob=any_json,
    bytes=any_json,
    top_logprobs=st.lists(shaped(token=any_json, logprob=any_json, bytes=any_json), max_size=2) | any_json,
)
message = shaped(
    role=any_json,
    content=any_json | parts | st.just('{"scores": {"model-1": 3}, "best-to-worst": ["model-1"]}'),
    reasoning_content=any_json | parts,
    tool_calls=any_json,
)
choice = shaped(
    index=any_json,
    message=message,
    finish_reason=any_json | st.sampled_from(["stop", "length", "content_filter", "error"]),
    logprobs=shaped(content=st.lists(token, max_size=2) | any_json),
)
replies = shaped(
    id=any_json,
    choices=st.lists(choice, max_size=2) | any_json,
    usage=shaped(prompt_tokens=any_json, completion_tokens=any_json, cost=any_json),
    model=any_json,
    error=any_json,
)


class AnyReplyServer(FakeOpenAI):
    """Replies with ``odd`` to the prompts ``odd N``, and with a valid verdict to others."""

    odd: Any = None

    async def _answer(self, request: web.Request, received: Any, index: int) -> web.StreamResponse:
        if '"odd ' in json.dumps(received.body["messages"][1]["content"]).replace("\\", ""):
            return web.Response(text=json.dumps(self.odd), content_type="application/json")
        return web.json_response(self._envelope(received.body, {"content": verdict_for(received.body)}))


@pytest.fixture(scope="module")
def any_server() -> Iterator[AnyReplyServer]:
    with AnyReplyServer() as server:
        assert isinstance(server, AnyReplyServer)
        yield server


@pytest.mark.parametrize("readout", ["generate", "logits"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reply=replies)
def test_one_outcome_per_row_whatever_the_server_replies(any_server, readout, reply):
    prompts = [f"{'odd' if i in (1, 4) else 'fine'} {i}" for i in range(ROWS)]
    write_jsonl("in.jsonl", [{"id": i, "prompt": prompt, "responses": {"a": "x"}} for i, prompt in enumerate(prompts)])
    for file in ("out.jsonl", "out.jsonl.run.json"):
        Path(file).unlink(missing_ok=True)
    any_server.odd = reply
    command = [
        "grade", "in.jsonl", "-o", "out.jsonl", "--principle", "x",
        "--model", "hosted_vllm/m", "--api-base", any_server.url,
    ]  # fmt: skip
    out = _graded(command, readout)
    assert [row["id"] for row in out] == list(range(ROWS))
    assert all((row["scores"] is None) is (row["error"] is not None) for row in out)
    if readout == "generate":
        assert all(row["error"] is None for row, prompt in zip(out, prompts, strict=True) if "fine" in prompt)
    assert _graded(command, readout) == out  # a rerun has nothing left to do


def _graded(command: list[str], readout: str) -> list[dict[str, Any]]:
    done = invoke(*command, code=None, RA_JUDGE_READOUT=readout, **QUICK)
    out = read_jsonl("out.jsonl")
    assert done.code == (3 if any(row["error"] for row in out) else 0)
    return out


@pytest.mark.parametrize(
    "reply",
    [
        {},
        [],
        {"choices": []},
        {"choices": [{"message": None}]},
        {"choices": [{"message": {"content": 4}}]},
        {
            "choices": [{"message": {"content": "?"}, "finish_reason": "error"}],
            "usage": {"prompt_tokens": "1"},
        },
    ],
)
def test_an_odd_reply_is_one_failed_row(any_server, reply):
    write_jsonl("in.jsonl", [{"prompt": prompt, "responses": ["x"]} for prompt in ("fine", "odd 1", "fine 2")])
    any_server.odd = reply
    command = ["grade", "in.jsonl", "-o", "out.jsonl", "--principle", "x", "--model", "hosted_vllm/m", "--api-base"]
    for _ in range(2):
        invoke(*command, any_server.url, code=3, **QUICK)
        assert [row["error"] is None for row in read_jsonl("out.jsonl")] == [True, False, True]
    before = any_server.count
    invoke(*command, any_server.url, "--retry-failed", code=3, **QUICK)
    assert any_server.count > before
