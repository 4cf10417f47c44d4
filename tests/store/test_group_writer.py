"""Items put by many coroutines, written together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from rewardanything_core import Judge, ScriptedBackend, VerdictStore
from rewardanything_core.cases import Case
from rewardanything_core.errors import StoreError
from rewardanything_core.store.group_writer import GroupWriter


class Disk:
    """Takes batches one at a time, each only when it is let to."""

    def __init__(self) -> None:
        self.batches: list[list[object]] = []
        self.refuses: dict[object, Exception] = {}
        self.opened = threading.Semaphore(0)

    def write(self, items: Sequence[object]) -> None:
        self.opened.acquire()
        for item in items:
            if item in self.refuses:
                raise self.refuses[item]
        self.batches.append(list(items))

    def let(self, batches: int) -> None:
        for _ in range(batches):
            self.opened.release()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_what_comes_during_a_write_is_written_together_by_the_next() -> None:
    async def scene() -> None:
        disk = Disk()
        writer = GroupWriter(disk.write)
        puts = [asyncio.create_task(writer.put("first"))]
        await settle()
        puts += [asyncio.create_task(writer.put(item)) for item in "abc"]
        await settle()
        assert not any(put.done() for put in puts)
        disk.let(2)
        await asyncio.gather(*puts)
        assert disk.batches == [["first"], ["a", "b", "c"]]

    asyncio.run(scene())


def test_nothing_is_called_written_before_it_is() -> None:
    async def scene() -> None:
        disk = Disk()
        put = asyncio.create_task(GroupWriter(disk.write).put("a", more_coming=True))
        done, _ = await asyncio.wait([put], timeout=0.05)
        assert not done
        disk.let(1)
        await put
        assert disk.batches == [["a"]]

    asyncio.run(scene())


def test_one_that_cannot_be_written_fails_alone_and_a_broken_file_fails_all() -> None:
    async def scene() -> None:
        disk = Disk()
        writer = GroupWriter(disk.write)
        disk.refuses["b"] = TypeError("no JSON")
        disk.let(100)
        outcomes = await asyncio.gather(*(writer.put(item) for item in "abc"), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None), TypeError, type(None)]
        assert disk.batches == [["a"], ["c"]]
        disk.refuses["d"] = StoreError("disk full")
        outcomes = await asyncio.gather(*(writer.put(item) for item in "def"), return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["disk full"] * 3

    asyncio.run(scene())


def test_who_stops_waiting_loses_nothing_for_the_others() -> None:
    async def scene() -> None:
        disk = Disk()
        writer = GroupWriter(disk.write)
        puts = [asyncio.create_task(writer.put(item)) for item in "abc"]
        await settle()
        puts[1].cancel()
        disk.let(1)
        await asyncio.gather(puts[0], puts[2])
        with pytest.raises(asyncio.CancelledError):
            await puts[1]
        assert disk.batches == [["a", "b", "c"]]

    asyncio.run(scene())


def test_what_waits_when_the_loop_is_wound_up_is_written() -> None:
    disk = Disk()
    disk.let(100)

    async def scene() -> None:
        put = asyncio.create_task(GroupWriter(disk.write).put("a", more_coming=True))
        await settle()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.gather(put, return_exceptions=True)
        await settle()

    asyncio.run(scene())
    assert disk.batches == [["a"]]


def test_it_serves_one_loop_after_another() -> None:
    disk = Disk()
    disk.let(100)
    writer = GroupWriter(disk.write)
    for item in "ab":
        asyncio.run(writer.put(item))
    assert disk.batches == [["a"], ["b"]]


def test_a_reader_does_not_wait_for_a_writer(own_store) -> None:
    store = VerdictStore(own_store)
    with store._database.write():
        found: list[object] = []
        reader = threading.Thread(target=lambda: found.append(store.count()), daemon=True)
        reader.start()
        reader.join(10)
        assert found == [0]


def test_verdicts_are_durable_when_they_are_returned(own_store) -> None:
    judge = Judge(ScriptedBackend.scoring(len), store=own_store)
    other = VerdictStore(own_store)
    for done, (_, verdict) in enumerate(judge.judge_stream([Case("p", f"q{i}", ["abc"]) for i in range(50)]), start=1):
        assert other.find(verdict.record_id).verdict.scores == {"0": 3.0}
        assert other.count() >= done
