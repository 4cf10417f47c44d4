"""Sequences of tokens with their common prefixes merged, so that each prefix goes through the model once.

The tree is a packed input of tokens in depth-first order, with the positions that they have in each sequence alone. A
token attends to the tokens on its path to the root and to nothing else. Nothing is cached between passes.

Attention is computed for one block of the input at a time, each over the tokens that any of the block's tokens attends
to. One mask over the whole tree would be simpler, and would let every branch pay for the tokens of all others: blocks
made option scoring 1.17 times as fast (benchmarks/throughput_local.py, ``logits``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewardanything_core.backends.local.engine.attention import (
    AttentionParams,
    AttentionPattern,
    additive_mask,
    kernel_overhead,
)
from rewardanything_core.backends.local.engine.kv_cache import common_prefix_length

if TYPE_CHECKING:
    import torch

_MAX_SEGMENT_TOKENS = 256
"""Longer segments are cut: the first tokens of a long one would compute and mask pairs with all of its later tokens.
Not swept."""


@dataclass(frozen=True)
class Segment:
    """A run of tokens of one sequence, next to each other in the input."""

    start: int
    """Index in the input of the first token."""

    end: int
    """Index in the input after the last token."""

    path: Sequence[int]
    """Index in the input of every token that the last token attends to under full attention, by position."""

    first_position: int
    """Position of the first token."""


class PrefixTree:
    """A prefix tree as input of a forward pass.

    Args:
        sequences: Token ids of each sequence, sorted, so that those with a common prefix are neighbours.
        patterns: Attention pattern of each layer.
        gpu: Whether the model runs on a GPU.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], patterns: Sequence[AttentionPattern], *, gpu: bool) -> None:
        self._patterns = patterns
        self.token_ids: list[int] = []
        """The tokens of the tree, depth first."""
        self.positions: list[int] = []
        """The position of each token in its sequences."""
        self.last_indices: list[int] = []
        """Index in the input of the last token of each sequence."""
        self._blocks: list[QueryBlock] = []
        overhead = kernel_overhead(gpu=gpu)
        path: list[int] = []
        previous: Sequence[int] = []
        for ids in sequences:
            shared = common_prefix_length(previous, ids)
            start = len(self.token_ids)
            self.token_ids += ids[shared:]
            self.positions += range(shared, len(ids))
            path = [*path[:shared], *range(start, len(self.token_ids))]
            self.last_indices.append(path[-1])
            for first in range(shared, len(ids), _MAX_SEGMENT_TOKENS):
                end = min(first + _MAX_SEGMENT_TOKENS, len(ids))
                self._add(Segment(path[first], path[end - 1] + 1, path[:end], first), overhead)
            previous = ids

    def _add(self, segment: Segment, overhead: int) -> None:
        """Extend the last block by a segment, or start a new one where that costs fewer query-key pairs."""
        new = QueryBlock()
        new.add(segment)
        last = self._blocks[-1] if self._blocks else None
        if last is not None and last.num_pairs_with(segment) <= last.num_pairs + new.num_pairs + overhead:
            last.add(segment)
        else:
            self._blocks.append(new)

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, params: AttentionParams
    ) -> torch.Tensor:
        """Attention of one layer, for all tokens of the tree.

        Args:
            layer: Index of the layer.
            query: (1, query heads, tokens, head size).
            key: (1, key-value heads, tokens, head size).
            value: (1, key-value heads, tokens, head size).
            params: What the layer passed.

        Returns:
            (1, tokens, query heads, head size).
        """
        output = query.new_empty((1, len(self.token_ids), query.shape[1], value.shape[3]))
        for block in self._blocks:
            keys = block.keys_on(key.device)
            block_output = params.attend(
                query[:, :, block.span],
                key[:, :, keys],
                value[:, :, keys],
                block.mask(self._patterns[layer], query),
                fold_heads=False,
            )
            output[:, block.span] = block_output.transpose(1, 2)
        return output


class QueryBlock:
    """Neighbouring segments whose tokens attend in one operation."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._keys: dict[int, None] = {}  # in order of their first use
        self._key_indices: dict[torch.device, torch.Tensor] = {}
        self._masks: dict[tuple[AttentionPattern, torch.device, torch.dtype], torch.Tensor] = {}

    def add(self, segment: Segment) -> None:
        """Append the segment that follows in the input."""
        self._segments.append(segment)
        self._keys.update(dict.fromkeys(segment.path))

    @property
    def span(self) -> slice:
        """Its tokens in the input."""
        return slice(self._segments[0].start, self._segments[-1].end)

    @property
    def num_pairs(self) -> int:
        """Query-key pairs that attention computes for the block."""
        return (self._segments[-1].end - self._segments[0].start) * len(self._keys)

    def num_pairs_with(self, segment: Segment) -> int:
        """Query-key pairs with one more segment."""
        new_keys = sum(key not in self._keys for key in segment.path)
        return (segment.end - self._segments[0].start) * (len(self._keys) + new_keys)

    def keys_on(self, device: torch.device) -> torch.Tensor:
        """(keys,) index in the input of each token that any of the block's tokens attends to."""
        import torch

        if device not in self._key_indices:
            self._key_indices[device] = torch.tensor(list(self._keys), device=device)
        return self._key_indices[device]

    def mask(self, pattern: AttentionPattern, like: torch.Tensor) -> torch.Tensor:
        """The block's mask, computed once for all layers of a pattern.

        Args:
            pattern: The layer's attention pattern.
            like: Tensor whose dtype and device the mask gets.

        Returns:
            (1, 1, queries, keys) to add to the logits.
        """
        import torch

        cache_key = (pattern, like.device, like.dtype)
        if cache_key not in self._masks:
            columns = {key: column for column, key in enumerate(self._keys)}
            visible = torch.zeros((self.span.stop - self.span.start, len(self._keys)), dtype=torch.bool)
            for segment in self._segments:
                positions = torch.arange(segment.first_position, segment.first_position + segment.end - segment.start)
                rows = slice(segment.start - self.span.start, segment.end - self.span.start)
                path_columns = torch.tensor([columns[key] for key in segment.path])
                visible[rows, path_columns] = pattern.visible(torch.arange(len(segment.path)), positions[:, None])
            self._masks[cache_key] = additive_mask(visible, like)[None, None]
        return self._masks[cache_key]
