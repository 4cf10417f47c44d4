"""Budgets hold however many requests are in flight, whatever they turn out to cost, and whoever is cancelled."""

import asyncio
import random

import pytest

from rewardanything_core import ConfigError
from rewardanything_core.backends.budget import Budget, Expense, reserve, spending
from rewardanything_core.errors import BudgetExceededError


@pytest.mark.parametrize("seed", range(5))
def test_no_limit_is_exceeded_at_any_time_and_nothing_reserved_is_lost(seed):
    rng = random.Random(seed)
    budget = Budget(max_calls=200, max_cost=1.0, max_total_tokens=100_000)
    paid, refused, cancelled = [], [], []

    async def request():
        most = Expense(1, rng.randrange(1, 2_000), rng.uniform(0.0, 0.02))
        share = rng.choice([0.0, 0.1, 0.5, 1.0])
        reservation = await budget.reserve(most)
        both = budget.spent + budget.reserved
        assert budget.exceeded_by(both) is None
        actual = Expense(1, round(most.tokens * share), most.cost * share)
        try:
            await asyncio.sleep(rng.uniform(0, 0.002))
            reservation.settle(actual)
            paid.append(actual)
        finally:
            reservation.settle(most)
            reservation.settle(most)  # only the first call counts

    async def run():
        tasks = [asyncio.ensure_future(request()) for _ in range(400)]
        await asyncio.sleep(0.003)
        for task in rng.sample(tasks, 40):
            cancelled.append(task.cancel())
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, BudgetExceededError):
                refused.append(result)
            else:
                assert result is None or isinstance(result, asyncio.CancelledError)

    asyncio.run(run())
    assert budget.reserved.calls == budget.reserved.tokens == 0
    assert abs(budget.reserved.cost) < 1e-9
    assert len(paid) <= budget.spent.calls <= len(paid) + sum(cancelled)
    assert refused and len(paid) > 50
    assert budget.exceeded_by(budget.spent) is None


def test_a_request_waits_for_what_others_reserve_and_do_not_spend_and_others_wait_their_turn():
    async def run():
        budget, order = Budget(max_total_tokens=100), []
        first = await budget.reserve(Expense(1, 90))

        async def later(name, tokens):
            order.append((name, await budget.reserve(Expense(1, tokens))))

        tasks = [asyncio.ensure_future(later("large", 60)), asyncio.ensure_future(later("small", 5))]
        await asyncio.sleep(0.01)
        assert not order  # the small one would fit, and does not overtake
        first.settle(Expense(1, 20))
        await asyncio.gather(*tasks)
        assert [name for name, _ in order] == ["large", "small"]
        with pytest.raises(BudgetExceededError, match="101 tokens with max_total_tokens = 100"):
            await budget.reserve(Expense(1, 81))
        assert not order[0][1].add_call() and order[1][1].add_call()

    asyncio.run(run())


def test_the_budget_in_force_is_that_of_the_context():
    async def run():
        inner, outer = Budget(max_calls=1), Budget(max_calls=1)
        with spending(outer):
            with spending(inner):
                (await reserve(Expense(1))).settle(Expense(1))
            with spending(None):  # the one in force stays
                (await reserve(Expense(1))).settle(Expense(1))
        (await reserve(Expense(1))).settle(Expense(1))  # from none
        assert (inner.spent.calls, outer.spent.calls) == (1, 1)

    asyncio.run(run())


@pytest.mark.parametrize(
    "limits", [{"max_cost": -1}, {"max_calls": 1.5}, {"max_cost": float("nan")}, {"max_calls": True}]
)
def test_limits_are_checked(limits):
    with pytest.raises(ConfigError, match=f"{next(iter(limits))} must be"):
        Budget(**limits)
