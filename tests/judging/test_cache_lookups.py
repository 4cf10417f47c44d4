"""How often the store is read: once for a miss, once for all cases of a batch."""

import asyncio
import threading

import pytest
import scripts

from rewardanything_core import Case, Judge, ScriptedBackend, VerdictStore
from rewardanything_core.concurrency import background_loop
from rewardanything_core.concurrency.recent_keys import RecentKeys


class CountingStore(VerdictStore):
    def __init__(self, path):
        super().__init__(path)
        self.reads, self.threads = [], set()

    def get(self, key):
        self.reads.append(1)
        self.threads.add(threading.current_thread().name)
        return super().get(key)

    def get_many(self, keys):
        keys = list(keys)
        self.reads.append(len(keys))
        return super().get_many(keys)


@pytest.fixture
def store(tmp_path):
    with CountingStore(tmp_path / "verdicts.sqlite3") as store:
        yield store


def cases(number):
    return [Case("p", f"q{index}", ["a", "bb"]) for index in range(number)]


def test_a_miss_reads_the_store_once(store):
    judge = Judge(ScriptedBackend(scripts.by_length), store=store)
    judge.judge("p", "q", ["a"])
    assert store.reads == [1]
    judge.judge("p", "q", ["a"])
    assert store.reads == [1, 1]
    assert judge.backend.calls == 1


def test_a_batch_looks_up_all_its_cases_together(store):
    judge = Judge(ScriptedBackend(scripts.by_length), store=store)
    judge.judge_batch(cases(40))
    assert store.reads == [40]
    assert all(verdict.cached for verdict in judge.judge_batch(cases(41))[:40])
    assert store.reads == [40, 41]
    assert judge.backend.calls == 41


def test_an_awaited_judgement_reads_the_store_outside_of_the_event_loops(store):
    judge = Judge(ScriptedBackend(scripts.by_length), store=store)
    asyncio.run(judge.ajudge(*cases(1)))
    assert store.reads == [1]
    assert not store.threads & {"rewardanything", threading.main_thread().name}


def test_a_verdict_stored_between_lookup_and_judging_is_not_paid_for_again(store):
    """A second caller misses in the store, and the first caller's judgement ends before the second one starts."""
    judge = Judge(ScriptedBackend(scripts.by_length), store=store)
    (case,) = cases(1)
    assert judge.cached_verdict(case) is None  # the second caller's lookup
    judge.judge(case)  # the first caller, from lookup to store

    judge._cached._misses[judge._keys.key(case)] = 0  # what the second caller's lookup had noted
    verdict = background_loop.wait(background_loop.submit(judge._verdict(case)))
    assert verdict.cached and judge.backend.calls == 1


def test_a_verdict_stored_during_the_second_lookup_is_not_paid_for_again(store):
    judge = Judge(ScriptedBackend(scripts.by_length), store=store)
    (case,) = cases(1)
    read = store.get

    def overtaken(key):
        found = read(key)
        store.get = read
        judge.judge(case)  # another caller, from lookup to store
        return found

    store.get = overtaken
    verdict = background_loop.wait(background_loop.submit(judge._verdict(case)))
    assert verdict.cached and judge.backend.calls == 1


def test_a_verdict_on_another_case_stored_meanwhile_needs_no_second_lookup(store):
    judge = Judge(ScriptedBackend(scripts.by_length), store=store)
    first, second = cases(2)
    assert judge.cached_verdict(first) is None
    judge.judge(second)
    reads = len(store.reads)
    background_loop.wait(background_loop.submit(judge._verdict(first)))
    assert len(store.reads) == reads


def test_recent_keys_know_what_was_added_or_say_that_it_may_have_been():
    recent = RecentKeys(size=3)
    recent.add("a")
    moment = recent.count
    assert not recent.may_have_added("a", moment)
    recent.add("b")
    recent.add("a")
    assert recent.may_have_added("a", moment) and recent.may_have_added("b", moment)
    assert not recent.may_have_added("c", moment)
    for key in "xyz":
        recent.add(key)
    assert recent.may_have_added("b", moment)  # forgotten
    assert not recent.may_have_added("b", recent.count)


def test_the_same_case_from_many_threads_costs_one_call(store):
    async def slow(request):
        await asyncio.sleep(0.05)
        return scripts.by_length(request)

    judge = Judge(ScriptedBackend(slow), store=store)
    (case,) = cases(1)
    threads = [threading.Thread(target=judge.judge, args=(case,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert judge.backend.calls == 1
