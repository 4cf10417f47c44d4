"""How many requests are in flight, and whose turn it is: arithmetic and queues, without a server or a clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Hashable

import pytest

from rewardanything_core.backends.endpoint import concurrency
from rewardanything_core.backends.endpoint.concurrency import EVEN_ROUNDS, Pace, Slots


def a_round(pace: Pace, refused: float = 0.0) -> int:
    """Let as many outcomes come as the limit says, the refusals first, and return the new limit."""
    size = pace.limit
    for place in range(size):
        pace.note(refused=place < refused * size)
    return pace.limit


def test_it_begins_at_the_most_and_never_exceeds_it() -> None:
    pace = Pace(10)
    assert pace.limit == 10
    for _ in range(50):
        assert a_round(pace) == 10


def test_where_all_is_refused_the_limit_halves_down_to_one() -> None:
    pace = Pace(64)
    assert [a_round(pace, refused=1.0) for _ in range(8)] == [32, 16, 8, 4, 2, 1, 1, 1]


def test_it_grows_by_one_a_round_and_faster_after_several_without_a_refusal() -> None:
    pace = Pace(64)
    while pace.limit > 1:
        a_round(pace, refused=1.0)
    assert EVEN_ROUNDS == 3
    assert [a_round(pace) for _ in range(9)] == [2, 3, 4, 6, 10, 18, 34, 64, 64]


def test_a_server_with_room_for_sixteen_is_soon_refusing_few() -> None:
    pace, asked, refused = Pace(64), 0, 0
    for turn in range(200):
        size = pace.limit
        over = max(0, size - 16)
        a_round(pace, refused=over / size)
        if turn >= 20:
            asked, refused = asked + size, refused + over
    assert 14 <= pace.limit <= 20
    assert refused / asked < 0.15


def test_stray_refusals_leave_most_of_the_limit() -> None:
    rng, pace, limits = random.Random(0), Pace(64), []
    for _ in range(20_000):
        pace.note(refused=rng.random() < 0.05)
        limits.append(pace.limit)
    assert sum(limits[5_000:]) / len(limits[5_000:]) > 20


class Crowd:
    """Requests at one endpoint, each holding its place until told to leave."""

    def __init__(self, most: int) -> None:
        self.slots = Slots(most)
        self.admitted: list[str] = []
        self._leave: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def come(self, name: str, prefix_group: Hashable = None, *, again: bool = False) -> None:
        self._leave[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name, prefix_group, again))
        await settle()

    async def leave(self, name: str) -> None:
        self._leave[name].set()
        await self.tasks[name]
        await settle()

    async def drain(self) -> list[str]:
        """Let them leave in the order in which they were admitted, and return that order."""
        at = 0
        while at < len(self.admitted):
            await self.leave(self.admitted[at])
            at += 1
        return self.admitted

    async def _hold(self, name: str, prefix_group: Hashable, again: bool) -> None:
        async with self.slots.one(prefix_group, again=again):
            self.admitted.append(name)
            await self._leave[name].wait()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_no_more_are_admitted_than_there_are_places() -> None:
    async def scene() -> None:
        crowd = Crowd(2)
        for name in "abcd":
            await crowd.come(name)
        assert crowd.admitted == ["a", "b"]
        await crowd.leave("b")
        assert crowd.admitted == ["a", "b", "c"]
        assert await crowd.drain() == ["a", "b", "c", "d"]

    asyncio.run(scene())


def test_requests_that_begin_alike_go_one_after_the_other_but_no_group_waits_for_ever() -> None:
    async def scene() -> None:
        crowd = Crowd(2)
        await crowd.come("first")
        await crowd.come("second")
        for i in range(4):
            await crowd.come(f"a{i}", "a")
            await crowd.come(f"b{i}", "b")
        await crowd.come("alone")
        order = await crowd.drain()
        # Two of a group in a row, since two may be in flight; then the next group's turn.
        assert order == ["first", "second", "a0", "a1", "b0", "b1", "alone", "a2", "a3", "b2", "b3"]

    asyncio.run(scene())


def test_a_retry_goes_before_what_was_not_sent_yet() -> None:
    async def scene() -> None:
        crowd = Crowd(1)
        for name in "abc":
            await crowd.come(name)
        await crowd.come("retried", again=True)
        assert await crowd.drain() == ["a", "retried", "b", "c"]

    asyncio.run(scene())


def test_who_is_cancelled_leaves_no_place_taken() -> None:
    async def scene() -> None:
        crowd = Crowd(1)
        for name in "abcd":
            await crowd.come(name)
        crowd.tasks["b"].cancel()  # while it waits
        crowd._leave["a"].set()
        await settle()
        assert crowd.admitted == ["a", "c"]
        crowd.tasks["c"].cancel()  # while it holds the place
        await settle()
        assert crowd.admitted == ["a", "c", "d"]
        await crowd.leave("d")

        turn = Crowd(1)  # in the moment in which its turn comes
        await turn.come("a")
        await turn.come("b")
        await turn.come("c")
        turn._leave["a"].set()
        await turn.tasks["a"]
        turn.tasks["b"].cancel()
        await settle()
        assert "c" in turn.admitted
        await turn.leave("c")

    asyncio.run(scene())


def test_refusals_leave_fewer_places() -> None:
    async def scene() -> None:
        crowd = Crowd(4)
        for _ in range(4):
            crowd.slots.answered(refused=True)
        for name in "abcd":
            await crowd.come(name)
        assert crowd.admitted == ["a", "b"]
        for name in "abcd":
            await crowd.leave(name)

    asyncio.run(scene())


def test_one_at_a_time_looks_for_a_server_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrency, "PROBE_DELAYS", (0.0,))

    async def scene() -> None:
        crowd = Crowd(3)
        assert crowd.slots.gone() >= 0
        for name in "abcd":
            await crowd.come(name)
        while not crowd.admitted:
            await asyncio.sleep(0)
        await settle()
        assert crowd.admitted == ["a"]
        crowd.slots.gone()
        await crowd.leave("a")
        while len(crowd.admitted) < 2:
            await asyncio.sleep(0)
        await settle()
        assert crowd.admitted == ["a", "b"]
        crowd.slots.answered(refused=False)
        assert crowd.admitted == ["a", "b"]
        await settle()
        assert crowd.admitted == ["a", "b", "c", "d"]
        for name in "bcd":
            await crowd.leave(name)

    asyncio.run(scene())
