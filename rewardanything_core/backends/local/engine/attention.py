"""Attention over the engine's KV cache: the arithmetic, the masks, and which positions each layer attends to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class AttentionParams:
    """What a model's attention layer passes to its attention function in addition to queries, keys and values."""

    scaling: float | None
    """Factor on the products of queries and keys. None: 1 / sqrt(head size)."""

    softcap: float | None
    """Bound of the scaled products, applied as ``softcap * tanh(product / softcap)`` (Gemma 2). None: no bound."""

    sinks: torch.Tensor | None
    """(query heads,) logits of the attention sinks (gpt-oss). None: no sinks."""

    def attend(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, *, fold_heads: bool
    ) -> torch.Tensor:
        """Grouped-query attention with an explicit mask.

        Args:
            query: (batch, query heads, queries, head size).
            keys: (batch, key-value heads, keys, head size).
            values: (batch, key-value heads, keys, head size).
            mask: (batch, 1, queries, keys), added to the scaled products.
            fold_heads: Lay the query heads that share a key-value head one after the other, as if they were more
                queries of one head. For few queries this is cheaper than repeating the keys for each query head.

        Returns:
            (batch, query heads, queries, head size).
        """
        import torch

        batch, heads, queries, head_size = query.shape
        heads_per_key = heads // keys.shape[1]
        fused = self.softcap is None and self.sinks is None  # torch's fused kernel supports neither
        if fused and not fold_heads:
            return torch.nn.functional.scaled_dot_product_attention(
                query, keys, values, attn_mask=mask, scale=self.scaling, enable_gqa=heads_per_key > 1
            )
        query = query.reshape(batch, -1, heads_per_key * queries, head_size)
        mask = mask.repeat(1, 1, heads_per_key, 1)
        if fused:
            output = torch.nn.functional.scaled_dot_product_attention(
                query, keys, values, attn_mask=mask, scale=self.scaling
            )
        else:
            products = query @ keys.transpose(-1, -2)
            output = self._weights(products, mask, heads_per_key, head_size).to(values.dtype) @ values
        return output.reshape(batch, heads, queries, -1)

    def shared_prefix_attention(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, shared: int
    ) -> torch.Tensor:
        """`attend` with folded heads, for sequences whose caches begin with the same keys and values.

        The shared columns are read from memory once, from the first sequence, in one matrix product for the queries of
        all sequences. The idea is that of Hydragen (Juravsky et al., 2024). Hydragen combines two partial softmaxes;
        here all products go through one softmax, which needs no correction terms and supports softcap and sinks.

        Args:
            query: (batch, query heads, queries, head size).
            keys: (batch, key-value heads, keys, head size).
            values: (batch, key-value heads, keys, head size).
            mask: (batch, 1, queries, keys), added to the scaled products.
            shared: Number of leading keys that are equal for the whole batch, 1..keys.

        Returns:
            (batch, query heads, queries, head size).
        """
        import torch

        batch, heads, queries, head_size = query.shape
        key_heads = keys.shape[1]
        heads_per_key = heads // key_heads

        def merge_batch(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.transpose(0, 1).reshape(key_heads, batch * heads_per_key * queries, -1)

        def split_batch(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.view(key_heads, batch, heads_per_key * queries, -1).transpose(0, 1)

        query = query.reshape(batch, key_heads, heads_per_key * queries, head_size)
        prefix = split_batch(merge_batch(query) @ keys[0, :, :shared].transpose(-1, -2))
        suffix = query @ keys[:, :, shared:].transpose(-1, -2)
        products = torch.cat([prefix, suffix], dim=-1)
        weights = self._weights(products, mask.repeat(1, 1, heads_per_key, 1), heads_per_key, head_size)
        weights = weights.to(values.dtype)
        output = weights[..., shared:] @ values[:, :, shared:]
        output = output + split_batch(merge_batch(weights[..., :shared]) @ values[0, :, :shared])
        return output.reshape(batch, heads, queries, -1)

    def _weights(self, products: torch.Tensor, mask: torch.Tensor, heads_per_key: int, head_size: int) -> torch.Tensor:
        """Attention weights in float32.

        Args:
            products: (batch, key-value heads, folded queries, keys), queries times keys.
            mask: (batch, 1, folded queries, keys).
            heads_per_key: Query heads that share a key-value head.
            head_size: Elements of a query.
        """
        import torch

        logits = products.float() * (head_size**-0.5 if self.scaling is None else self.scaling)
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        logits = logits + mask
        if self.sinks is None:
            return torch.softmax(logits, dim=-1)
        batch, key_heads, folded, _ = logits.shape
        sinks = self.sinks.float().view(1, key_heads, heads_per_key, 1).expand(batch, -1, -1, folded // heads_per_key)
        # A sink takes part in the softmax as one more key, and contributes no value.
        logits = torch.cat([logits, sinks.reshape(batch, key_heads, folded, 1)], dim=-1)
        return torch.softmax(logits, dim=-1)[..., :-1]


def additive_mask(visible: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A mask to add to attention logits.

    Args:
        visible: Boolean, any shape: whether the query attends to the key.
        like: Tensor whose dtype and device the mask gets.

    Returns:
        The shape of ``visible``: 0 where it is true, the dtype's lowest finite number elsewhere. It is finite because a
        query without any visible key (padding) must not become NaN.
    """
    import torch

    mask = torch.zeros(visible.shape, dtype=like.dtype, device=visible.device)
    return mask.masked_fill(~visible, torch.finfo(like.dtype).min).to(like.device)


def kernel_overhead(*, gpu: bool) -> int:
    """Fixed cost of one attention operation, in query-key pairs that could be computed in the same time.

    Both `packed_batch` and `prefix_tree` weigh it against the pairs that they would compute and mask. Orders of
    magnitude, not swept: benchmarks/throughput_local.py measured the engine with the value for CPUs, and nothing was
    measured with the one for GPUs.
    """
    return 500_000 if gpu else 2_000


@dataclass(frozen=True)
class AttentionPattern:
    """Which earlier positions the tokens of a layer attend to."""

    kind: str
    """``full_attention``, ``sliding_attention`` or ``chunked_attention``."""

    size: int = 0
    """Length of the window or chunk in tokens; 0 for full attention."""

    def visible(self, key_position: torch.Tensor, query_position: torch.Tensor) -> torch.Tensor:
        """Whether a token attends to another of the same sequence.

        Args:
            key_position: Position of the token attended to, from 0.
            query_position: Position of the attending token, from 0; -1 for padding, which attends to nothing.

        Returns:
            Boolean, in the shape that both positions broadcast to.
        """
        visible = key_position <= query_position
        if self.kind == "sliding_attention":
            visible &= key_position > query_position - self.size
        elif self.kind == "chunked_attention":
            visible &= key_position >= query_position // self.size * self.size
        return visible


def attention_patterns(config: Any) -> list[AttentionPattern] | None:
    """The pattern of each layer, from a model's configuration.

    Returns:
        One pattern per layer. None: some layers keep a recurrent state in place of keys and values.
    """
    from transformers.cache_utils import get_layer_types_and_kwargs

    patterns = []
    layer_types, options = get_layer_types_and_kwargs(config.get_text_config(decoder=True))
    # Before transformers 5.20 there was one dictionary of options for all layers.
    options_per_layer = [options] * len(layer_types) if isinstance(options, dict) else options
    for layer_type, layer_options in zip(layer_types, options_per_layer, strict=True):
        if layer_type in ("full_attention", "dummy"):
            patterns.append(AttentionPattern("full_attention"))
        elif layer_type in ("sliding_attention", "chunked_attention"):
            patterns.append(AttentionPattern(layer_type, int(layer_options["sliding_window"])))
        else:
            return None
    return patterns
