"""One forward pass over tokens of many sequences, packed into one input without padding.

The tokens that a step adds to its sequences (one while decoding, several for a literal, a part of a prompt) are
concatenated as if they were a single sequence. Everything that treats tokens independently, which is nearly all of the
work, runs over that input. Only attention has to know which token belongs to which sequence: the model gets an
attention function of ours (see `model_runner`) that calls `PackedBatch.attend`, which writes the new keys and values
into the sequences' slots and lets every token attend to its own slot.

How attention is grouped. torch's attention works on rectangles, so the sequences of a cache are divided into groups,
each one operation over a rectangle of slots by new tokens by columns. Padding inside a rectangle costs query-key pairs
that are computed and masked; another rectangle costs a fixed overhead. `_grouped` weighs the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rewardanything_core.backends.local.engine.attention import (
    AttentionParams,
    AttentionPattern,
    additive_mask,
    kernel_overhead,
)
from rewardanything_core.backends.local.engine.kv_cache import CacheSlot, KVCache, common_prefix_length

if TYPE_CHECKING:
    import torch

_MAX_FOLDED_QUERIES = 16
"""New tokens per sequence up to which query heads are folded (see `AttentionParams.attend`). Not swept."""

_MIN_SHARED_COLUMNS = 64
"""Columns that all sequences of a group must share for `AttentionParams.shared_prefix_attention`. Not swept."""


@dataclass(frozen=True)
class ScheduledChunk:
    """The tokens that a step adds to one sequence."""

    slot: CacheSlot
    """The sequence's slot in the KV cache."""

    start: int
    """Position of the first token, which is also its column in the slot."""

    token_ids: Sequence[int]
    """The tokens."""

    sequence_ids: Sequence[int] = ()
    """All decided tokens of the sequence; used to find prefixes that sequences share. Empty: it shares none."""


class PackedBatch:
    """The tokens of a step in one input, and how they attend.

    Args:
        chunks: What is added to each sequence, one chunk per sequence.
        patterns: Attention pattern of each layer.
        gpu: Whether the model runs on a GPU.
    """

    def __init__(self, chunks: Sequence[ScheduledChunk], patterns: Sequence[AttentionPattern], *, gpu: bool) -> None:
        self._patterns = patterns
        self.token_ids: list[int] = []
        """The tokens of all chunks, chunks of one cache and one group next to each other."""
        self.positions: list[int] = []
        """The position of each token in its own sequence."""
        self._groups: list[tuple[KVCache, list[AttentionGroup]]] = []
        last_index: dict[int, int] = {}
        by_cache: dict[KVCache, list[ScheduledChunk]] = {}
        for chunk in chunks:
            by_cache.setdefault(chunk.slot.cache, []).append(chunk)
        for cache, cache_chunks in by_cache.items():
            groups = []
            for members in _grouped(cache_chunks, kernel_overhead(gpu=gpu)):
                offsets = []
                for chunk in members:
                    offsets.append(len(self.token_ids))
                    self.token_ids += chunk.token_ids
                    self.positions += range(chunk.start, chunk.start + len(chunk.token_ids))
                    last_index[id(chunk)] = len(self.token_ids) - 1
                groups.append(AttentionGroup(members, offsets))
            self._groups.append((cache, groups))
        self.last_indices = [last_index[id(chunk)] for chunk in chunks]
        """Index in the input of the last token of each chunk, in the order of the given chunks."""
        self._placements: dict[torch.device, list[tuple[slice, torch.Tensor, torch.Tensor]]] = {}

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, params: AttentionParams
    ) -> torch.Tensor:
        """Attention of one layer, for all tokens of the input.

        Args:
            layer: Index of the layer.
            query: (1, query heads, tokens, head size).
            key: (1, key-value heads, tokens, head size).
            value: (1, key-value heads, tokens, head size).
            params: What the layer passed.

        Returns:
            (1, tokens, query heads, head size).
        """
        queries, keys, values = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
        output = queries.new_empty((len(self.token_ids), queries.shape[1], values.shape[2]))
        pattern = self._patterns[layer]
        placements = self._placements_on(query.device)
        for (cache, groups), (span, slots, columns) in zip(self._groups, placements, strict=True):
            cached = cache.write(layer, keys[span], values[span], slots, columns)
            for group in groups:
                output[group.span] = group.attend(queries[group.span], cached, pattern, params)
        return output[None]

    def _placements_on(self, device: torch.device) -> list[tuple[slice, torch.Tensor, torch.Tensor]]:
        """For each cache: its span of the input, and slot and column of each token, copied once per device."""
        import torch

        if device not in self._placements:
            self._placements[device] = []
            for _, groups in self._groups:
                chunks = [chunk for group in groups for chunk in group.chunks]
                slots = [chunk.slot.index for chunk in chunks for _ in chunk.token_ids]
                columns = [chunk.start + i for chunk in chunks for i in range(len(chunk.token_ids))]
                both = torch.tensor([slots, columns], device=device)
                span = slice(groups[0].span.start, groups[-1].span.stop)
                self._placements[device].append((span, both[0], both[1]))
        return self._placements[device]


class AttentionGroup:
    """Chunks of one cache that attend in one operation, over all slots from the first to the last of theirs.

    Args:
        chunks: The chunks, by slot index.
        offsets: Where the tokens of each chunk begin in the packed input.
    """

    def __init__(self, chunks: list[ScheduledChunk], offsets: list[int]) -> None:
        self.chunks = chunks
        self.span = slice(offsets[0], offsets[-1] + len(chunks[-1].token_ids))
        """The tokens of the group in the packed input."""
        self._first_slot = chunks[0].slot.index
        self._num_slots = chunks[-1].slot.index - self._first_slot + 1
        self._num_queries = max(len(chunk.token_ids) for chunk in chunks)
        self._num_columns = max(chunk.start + len(chunk.token_ids) for chunk in chunks)
        self._masks: dict[tuple[AttentionPattern, torch.device, torch.dtype], torch.Tensor] = {}
        self._scatter_indices: dict[torch.device, torch.Tensor] = {}

    def attend(
        self,
        query: torch.Tensor,
        cached: list[torch.Tensor],
        pattern: AttentionPattern,
        params: AttentionParams,
    ) -> torch.Tensor:
        """Attention of one layer, for the group's tokens.

        Args:
            query: (tokens, query heads, head size).
            cached: Keys and values of the whole cache, (slots, key-value heads, columns, head size) each.
            pattern: The layer's attention pattern.
            params: What the layer passed.

        Returns:
            (tokens, query heads, head size).
        """
        first, slots, queries = self._first_slot, self._num_slots, self._num_queries
        keys, values = (tensor[first : first + slots, :, : self._num_columns] for tensor in cached)
        mask = self._mask(pattern, query)
        tokens, heads, head_size = query.shape
        is_rectangle = tokens == slots * queries  # the usual case while decoding: nothing to scatter
        if not is_rectangle:
            indices = self._scatter_on(query.device)
            query = query.new_zeros((slots * queries, heads, head_size)).index_copy_(0, indices, query)
        query = query.reshape(slots, queries, heads, head_size).transpose(1, 2)
        if self.num_shared_columns >= _MIN_SHARED_COLUMNS:
            output = params.shared_prefix_attention(query, keys, values, mask, self.num_shared_columns)
        else:
            output = params.attend(query, keys, values, mask, fold_heads=queries <= _MAX_FOLDED_QUERIES)
        output = output.transpose(1, 2).reshape(slots * queries, heads, values.shape[3])
        return output if is_rectangle else output[indices]

    @cached_property
    def num_shared_columns(self) -> int:
        """Leading columns that all of the group's sequences share and have computed; 0 for a single sequence."""
        first, *others = self.chunks
        if not others:
            return 0
        computed = min(chunk.start for chunk in self.chunks)
        return min(computed, *(common_prefix_length(first.sequence_ids, other.sequence_ids) for other in others))

    def _scatter_on(self, device: torch.device) -> torch.Tensor:
        """(tokens,) index of each token in the rectangle of slots by queries."""
        import torch

        if device not in self._scatter_indices:
            self._scatter_indices[device] = torch.tensor(
                [
                    (chunk.slot.index - self._first_slot) * self._num_queries + i
                    for chunk in self.chunks
                    for i in range(len(chunk.token_ids))
                ],
                device=device,
            )
        return self._scatter_indices[device]

    def _mask(self, pattern: AttentionPattern, like: torch.Tensor) -> torch.Tensor:
        """(slots, 1, queries, columns) to add to the logits; computed once for all layers of a pattern."""
        import torch

        key = (pattern, like.device, like.dtype)
        if key not in self._masks:
            positions = torch.full((self._num_slots, self._num_queries), -1)
            for chunk in self.chunks:
                size = len(chunk.token_ids)
                positions[chunk.slot.index - self._first_slot, :size] = torch.arange(chunk.start, chunk.start + size)
            columns = torch.arange(self._num_columns, device=like.device)
            visible = pattern.visible(columns, positions.to(like.device)[:, None, :, None])
            self._masks[key] = additive_mask(visible, like)
        return self._masks[key]


def _grouped(chunks: Sequence[ScheduledChunk], overhead: int) -> list[list[ScheduledChunk]]:
    """Divide the chunks of one cache into attention groups at the lowest cost in query-key pairs.

    The chunks with the fewest tokens form one rectangle, and each of the others is a group by itself: while most
    sequences decode one token, a single one with a long literal or a piece of a prompt must not pad all others to its
    size. Every split by size is tried, which is cheap and enough in practice.

    Args:
        chunks: The chunks.
        overhead: What one more operation costs, in pairs.

    Returns:
        The groups, the chunks of each by slot index.
    """
    ordered = sorted(chunks, key=lambda chunk: len(chunk.token_ids))
    costs = {}
    for count in range(1, len(ordered) + 1):
        if count < len(ordered) and len(ordered[count].token_ids) == len(ordered[count - 1].token_ids):
            continue  # chunks of one size are never separated
        inside, outside = ordered[:count], ordered[count:]
        slots = [chunk.slot.index for chunk in inside]
        num_columns = max(chunk.start + len(chunk.token_ids) for chunk in inside)
        rectangle = (max(slots) - min(slots) + 1) * len(inside[-1].token_ids) * num_columns
        single = sum(len(chunk.token_ids) * (chunk.start + len(chunk.token_ids)) + overhead for chunk in outside)
        costs[count] = rectangle + single
    count = min(costs, key=lambda each: costs[each])
    return [sorted(ordered[:count], key=lambda chunk: chunk.slot.index), *([chunk] for chunk in ordered[count:])]
