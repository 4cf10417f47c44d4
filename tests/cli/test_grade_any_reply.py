"""``ra-judge grade`` against a server that replies with any JSON: every row has one outcome, in order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from arbitrary_replies import READOUTS, replies, reply_oddly
from checks import invoke, read_jsonl, write_jsonl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import FakeOpenAI

pytestmark = pytest.mark.usefixtures("here")

ROWS = 6
QUICK = {"RA_JUDGE_ATTEMPTS": "1", "RA_JUDGE_RETRIES": "0", "RA_JUDGE_PATIENCE": "0", "RA_JUDGE_CACHE": "off"}


@pytest.mark.parametrize("readout", READOUTS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_outcome_per_row_whatever_the_server_replies(server: FakeOpenAI, readout: str, data: st.DataObject) -> None:
    prompts = [f"{'odd' if i in (1, 4) else 'fine'} {i}" for i in range(ROWS)]
    write_jsonl("in.jsonl", [{"id": i, "prompt": text, "responses": {"a": "x 3"}} for i, text in enumerate(prompts)])
    for file in ("out.jsonl", "out.jsonl.run.json"):
        Path(file).unlink(missing_ok=True)
    reply_oddly(server, readout, data.draw(replies(readout)))
    command = [
        "grade", "in.jsonl", "-o", "out.jsonl", "--principle", "x",
        "--model", "hosted_vllm/m", "--api-base", server.url,
    ]  # fmt: skip
    out = _graded(command, readout)
    assert [row["id"] for row in out] == list(range(ROWS))
    assert all((row["scores"] is None) is (row["error"] is not None) for row in out)
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
def test_an_odd_reply_is_one_failed_row(server: FakeOpenAI, reply: Any) -> None:
    write_jsonl("in.jsonl", [{"prompt": prompt, "responses": ["x 3"]} for prompt in ("fine", "odd 1", "fine 2")])
    reply_oddly(server, "generate", reply)
    command = ["grade", "in.jsonl", "-o", "out.jsonl", "--principle", "x", "--model", "hosted_vllm/m", "--api-base"]
    for _ in range(2):
        invoke(*command, server.url, code=3, **QUICK)
        assert [row["error"] is None for row in read_jsonl("out.jsonl")] == [True, False, True]
    before = server.count
    invoke(*command, server.url, "--retry-failed", code=3, **QUICK)
    assert server.count > before
