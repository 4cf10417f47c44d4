"""Batches of Azure OpenAI and Anthropic: requests and verdicts as live, faults, kills; nothing lost or paid twice."""

import json

import pytest
from batch_server import FakeBatches
from checks import invoke, read_jsonl, write_jsonl
from message_batch_server import FakeMessageBatches

from rewardanything_core import (
    BackendError,
    Case,
    ConfigError,
    Verdict,
    VerdictStore,
    from_endpoint,
)
from rewardanything_core.errors import AuthenticationError
from rewardanything_core.judging.batches import BatchRunner

N = 60


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("rewardanything_core.judging.batches._FIRST_POLL_SECONDS", 0.05)
    monkeypatch.setattr("rewardanything_core.judging.batch_jobs._UNCERTAIN_SECONDS", 0.05)
    monkeypatch.setattr("rewardanything_core.backends.endpoint.batch_azure._POLL_SECONDS", 0.05)
    for name in ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_API_BASE", "AZURE_API_VERSION", "AZURE_AD_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RA_JUDGE_STORE", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path


CLAUDE = "anthropic/claude-haiku-4-5"
MODELS = {
    "azure/judge": {"batch_model": "judge-batch"},
    CLAUDE: {},
    "anthropic/claude-3-haiku-20240307": {},  # a schema becomes a tool
}
TWO = ["azure/judge", CLAUDE]


def server_of(model, **options):
    return (FakeMessageBatches if model.startswith("anthropic/") else FakeBatches)(**options)


def environment(server):
    azure = {"AZURE_API_BASE": server.root, "AZURE_API_KEY": "azure-key", "AZURE_API_VERSION": "2024-10-21"}
    return azure | {"ANTHROPIC_API_BASE": server.root, "ANTHROPIC_API_KEY": "anthropic-key"}


def judge_on(server, model, **options):
    prices = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    return from_endpoint(
        model, server.root, api_key=f"{model.partition('/')[0]}-key", **MODELS[model], **prices, **options
    )


def cases(number=N):
    return [Case("Be right.", f"question {i}", {"a": f"is {i % 5 + 1}", "b": "is 3"}) for i in range(number)]


@pytest.mark.parametrize("model", MODELS)
def test_a_batch_has_the_bodies_and_gives_the_verdicts_of_live_calls(model):
    with server_of(model) as server:
        outcomes = judge_on(server, model, passes=2).judge_batch(cases(20), batch=True)
        assert len(server.jobs) == 1 and server.count == 1 and server.doubled == 0
        live = judge_on(server, model, passes=2, cache="off").judge_batch(cases(20))
        assert [o.scores for o in outcomes] == [o.scores for o in live]
        assert outcomes[-1].usage.cost == pytest.approx(2 * (100e-6 + 50 * 2e-6) / 2)
        sent = [json.dumps(body, sort_keys=True) for body in server.batch_bodies]
        renamed = {"model": MODELS[model]["batch_model"]} if MODELS[model] else {}
        as_live = {json.dumps(body | renamed, sort_keys=True) for body in server.bodies[1:]}
        assert len(sent) == 2 * 20 - 1 and set(sent) <= as_live


@pytest.mark.parametrize("model", TWO)
def test_faults_lose_nothing_and_double_nothing(model):
    faults = {"error": 0.2, "missing": 0.2, "prose": 0.2}
    with server_of(model, faults=faults, messy=True, expire=0.2, polls=2) as server:
        outcomes = judge_on(server, model).judge_batch(cases(120), batch=True)
        assert len(server.jobs) >= 2 and sum(server.injected.values()) > 100
        assert all(isinstance(outcome, Verdict) for outcome in outcomes)
        used = sum(outcome.usage.calls for outcome in outcomes)
        refused = model == CLAUDE  # LiteLLM itself refuses the first request, for its seed
        assert server.doubled == 0 and used == sum(server.paid.values()) + server.count + refused


@pytest.mark.parametrize("model", TWO)
def test_a_process_killed_after_creating_is_continued_by_the_same_command(model, here):
    write_jsonl("in.jsonl", [{"prompt": f"q{i}", "response": f"is {i % 5 + 1}"} for i in range(N)])
    options = {"model": model, **MODELS[model]}
    (here / "ra-judge.toml").write_text("\n".join(["[judge]", *(f"{k} = '{v}'" for k, v in options.items())]))
    with server_of(model, messy=True) as server:
        env = {"RA_JUDGE_MODEL": model, **environment(server)}
        command = ("grade", "in.jsonl", "-o", "out.jsonl", "--principle", "Be right.", "--batch")
        invoke(*command, code=4, **env)
        records = VerdictStore(next((here / "home").rglob("*.sqlite3"))).batches()
        records.set_prepared(records.all()[0])  # as if it had been killed before it could record the batch's id
        invoke(*command, "--wait", **env)
        assert len(server.jobs) == 1 and len(server.paid) == N - 1 and server.count == 1 and server.doubled == 0
        assert [row["scores"]["response"] for row in read_jsonl("out.jsonl")] == [float(i % 5 + 1) for i in range(N)]


def killed_after_creating(server, judge):
    """A batch that was created by a process that was killed before it could record it."""
    (batch,) = BatchRunner(judge).run(cases(), wait=False).waiting
    judge.store.batches().set_prepared(batch)
    return batch


def test_a_batch_without_a_name_is_never_guessed():
    with FakeMessageBatches() as server:
        judge = judge_on(server, CLAUDE)
        batch = killed_after_creating(server, judge)
        stranger = server.add_stranger(N - 1)
        with pytest.raises(BackendError, match=f"59 requests may have been sent .*{stranger}"):
            judge.judge_batch(cases(), batch=True)
        invoke("batch", "cancel", batch.id, "--store", judge.store.path, code=2)
        assert server.jobs[stranger].status == "in_progress"
        server.jobs[batch.remote_id].status = "completed"  # now its results show which one it is
        assert all(isinstance(outcome, Verdict) for outcome in judge.judge_batch(cases(), batch=True))
        assert server.doubled == 0 and len(server.jobs) == 2


@pytest.mark.parametrize("model", TWO)
def test_a_batch_is_not_given_up_when_the_provider_cannot_be_asked(model):
    with server_of(model) as server:
        judge = judge_on(server, model)
        killed_after_creating(server, judge)
        stranger = from_endpoint(model, server.root, api_key="wrong-key-12345")
        with pytest.raises(AuthenticationError):
            stranger.judge_batch(cases(), batch=True)
        assert all(isinstance(outcome, Verdict) for outcome in judge.judge_batch(cases(), batch=True))
        assert len(server.jobs) == 1 and server.doubled == 0


def test_a_batch_that_turns_out_to_be_of_somebody_else_is_sent_after_all():
    with FakeMessageBatches() as server:
        judge = judge_on(server, CLAUDE)
        batch = killed_after_creating(server, judge)
        del server.jobs[batch.remote_id]  # as if it had been killed before creating it
        server.paid.clear()
        stranger = server.add_stranger(N - 1)
        server.jobs[stranger].polls = 0
        assert all(isinstance(outcome, Verdict) for outcome in judge.judge_batch(cases(), batch=True))
        assert len(server.jobs) == 2 and len(server.paid) == N - 1 and server.doubled == 0


@pytest.mark.parametrize("model", ["gemini/gemini-2.5-flash", "bedrock/anthropic.claude-3-haiku-20240307-v1:0"])
def test_providers_without_known_batches_are_refused(model):
    with pytest.raises(ConfigError, match="only the batch APIs of"):
        from_endpoint(model, api_key="k").judge_batch(cases(1), batch=True)
