"""Slots of the KV cache: prefix reuse, buckets, and the bound on what is retained."""

import pytest
import torch

from rewardanything_core.backends.local.engine.kv_cache import KVCachePool, common_prefix_length


@pytest.mark.parametrize(
    ("a", "b", "length"),
    [([], [1], 0), ([1], [1], 1), ([1, 2, 3], [1, 2, 4, 5], 2), ([2], [1], 0), ([1] * 9, [1] * 20, 9)],
)
def test_the_common_prefix_is_found_in_either_order(a, b, length):
    assert common_prefix_length(a, b) == common_prefix_length(b, a) == length


def test_a_free_slot_with_the_prefix_is_taken_over_and_lengths_have_buckets_of_their_own():
    pool = KVCachePool()
    first = pool.allocate([1, 2, 3], 20, None, 0)
    second = pool.allocate([1, 2, 9], 20, first, 2)
    assert second is not first  # it is in use
    assert second.cache is first.cache
    pool.free(first, [1, 2, 3])
    assert pool.allocate([1, 2, 7], 20, first, 2) is first
    assert first.token_ids == [1, 2]
    assert pool.allocate([5], 5000, None, 0).cache is not first.cache


def test_a_prefix_is_copied_from_a_slot_in_use_and_from_another_bucket():
    pool = KVCachePool()
    source = pool.allocate([1, 2, 3], 20, None, 0)
    source.cache.reserve(3)
    keys = torch.arange(12.0).view(3, 2, 2)
    source.cache.write(0, keys, -keys, torch.tensor([source.index] * 3), torch.arange(3))
    for max_length in (20, 5000):
        copy = pool.allocate([1, 2, 9], max_length, source, 2)
        assert (copy is not source, copy.token_ids) == (True, [1, 2])
        written = copy.cache.write(0, keys[:0], keys[:0], torch.tensor([], dtype=int), torch.tensor([], dtype=int))
        for stored, original in zip(written, (keys, -keys), strict=True):
            assert torch.equal(stored[copy.index, :, :2], original[:2].transpose(0, 1))
            assert not stored[copy.index, :, 2:].any()


def test_caches_without_a_sequence_are_freed_above_the_bound():
    pool = KVCachePool(max_tokens=1000)
    long = pool.allocate([1] * 900, 900, None, 0)
    long.cache.reserve(900)
    short = pool.allocate([2], 10, None, 0)
    assert {long, short} <= set(pool)
    pool.free(long, [1] * 900)
    reused = pool.allocate([1, 3], 10, long, 1)
    assert set(pool) == {short, reused}
    assert reused.token_ids == [1]


def test_releasing_unused_memory_keeps_the_longest_prefix():
    pool = KVCachePool()
    for ids in ([1, 2], [1, 2, 3, 4], [5]):
        pool.free(pool.allocate(ids, len(ids), None, 0), ids)
    assert len(list(pool)) == 1  # each took over the only free slot
    slots = [pool.allocate(ids, len(ids), None, 0) for ids in ([1, 2], [1, 2, 3, 4], [5])]
    for slot, ids in zip(slots, ([1, 2], [1, 2, 3, 4], [5]), strict=True):
        pool.free(slot, ids)
    pool.release_unused()
    assert [(slot.token_ids, slot.in_use) for slot in pool] == [([1, 2, 3, 4], False)]
