"""Judges with limits: what is sent, what comes back, and what is stored."""

import pytest
import scripts
from servers import FakeOpenAI, Fault

from rewardanything_core import (
    Case,
    ConfigError,
    Judge,
    JudgeFailure,
    Jury,
    Rubric,
    ScriptedBackend,
    Usage,
    Verdict,
    from_endpoint,
    load_judge,
)
from rewardanything_core.backends.base import Completion
from rewardanything_core.backends.budget import Budget
from rewardanything_core.backends.pricing import FREE, Prices
from rewardanything_core.errors import BudgetExceededError

PRICES = {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-5}


def cases(number, **more):
    return [Case("Be right.", f"question {i}", {"a": f"is {i % 5 + 1}", "b": "is 3"}, **more) for i in range(number)]


def split(outcomes):
    verdicts = [outcome for outcome in outcomes if isinstance(outcome, Verdict)]
    failures = [outcome for outcome in outcomes if isinstance(outcome, JudgeFailure)]
    return verdicts, failures


@pytest.mark.parametrize("hedge_after", [None, 0.001])
def test_no_more_requests_are_sent_than_max_calls_with_faults_and_hedging(server: FakeOpenAI, hedge_after):
    server.fault_rate, server.latency = 0.3, 0.01
    server.fault_kinds = (Fault.status(500), Fault.status(429, retry_after="0"))
    with from_endpoint("fake", server.url, max_calls=30, hedge_after=hedge_after) as judge:
        verdicts, failures = split(judge.judge_batch(cases(100)))
        # A hedged request that is cancelled counts, even if it did not arrive.
        assert server.count <= judge.budget.spent.calls <= 30
        assert verdicts and {failure.error_type for failure in failures} == {"BudgetExceededError"}
        assert judge.budget.reserved.calls == 0
        assert not list(judge.store.entries(kind="failure"))  # they have not failed
    again = from_endpoint("fake", server.url)
    assert sum(verdict is not None for verdict in again.cached_verdicts(cases(100))) == len(verdicts)


def test_the_cost_stays_below_the_limit_and_comes_close_to_it(server: FakeOpenAI):
    limits = {"max_cost": 0.1, "max_tokens": 500, "thinking_budget": 0}
    with load_judge("fake", api_base=server.url, **limits, **PRICES) as judge:
        verdicts, failures = split(judge.judge_batch(cases(300)))
        cost = sum(verdict.usage.cost for verdict in verdicts)
        assert failures and judge.budget.spent.cost == pytest.approx(cost)
        assert 0.09 < cost <= 0.1
    with pytest.raises(BudgetExceededError, match=r"max_cost = \$0.1"):
        judge.judge(cases(301)[-1])


def test_a_request_without_a_reply_counts_with_what_it_could_have_cost(server: FakeOpenAI):
    server.latency = 1
    judge = from_endpoint("fake", server.url, timeout=0.05, attempts=2, max_calls=10, **PRICES)
    split(judge.judge_batch(cases(1)))
    assert judge.budget.spent.calls == 2 and judge.budget.spent.cost > 0
    server.reply, server.latency = Fault.status(400), 0
    judge = judge.with_options(max_calls=9)
    judge.judge_batch(cases(1))
    assert judge.budget.spent.calls == 1 and judge.budget.spent.cost == 0


def test_passes_of_a_case_are_not_split_by_the_limit():
    judge = Judge(ScriptedBackend(scripts.by_length), passes=4, max_calls=30)
    verdicts, failures = split(judge.judge_batch(cases(20)))
    assert (len(verdicts), len(failures)) == (7, 13)  # 28 calls, and 2 for the case at the limit


def test_copies_share_the_budget_and_a_new_limit_is_a_new_budget():
    judge = Judge(ScriptedBackend(scripts.by_length), max_calls=3, cache="off")
    copy = judge.with_options(passes=2).resampled()
    copy.judge(cases(1)[0])
    assert copy.budget is judge.budget and judge.budget.spent.calls == 2
    assert judge.with_options(max_calls=5).budget.spent.calls == 0
    assert judge.with_options(max_calls=None).budget is None
    assert Judge.from_spec(judge.spec()).budget.limits == judge.budget.limits
    with pytest.raises(ConfigError, match="either budget= or max_calls"):
        Judge(ScriptedBackend(scripts.by_length), budget=Budget(max_calls=1), max_calls=2)


def test_a_jury_has_one_budget_and_no_verdict_of_a_part_of_it(tmp_path, monkeypatch):
    jurors = [Judge(ScriptedBackend(scripts.by_length, name=name)) for name in ("one", "two")]
    jury = Jury(jurors, min_jurors=1).with_options(max_calls=9)
    verdicts, failures = split(jury.judge_batch(cases(10)))
    assert jury.budget.spent.calls == 9 and len(verdicts) + len(failures) == 10
    assert len(verdicts) <= 4  # fewer if one juror is ahead of the other
    assert all(isinstance(juror, Verdict) for verdict in verdicts for juror in verdict.jurors)
    stored = list(jurors[0].store.entries())
    assert len(stored) == 9  # also those of cases that only one juror reached
    assert all(failure.error_type == "BudgetExceededError" for failure in failures)
    assert Jury.from_spec(jury.spec()).budget.limits["max_calls"] == 9
    (tmp_path / "ra-judge.toml").write_text(
        '[judge]\nmax_calls = 3\n[[jury]]\nmodel = "scripted:scripts:by_length"\n'
        '[[jury]]\nmodel = "scripted:scripts:by_vowels"\n'
    )
    monkeypatch.chdir(tmp_path)
    assert load_judge().budget.limits["max_calls"] == 3
    (tmp_path / "ra-judge.toml").write_text('[[jury]]\nmodel = "scripted:scripts:by_length"\nmax_calls = 3\n')
    with pytest.raises(ConfigError, match="setting of a whole jury"):
        load_judge()


def test_a_limit_on_cost_needs_prices():
    with pytest.raises(ConfigError, match="max_cost needs prices, and none are known for scripted"):
        Judge(ScriptedBackend([]), max_cost=1)
    with pytest.raises(ConfigError, match="none are known for own"):
        from_endpoint("own", "http://localhost:1/v1", max_cost=1)
    assert from_endpoint("openai/gpt-4o-mini", max_cost=1).backend.prices.prompt > 0
    assert from_endpoint("anthropic/claude-sonnet-4-5", max_cost=1).backend.prices.completion > 0
    free = Judge(ScriptedBackend(scripts.by_length, prices=FREE), max_cost=0)
    assert isinstance(free.judge_batch(cases(1))[0], Verdict)


RUBRIC = Rubric({"short": "Be short.", "right": "Be right."})


@pytest.mark.parametrize(
    ("options", "case"),
    [
        ({"passes": 3}, {}),
        ({"max_list": 2}, {}),
        ({"criteria": "separate"}, {"principle": RUBRIC}),
        ({"criteria": "together"}, {"principle": RUBRIC}),
    ],
)
def test_the_estimate_counts_the_requests_that_are_then_sent(server: FakeOpenAI, options, case):
    judge = from_endpoint("openai/gpt-4o-mini", server.url, api_key="k", **options)
    four = {label: f"is {place}" for place, label in enumerate("abcd", 1)}
    batch = [Case(**{"principle": "Be right.", "prompt": f"q{i}", "responses": four, **case}) for i in range(12)]
    judge.judge_batch(batch[:4])
    before = judge.usage
    estimate = judge.estimate(batch)
    assert judge.usage == before and (estimate.cases, estimate.cached) == (12, 4)
    judge.judge_batch(batch)
    spent = judge.usage - before
    assert estimate.calls == spent.calls
    assert estimate.prompt_tokens == pytest.approx(spent.prompt_tokens, rel=0.1)
    assert estimate.completion_tokens == pytest.approx(spent.completion_tokens, rel=0.1)  # as in the first four
    assert estimate.cost == pytest.approx(spent.cost, rel=0.1)
    assert "8 cases" not in str(estimate) and "4 of them from the store" in str(estimate)


def test_an_estimate_of_many_cases_is_made_from_a_sample():
    backend = ScriptedBackend(lambda _: Completion(answer="", usage=Usage()), prices=Prices(1e-6, 1e-6, 1e-6))
    estimate = Judge(backend).estimate(cases(3_000))
    assert backend.calls == 0 and estimate.calls == 3_000
    assert estimate.max_cost > estimate.cost > 0


@pytest.mark.model
def test_a_model_on_this_machine_counts_tokens_and_costs_nothing(small_model):
    judge = Judge(small_model, max_cost=0, max_calls=40)
    batch = cases(1)
    estimate = judge.estimate(batch)
    verdicts, _ = split(judge.judge_batch(batch))
    assert len(verdicts) == 1
    assert estimate.tokens_counted and estimate.cost == 0
    # The prefix that questions share is run once, and the estimate counts it for each.
    assert estimate.prompt_tokens >= judge.usage.prompt_tokens > 0


def test_hosts_that_would_score_a_failure_stop_and_the_server_says_402():
    from serving import serving

    from rewardanything_core.errors import JudgeUnavailableError
    from rewardanything_dspy.judging import JudgeRunner
    from rewardanything_rl import PrincipleReward

    def used_up():
        return Judge(ScriptedBackend(scripts.by_length), max_calls=0, cache="off")

    with pytest.raises(JudgeUnavailableError, match="budget is used up"):
        JudgeRunner(used_up()).outcomes(cases(2))
    with pytest.raises(JudgeUnavailableError, match="budget is used up"):
        PrincipleReward("p", judge=used_up())(prompts=["q", "q"], completions=["a", "b"])
    with serving(used_up()) as server:
        body = {"principle": "p", "prompt": "q", "responses": {"a": "b"}}
        answer = server.client.post("/v1/judge", json=body)
        assert (answer.status_code, answer.json()["error"]["type"]) == (402, "budget_exceeded")
