"""Judging through a provider's batches: faults, kills at every point, and nothing lost or paid twice."""

import json
import signal
import subprocess

import pytest
from batch_server import FakeBatches
from checks import RA_JUDGE, environ, invoke, read_jsonl, write_jsonl

from rewardanything_core import (
    BackendError,
    Cascade,
    Case,
    ConfigError,
    Judge,
    JudgeFailure,
    Jury,
    ScriptedBackend,
    Verdict,
    from_endpoint,
)
from rewardanything_core.judging.batches import BatchRunner

N = 60


@pytest.fixture
def batches():
    with FakeBatches() as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("rewardanything_core.judging.batches._FIRST_POLL_SECONDS", 0.05)
    monkeypatch.setattr("rewardanything_core.judging.batch_jobs._UNCERTAIN_SECONDS", 0.05)


def cases(number=N):
    return [Case("Be right.", f"question {i}", {"a": f"is {i % 5 + 1}", "b": "is 3"}) for i in range(number)]


def judge_on(server, **options):
    prices = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    return from_endpoint("fake", server.url, **prices, **options)


def test_verdicts_are_those_of_live_calls_at_half_the_price_and_serve_every_command(batches, tmp_path):
    judge = judge_on(batches, passes=2)
    outcomes = judge.judge_batch(cases(), batch=True)
    assert len(batches.jobs) == 1 and batches.count == 1  # one was sent at once, to try the key and the model
    live = judge_on(batches, passes=2, cache="off").judge_batch(cases())
    assert [o.scores for o in outcomes] == [o.scores for o in live]
    assert [o.orders for o in outcomes] == [o.orders for o in live]
    assert outcomes[-1].usage.cost == pytest.approx(2 * (100e-6 + 50 * 2e-6) / 2)
    assert outcomes[-1].usage.calls == 2 and judge.usage.calls == 2 * N
    again = judge_on(batches, passes=2)
    assert all(verdict is not None for verdict in again.cached_verdicts(cases()))


@pytest.mark.parametrize("passes", [1, 3])
def test_faults_lose_nothing_and_double_nothing(passes):
    faults = {"error": 0.1, "missing": 0.1, "prose": 0.1}
    with FakeBatches(faults=faults, messy=True, expire=0.2, polls=2) as server:
        judge = judge_on(server, passes=passes)
        outcomes = judge.judge_batch(cases(300), batch=True)
        assert len(server.jobs) >= 2  # what failed went into a smaller batch
        assert all(isinstance(outcome, Verdict) for outcome in outcomes)
        assert server.doubled == 0 and sum(server.injected.values()) > 100
        # Every reply that was paid for is in a verdict, or was not a verdict.
        used = sum(outcome.usage.calls for outcome in outcomes)
        assert used == sum(server.paid.values()) + server.count
        assert not [job for job in server.jobs.values() if job.status == "in_progress"]


def grade(server, here, *more):
    command = ["grade", "in.jsonl", "-o", "out.jsonl", "--principle", "Be right.", "--model", "fake"]
    return [RA_JUDGE, *command, "--api-base", server.url, "--batch", *more]


POINTS = ["before upload", "after upload", "after create", "status", "during fetch"]


@pytest.mark.parametrize("point", POINTS)
def test_a_process_that_is_killed_at_any_point_is_continued_by_the_same_command(batches, here, point):
    batches.messy = True
    write_jsonl("in.jsonl", [{"prompt": f"q{i}", "response": f"is {i % 5 + 1}"} for i in range(N)])
    batches.kill_at = point
    env = environ()
    victim = subprocess.Popen(grade(batches, here, "--wait"), env=env, stderr=subprocess.DEVNULL)
    batches.victim = victim.pid
    assert victim.wait(60) == -signal.SIGKILL
    assert batches.injected[f"kill {point}"] == 1
    done = subprocess.run(grade(batches, here, "--wait"), env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(batches.jobs) == 1 and len(batches.paid) == N - 1 and batches.count == 1
    assert batches.doubled == 0
    assert [row["scores"]["response"] for row in read_jsonl("out.jsonl")] == [float(i % 5 + 1) for i in range(N)]


def test_a_connection_lost_while_creating_does_not_create_a_second_batch(batches):
    batches.drop_at = "after create"
    outcomes = judge_on(batches).judge_batch(cases(), batch=True)
    assert all(isinstance(outcome, Verdict) for outcome in outcomes)
    assert len(batches.jobs) == 1 and batches.doubled == 0


def test_submit_go_away_and_come_back(batches, here):
    batches.polls = 3
    write_jsonl("in.jsonl", [{"prompt": f"q{i}", "response": f"is {i % 5 + 1}"} for i in range(N)])
    command = grade(batches, here)[1:]
    first = invoke(*command, code=4)
    assert "Submitted 59 requests to fake as batch ra-" in first.stderr
    assert "Come back within a day" in first.stderr and not (here / "out.jsonl").exists()
    (listed,) = json.loads(invoke("batch", "list", "--json").stdout)
    assert (listed["state"], listed["requests"]) == ("submitted", 59)
    invoke("batch", "fetch", code=4)
    assert len(batches.jobs) == 1
    invoke("batch", "wait", "--every", "0.1")
    assert "59 of 59 requests have a reply" in invoke("batch", "list").stdout
    done = invoke(*command)
    assert "60 judged" in done.stderr or "60 from the store" in done.stderr
    assert len(read_jsonl("out.jsonl")) == N and batches.doubled == 0
    assert "has ended already" in invoke("batch", "cancel", listed["id"]).stderr
    assert invoke("batch", "cancel", "ra-none", code=2)


def test_check_and_bench_read_the_verdicts_of_batches(batches, here):
    judge = ("--model", "fake", "--api-base", batches.url)
    write_jsonl("a.jsonl", [{"id": i, "prompt": f"q{i}", "response": f"is {i % 3 + 1}"} for i in range(30)])
    write_jsonl("b.jsonl", [{"id": i, "prompt": f"q{i}", "response": f"is {i % 3 + 3}"} for i in range(30)])
    check = ("check", "--baseline", "a.jsonl", "--candidate", "b.jsonl", "--principle", "Be right.", *judge)
    invoke(*check, "--batch", code=4)
    assert invoke(*check, "--batch", "--wait").stdout.startswith("PASSED")
    two = {"a": "is 1", "b": "is 4"}
    rows = [
        {"id": f"{i}", "principle": "p", "prompt": f"q{i}", "responses": two, "ranking": ["b", "a"]} for i in range(60)
    ]
    write_jsonl("bench.jsonl", rows)
    assert "60 from the store (100%)" in invoke("bench", "bench.jsonl", *judge, "--batch", "--wait").stdout
    assert batches.count == 2 and batches.doubled == 0  # the first request of each


def test_a_batch_that_the_provider_does_not_know_can_be_forgotten(batches, here):
    judge = judge_on(batches)
    progress = BatchRunner(judge).run(cases(), wait=False)
    batches.jobs.clear()
    (lost,) = progress.waiting
    with pytest.raises(BackendError, match=f"batch cancel {lost.id}"):
        judge.judge_batch(cases(), batch=True)
    invoke("batch", "cancel", lost.id, "--store", judge.store.path)
    assert all(isinstance(outcome, Verdict) for outcome in judge.judge_batch(cases(), batch=True))


def test_a_server_with_another_protocol_harms_nothing_but_the_batch(batches):
    batches._json = lambda job: {"id": job.id, "status": ["?"], "request_counts": 3, "errors": {"data": [1]}}
    progress = BatchRunner(judge_on(batches)).run(cases(), wait=False)
    assert len(progress.waiting) == 1 and len(progress.outcomes) == 1
    batches._json = lambda job: {"status": "completed"}
    with pytest.raises(BackendError, match="another batch API"):
        judge_on(batches).judge_batch([Case("Other.", f"q{i}", ["a"]) for i in range(60)], batch=True)


def test_a_cancelled_batch_keeps_what_was_done_and_the_rest_is_submitted_again(batches, here):
    batches.polls, batches.faults = 100, {"missing": 0.9}
    write_jsonl("in.jsonl", [{"prompt": f"q{i}", "response": f"is {i % 5 + 1}"} for i in range(200)])
    command = grade(batches, here)[1:]
    invoke(*command, code=4)
    (listed,) = json.loads(invoke("batch", "list", "--json").stdout)
    invoke("batch", "cancel", listed["id"])
    batches.polls = 1
    invoke(*command, "--wait")
    assert batches.doubled == 0 and len(read_jsonl("out.jsonl")) == 200


@pytest.mark.parametrize(
    ("refuse", "words"), [("create", "no batches for this account"), ("validation", "does not take batches")]
)
def test_a_provider_that_refuses_says_why_and_the_same_can_be_judged_live(batches, refuse, words):
    batches.refuse = refuse
    judge = judge_on(batches)
    with pytest.raises(BackendError, match=words):
        judge.judge_batch(cases(), batch=True)
    assert not batches.paid
    assert all(isinstance(outcome, Verdict) for outcome in judge.judge_batch(cases()))


def test_what_the_server_does_not_support_shows_at_the_first_request(batches):
    batches.rejects = {"seed": 400}
    outcomes = judge_on(batches).judge_batch(cases(), batch=True)
    assert all(isinstance(outcome, Verdict) for outcome in outcomes)
    bodies = [json.loads(line)["body"] for line in batches.files[next(iter(batches.jobs.values())).file].splitlines()]
    assert bodies and not any("seed" in body for body in bodies)


def test_a_jury_uses_batches_for_the_models_that_have_them(batches):
    own = Judge(ScriptedBackend.scoring(lambda text: 3))
    outcomes = Jury([judge_on(batches), own]).judge_batch(cases(), batch=True)
    assert all(len(outcome.jurors) == 2 for outcome in outcomes)
    assert own.usage.calls == N and batches.doubled == 0


def test_a_juror_or_stage_that_waits_has_not_failed(batches):
    own = Judge(ScriptedBackend.scoring(lambda text: 3))
    jury = Jury([judge_on(batches), own], min_jurors=1)
    progress = BatchRunner(jury).run(cases(), wait=False)
    assert len(progress.outcomes) == 1 and len(progress.waiting) == 1
    cascade = Cascade([judge_on(batches), Judge(ScriptedBackend([]))], thresholds=[0.0])
    outcomes = cascade.judge_batch(cases(), batch=True)
    assert all(isinstance(outcome, Verdict) for outcome in outcomes) and len(batches.jobs) == 1


def test_a_budget_limits_a_batch_by_the_most_that_it_can_cost(batches):
    judge = judge_on(batches, max_calls=20)
    progress = BatchRunner(judge).run(cases(), wait=True)
    failures = [o for o in progress.outcomes.values() if isinstance(o, JudgeFailure)]
    assert {failure.error_type for failure in failures} == {"BudgetExceededError"}
    assert len(progress.outcomes) == N and len(failures) == N - 20
    assert judge.budget.spent.calls == 20 and judge.budget.reserved.calls == 0
    assert not list(judge.store.entries(kind="failure"))


def test_what_batches_cannot_serve_is_refused(batches):
    for judge, words in (
        (judge_on(batches, cache="off"), "cache is 'off'"),
        (judge_on(batches, readout="logits"), "readout='logits'"),
        (Judge(ScriptedBackend([])), "scripted has none"),
        (from_endpoint("gemini/gemini-2.5-flash", api_key="k"), "only the batch APIs of"),
    ):
        with pytest.raises(ConfigError, match=words):
            judge.judge_batch(cases(1), batch=True)
    assert batches.count == 0


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RA_JUDGE_STORE", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path
