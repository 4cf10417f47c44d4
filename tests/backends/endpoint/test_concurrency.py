"""How many requests are in flight and which is next, without a server or a clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Hashable

import pytest

from rewardanything_core.backends.endpoint import concurrency
from rewardanything_core.backends.endpoint.concurrency import CLEAN_ROUNDS, AIMDLimit, ConcurrencyLimiter


def run_round(limit: AIMDLimit, overloaded: float = 0.0) -> int:
    """Record as many outcomes as the limit allows, a share of them overloaded; the new limit."""
    size = limit.value
    for index in range(size):
        limit.record(overloaded=index < overloaded * size)
    return limit.value


def test_the_limit_begins_at_the_maximum_and_never_exceeds_it() -> None:
    limit = AIMDLimit(10)
    assert limit.value == 10
    for _ in range(50):
        assert run_round(limit) == 10


def test_the_limit_halves_down_to_one_while_all_requests_are_overloaded() -> None:
    limit = AIMDLimit(64)
    assert [run_round(limit, overloaded=1.0) for _ in range(8)] == [32, 16, 8, 4, 2, 1, 1, 1]


def test_the_limit_grows_by_one_a_round_and_faster_after_several_clean_rounds() -> None:
    limit = AIMDLimit(64)
    while limit.value > 1:
        run_round(limit, overloaded=1.0)
    assert CLEAN_ROUNDS == 3
    assert [run_round(limit) for _ in range(9)] == [2, 3, 4, 6, 10, 18, 34, 64, 64]


def test_a_server_with_capacity_for_sixteen_soon_rejects_few_requests() -> None:
    limit, sent, overloaded = AIMDLimit(64), 0, 0
    for turn in range(200):
        size = limit.value
        over = max(0, size - 16)
        run_round(limit, overloaded=over / size)
        if turn >= 20:
            sent, overloaded = sent + size, overloaded + over
    assert 14 <= limit.value <= 20
    assert overloaded / sent < 0.15


def test_sporadic_overloads_leave_most_of_the_limit() -> None:
    rng, limit, limits = random.Random(0), AIMDLimit(64), []
    for _ in range(20_000):
        limit.record(overloaded=rng.random() < 0.05)
        limits.append(limit.value)
    assert sum(limits[5_000:]) / len(limits[5_000:]) > 20


class Requests:
    """Requests to one endpoint, each of which holds its slot until `finish`."""

    def __init__(self, maximum: int) -> None:
        self.limiter = ConcurrencyLimiter(maximum)
        self.admitted: list[str] = []
        self._finish: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def submit(self, name: str, prefix_group: Hashable = None, *, retry: bool = False) -> None:
        self._finish[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name, prefix_group, retry))
        await settle()

    async def finish(self, name: str) -> None:
        self._finish[name].set()
        await self.tasks[name]
        await settle()

    async def drain(self) -> list[str]:
        """Complete all requests in the order in which they were admitted, and return that order."""
        at = 0
        while at < len(self.admitted):
            await self.finish(self.admitted[at])
            at += 1
        return self.admitted

    async def _hold(self, name: str, prefix_group: Hashable, retry: bool) -> None:
        async with self.limiter.slot(prefix_group, retry=retry):
            self.admitted.append(name)
            await self._finish[name].wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_no_more_requests_are_admitted_than_there_are_slots() -> None:
    async def scenario() -> None:
        requests = Requests(2)
        for name in "abcd":
            await requests.submit(name)
        assert requests.admitted == ["a", "b"]
        await requests.finish("b")
        assert requests.admitted == ["a", "b", "c"]
        assert await requests.drain() == ["a", "b", "c", "d"]

    asyncio.run(scenario())


def test_requests_of_one_prefix_group_are_consecutive_and_no_group_starves() -> None:
    async def scenario() -> None:
        requests = Requests(2)
        await requests.submit("first")
        await requests.submit("second")
        for i in range(4):
            await requests.submit(f"a{i}", "a")
            await requests.submit(f"b{i}", "b")
        await requests.submit("alone")
        order = await requests.drain()
        # Two consecutive requests of a group, since two may be in flight; then the next group.
        assert order == ["first", "second", "a0", "a1", "b0", "b1", "alone", "a2", "a3", "b2", "b3"]

    asyncio.run(scenario())


def test_a_retry_is_admitted_before_new_requests() -> None:
    async def scenario() -> None:
        requests = Requests(1)
        for name in "abc":
            await requests.submit(name)
        await requests.submit("retried", retry=True)
        assert await requests.drain() == ["a", "retried", "b", "c"]

    asyncio.run(scenario())


def test_a_cancelled_request_frees_its_slot() -> None:
    async def scenario() -> None:
        requests = Requests(1)
        for name in "abcd":
            await requests.submit(name)
        requests.tasks["b"].cancel()  # while it waits
        requests._finish["a"].set()
        await settle()
        assert requests.admitted == ["a", "c"]
        requests.tasks["c"].cancel()  # while it holds the slot
        await settle()
        assert requests.admitted == ["a", "c", "d"]
        await requests.finish("d")

        turn = Requests(1)  # in the moment in which it is admitted
        await turn.submit("a")
        await turn.submit("b")
        await turn.submit("c")
        turn._finish["a"].set()
        await turn.tasks["a"]
        turn.tasks["b"].cancel()
        await settle()
        assert "c" in turn.admitted
        await turn.finish("c")

    asyncio.run(scenario())


def test_overloads_leave_fewer_slots() -> None:
    async def scenario() -> None:
        requests = Requests(4)
        for _ in range(4):
            requests.limiter.record_reply(overloaded=True)
        for name in "abcd":
            await requests.submit(name)
        assert requests.admitted == ["a", "b"]
        for name in "abcd":
            await requests.finish(name)

    asyncio.run(scenario())


def test_one_request_at_a_time_probes_an_unreachable_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "PROBE_DELAYS", (0.0,))

    async def scenario() -> None:
        requests = Requests(3)
        assert requests.limiter.record_unreachable() >= 0
        for name in "abcd":
            await requests.submit(name)
        while not requests.admitted:
            await asyncio.sleep(0)
        await settle()
        assert requests.admitted == ["a"]
        requests.limiter.record_unreachable()
        await requests.finish("a")
        while len(requests.admitted) < 2:
            await asyncio.sleep(0)
        await settle()
        assert requests.admitted == ["a", "b"]
        requests.limiter.record_reply(overloaded=False)
        assert requests.admitted == ["a", "b"]
        await settle()
        assert requests.admitted == ["a", "b", "c", "d"]
        for name in "bcd":
            await requests.finish(name)

    asyncio.run(scenario())
