"""Exit codes when the judge cannot work, and when single cases fail."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from checks import PRINCIPLE, errors_of, invoke, outputs, read_jsonl, write_jsonl
from servers import Fault

from rewardanything_core.cli._judge_errors import exit_code
from rewardanything_core.errors import (
    AuthenticationError,
    BackendConnectionError,
    BackendError,
    ConfigError,
    ModelNotFoundError,
    NoProbabilitiesError,
    RefusalError,
    RewardAnythingError,
    VerdictParseError,
)
from rewardanything_core.judging.unusable import ENOUGH, UnusableJudgeDetector, is_setup_failure
from rewardanything_core.types import JudgeFailure, Verdict

KEY = "wrong-key-123"


@pytest.fixture(autouse=True)
def files(here):
    write_jsonl("in.jsonl", [{"id": str(i), "prompt": f"q{i}", "response": f"{i}"} for i in range(200)])
    write_jsonl("a.jsonl", outputs(4, n=12))
    write_jsonl("b.jsonl", outputs(3, n=12))
    write_jsonl("labels.jsonl", [{"prompt": f"q{i}", "response": "x", "score": 3} for i in range(4)])
    Path("answers_4.py").write_text("def answer(case): return 'it is 4'\n")


def at(server, model: str = "hosted_vllm/m") -> list[object]:
    return ["--model", model, "--api-base", server.url]


def grade(*arguments: object, **how):
    return invoke(
        "grade", "in.jsonl", "--response-column", "response", "-o", "out.jsonl", "--principle", "x", *arguments, **how
    )


def commands() -> dict[str, list[object]]:
    return {
        "grade": ["grade", "in.jsonl", "--response-column", "response", "-o", "out.jsonl", "--principle", "x"],
        "grade one row": ["grade", "a.jsonl", "--response-column", "response", "-o", "out.jsonl", "--principle", "x"],
        "check": ["check", "--baseline", "a.jsonl", "--candidate", "b.jsonl", "--principle", PRINCIPLE],
        "baseline": [
            "baseline", "--dataset", "a.jsonl", "--app", "answers_4:answer", "-o", "out.jsonl", "--principle", "x",
        ],
        "bench": ["bench", "--labels", "labels.jsonl", "--principle", "x"],
        "demo": ["demo"],
    }  # fmt: skip


@pytest.mark.parametrize("name", commands())
def test_a_refused_key_exits_with_2_and_the_reason(server, monkeypatch, name):
    monkeypatch.syspath_prepend(".")
    server.require_key = "right"
    done = invoke(*commands()[name], *at(server), code=2, HOSTED_VLLM_API_KEY=KEY)
    assert "refused the key" in errors_of(done) + done.stdout
    assert KEY not in done.stderr + done.stdout
    assert not Path("out.jsonl").exists()


def test_a_refused_key_stops_grade_after_a_window_of_rows(server):
    server.require_key = "right"
    write_jsonl("in.jsonl", [{"prompt": f"q{i}", "response": "x"} for i in range(1000)])
    grade(*at(server), code=2)
    assert server.count <= 256 + ENOUGH


@pytest.mark.parametrize("name", ["grade", "check"])
def test_an_unknown_model_exits_with_2_and_the_reason(server, name):
    server.reply = Fault.status(404, "The model `m` does not exist.")
    assert "was not found" in errors_of(invoke(*commands()[name], *at(server), code=2))
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize("name", ["grade", "check"])
def test_a_model_without_a_provider_exits_with_2_and_the_reason(name):
    done = invoke(*commands()[name], "--model", "team-judge", "--backend", "endpoint", code=2)
    assert "names no provider" in errors_of(done)
    assert not Path("out.jsonl").exists()


@pytest.mark.parametrize("name", ["grade one row", "check"])
def test_a_server_that_cannot_be_reached_exits_with_3(server, name):
    server.stop()
    invoke(*commands()[name], *at(server), code=3, RA_JUDGE_ATTEMPTS="1", RA_JUDGE_PATIENCE="0")


def test_a_key_that_expires_stops_grade_which_continues_with_a_new_key(server):
    server.reply = lambda body: Fault.status(401, "expired") if server.count > 70 else None
    message = errors_of(grade(*at(server), "--concurrency", "8", code=2, HOSTED_VLLM_API_KEY=KEY))
    assert "refused the key" in message
    judged = read_jsonl("out.jsonl")
    assert [row["id"] for row in judged] == [str(i) for i in range(len(judged))]
    assert 60 <= len(judged) <= 70
    assert all(row["error"] is None for row in judged)
    server.reply = None
    summary = json.loads(grade(*at(server), "--json").stdout)
    assert (summary["rows"], summary["failed"]) == (200, 0)


@pytest.mark.parametrize("stored", [0, 24, 8], ids=["at first", "after stored verdicts", "during the run"])
def test_a_key_that_expires_makes_a_check_exit_with_2_whatever_is_stored(server, stored):
    command = [*commands()["check"], "--concurrency", "1", *at(server)]
    if stored == 24:
        invoke(*command, code=None)
        write_jsonl(
            "b.jsonl",
            [row | {"response": f"{row['response']} 3"} for row in outputs(3, n=12)[:6]] + outputs(3, n=12)[6:],
        )
    server.reply = lambda body: Fault.status(401, "expired") if server.count > server.allowed else None
    server.allowed = server.count + stored % 24
    message = errors_of(invoke(*command, code=2, HOSTED_VLLM_API_KEY=KEY))
    assert "refused the key" in message


def test_rows_that_a_server_refuses_for_their_content_are_failed_rows(server):
    # Some servers refuse content with the status of a wrong key.
    refused = {"q0", "q1", "q50", "q199"}
    server.reply = lambda body: (
        Fault.status(403, "moderated") if json.loads(body["messages"][1]["content"])["prompt"] in refused else None
    )
    done = grade(*at(server), code=3)
    assert "200 rows, 196 judged, 0 from the store, 4 failed" in errors_of(done)
    out = read_jsonl("out.jsonl")
    assert [row["id"] for row in out] == [str(i) for i in range(200)]
    assert {f"q{row['id']}" for row in out if row["error"]} == refused
    assert "196 done before, 0 judged" in errors_of(grade(*at(server), code=3))


def test_judgements_that_failed_for_other_reasons_exit_with_3(server):
    server.reply = "I would rather not."
    done = invoke(*commands()["grade one row"], *at(server), code=3)
    assert "12 rows, 0 judged, 0 from the store, 12 failed" in errors_of(done)
    assert len(read_jsonl("out.jsonl")) == 12


def test_exit_codes_by_error():
    setup = [AuthenticationError("x"), ConfigError("x"), ModelNotFoundError("x"), NoProbabilitiesError("x")]
    assert [exit_code(error) for error in setup] == [2] * 4
    failed = [BackendConnectionError("x"), RefusalError("x"), BackendError("x"), VerdictParseError("x", raw="")]
    assert [exit_code(error) for error in failed] == [3] * 4


def failure(kind: str, message: str = "refused") -> JudgeFailure:
    return JudgeFailure(case_id=None, error_type=kind, message=message)


VERDICT = Verdict(scores={"a": 3.0}, ranking=["a"])
REFUSED = failure("AuthenticationError")


def test_setup_failures_are_told_from_failures_of_a_case():
    assert is_setup_failure(failure("ModelNotFoundError", "m at http://x was not found: no model"))
    assert not is_setup_failure(failure("BackendError", "m answered with status 400"))
    assert not is_setup_failure(failure("VerdictParseError"))


def test_the_detector_keeps_the_order_and_raises_only_for_an_unusable_judge():
    detector = UnusableJudgeDetector[int]()
    outcomes = [None, REFUSED, None, failure("VerdictParseError"), REFUSED, VERDICT, REFUSED, None]
    released = [item for i, outcome in enumerate(outcomes) for item, _ in detector.add(i, outcome)]
    assert released == [0, 1, 2, 3, 4, 5]
    assert [item for item, _ in detector.finish()] == [6, 7]

    detector = UnusableJudgeDetector[int]()
    assert [*detector.add(0, REFUSED), *detector.add(1, None)] == []
    with pytest.raises(AuthenticationError, match="refused"):
        list(detector.finish())

    detector = UnusableJudgeDetector[int]()  # a stored verdict says nothing of the judge
    stored = dataclasses.replace(VERDICT, cached=True)
    assert [item for i, one in enumerate([stored, REFUSED, stored]) for item, _ in detector.add(i, one)] == [0]
    with pytest.raises(AuthenticationError, match="refused"):
        list(detector.finish())

    detector = UnusableJudgeDetector[int]()
    list(detector.add(0, VERDICT))
    with pytest.raises(RewardAnythingError):
        for i in range(ENOUGH):
            list(detector.add(i, REFUSED))
