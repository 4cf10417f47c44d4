"""The KV cache: where sequences keep their keys and values, and how later sequences reuse them.

Layout. A `KVCache` holds one tensor of keys and one of values per layer, (slots, heads, columns, head size). A sequence
occupies one slot and fills its columns from the left without gaps, column = position. Discarded tokens are simply
overwritten by what follows. Caches are bucketed by the length of their sequences, in powers of two, because attention
reads a rectangle of slots by columns: one long sequence must not make short ones read its columns.

Contiguous slots instead of pages: torch's attention takes a view of a contiguous tensor and needs no custom kernel,
which keeps the engine portable to CPUs and to Apple's GPUs.

Reuse. A freed slot keeps its keys and values until a new sequence takes it. A new sequence looks for the slot, free or
in use, that shares the longest prefix of tokens with it. It takes that slot over if it is free and in the right
bucket, and copies the prefix otherwise. So the parts that prompts have in common (the judging instructions, the
principle, the text before the responses) go through the model once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_GROWTH_COLUMNS = 128
"""Columns are allocated in multiples of this many, so that a growing sequence seldom causes a reallocation. Not
swept."""

_SHORTEST_BUCKET = 512
"""Columns. Sequences that need fewer share one bucket; smaller ones would only spread the slots over more kernels.
Not swept."""


@dataclass(eq=False)
class CacheSlot:
    """Room for the keys and values of one sequence."""

    cache: KVCache
    """The cache that it belongs to."""

    index: int
    """Its index in the first dimension of that cache's tensors."""

    token_ids: list[int] = field(default_factory=list)
    """The tokens whose keys and values it holds. Maintained only while the slot is free."""

    in_use: bool = False
    """Whether a sequence occupies it."""


class KVCache:
    """Slots for sequences of about the same length.

    Args:
        max_length: The bucket: the number of columns that its sequences are expected to need at most.
    """

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.slots: list[CacheSlot] = []
        self._num_slots = self._num_columns = 0
        self._layers: dict[int, list[torch.Tensor]] = {}

    @property
    def size(self) -> int:
        """Slots times columns, in tokens."""
        return self._num_slots * self._num_columns

    @property
    def in_use(self) -> bool:
        """Whether a sequence occupies any of the slots."""
        return any(slot.in_use for slot in self.slots)

    def take_slot(self) -> CacheSlot:
        """A free slot: an empty one if there is one, else the first with reusable contents, else a new one.

        The number of slots at least doubles when it grows, since growing copies the cache.
        """
        free = [slot for slot in self.slots if not slot.in_use]
        if free:
            return min(free, key=lambda slot: (len(slot.token_ids) > 0, slot.index))
        self.slots.append(CacheSlot(self, len(self.slots)))
        if len(self.slots) > self._num_slots:
            self._resize(max(len(self.slots), 2 * self._num_slots), self._num_columns)
        return self.slots[-1]

    def reserve(self, num_columns: int) -> None:
        """Grow to at least this many columns.

        Columns double up to the bucket's length and are then added in small steps: replies seldom need all of the
        tokens that they are allowed, so the full length is not allocated in advance.
        """
        if num_columns > self._num_columns:
            wanted = max(num_columns, min(2 * self._num_columns, self.max_length))
            self._resize(self._num_slots, -(-wanted // _GROWTH_COLUMNS) * _GROWTH_COLUMNS)

    def write(
        self, layer: int, keys: torch.Tensor, values: torch.Tensor, slots: torch.Tensor, columns: torch.Tensor
    ) -> list[torch.Tensor]:
        """Store the keys and values of new tokens.

        Args:
            layer: Index of the model's layer.
            keys: (tokens, heads, head size).
            values: (tokens, heads, head size).
            slots: (tokens,) slot index of each token.
            columns: (tokens,) position of each token.

        Returns:
            All keys and all values of the layer, (slots, heads, columns, head size) each.
        """
        layer_cache = self._layers.get(layer)
        if layer_cache is None:
            # Zeros, not empty memory: masked columns are multiplied by 0, and 0 times NaN is NaN.
            layer_cache = [
                t.new_zeros((self._num_slots, t.shape[1], self._num_columns, t.shape[2])) for t in (keys, values)
            ]
            self._layers[layer] = layer_cache
        layer_cache[0][slots, :, columns] = keys
        layer_cache[1][slots, :, columns] = values
        return layer_cache

    def copy_prefix(self, length: int, source: CacheSlot, slot_index: int) -> None:
        """Copy keys and values from a slot of this or another cache.

        Args:
            length: How many leading columns to copy.
            source: The slot to copy from.
            slot_index: The slot of this cache to copy to.
        """
        self.reserve(length)
        for layer, source_cache in source.cache._layers.items():
            if layer not in self._layers:
                self._layers[layer] = [
                    t.new_zeros((self._num_slots, t.shape[1], self._num_columns, t.shape[3])) for t in source_cache
                ]
            for target, origin in zip(self._layers[layer], source_cache, strict=True):
                target[slot_index, :, :length] = origin[source.index, :, :length]

    def _resize(self, num_slots: int, num_columns: int) -> None:
        for layer_cache in self._layers.values():
            for i, old in enumerate(layer_cache):
                layer_cache[i] = old.new_zeros((num_slots, old.shape[1], num_columns, old.shape[3]))
                layer_cache[i][: self._num_slots, :, : self._num_columns] = old
        self._num_slots, self._num_columns = num_slots, num_columns


class KVCachePool:
    """The caches of all buckets.

    Args:
        max_tokens: Slots times columns that may stay allocated for reuse. Above it, caches without a sequence are
            freed. It is a bound on what is retained and not on what running sequences need: the engine bounds that.
    """

    def __init__(self, max_tokens: int = 2**31) -> None:
        self._max_tokens = max_tokens
        self._caches: dict[int, KVCache] = {}

    def __iter__(self) -> Iterator[CacheSlot]:
        for cache in self._caches.values():
            yield from cache.slots

    def allocate(
        self, token_ids: Sequence[int], max_length: int, prefix_source: CacheSlot | None, num_cached_tokens: int
    ) -> CacheSlot:
        """A slot for a sequence, with the keys and values of its prefix already in place.

        Args:
            token_ids: The tokens of the sequence, of which at least ``num_cached_tokens``.
            max_length: The most tokens that the sequence can have; it chooses the bucket.
            prefix_source: A slot that holds the prefix. None: the sequence starts without one.
            num_cached_tokens: Length of the prefix to reuse, in tokens.
        """
        bucket = _SHORTEST_BUCKET
        while bucket < max_length:
            bucket *= 2
        cache = self._caches.setdefault(bucket, KVCache(bucket))
        if sum(each.size for each in self._caches.values()) > self._max_tokens:
            self._caches = {length: each for length, each in self._caches.items() if each is cache or each.in_use}
        if prefix_source is None or not num_cached_tokens:
            slot = cache.take_slot()
        elif prefix_source.cache is cache and not prefix_source.in_use:
            slot = prefix_source
        else:
            slot = cache.take_slot()
            cache.copy_prefix(num_cached_tokens, prefix_source, slot.index)
        slot.in_use = True
        slot.token_ids = list(token_ids[:num_cached_tokens])
        return slot

    def free(self, slot: CacheSlot, token_ids: list[int]) -> None:
        """Give a slot back, its contents available for reuse.

        Args:
            slot: The slot.
            token_ids: The tokens whose keys and values it now holds.
        """
        slot.in_use, slot.token_ids = False, token_ids

    def release_unused(self) -> None:
        """Free the memory of all slots but the longest prefix, for the next sequence to reuse.

        Call it only while no sequence occupies a slot.
        """
        longest = max(self, key=lambda slot: len(slot.token_ids), default=None)
        self._caches = {}
        if longest is not None and longest.token_ids:
            num_tokens = len(longest.token_ids)
            self.free(self.allocate(longest.token_ids, num_tokens, longest, num_tokens), longest.token_ids)


def common_prefix_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix, by bisection: slices of lists compare much faster than a Python loop.

    Args:
        a: Token ids.
        b: Token ids, of the same sequence type.
    """
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while high - low > 1:  # a[:low] agrees, a[:high] does not
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low
