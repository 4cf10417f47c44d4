"""Check, when a model is loaded, that the engine can run it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.local.engine import model_runner
from rewardanything_core.backends.local.engine.attention import AttentionPattern, attention_patterns
from rewardanything_core.backends.local.engine.kv_cache import KVCachePool
from rewardanything_core.backends.local.engine.packed_batch import PackedBatch, ScheduledChunk
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    import torch

_MIN_CORRELATION = 0.98
"""Correlation of logits that counts as equal; rounding, also of 4-bit weights, stays above it."""

_ALTERNATIVE = "Serve the model with vLLM or transformers and use from_endpoint(..., api_base=...)."


def check_compatibility(model: Any, name: str) -> list[AttentionPattern]:
    """Check that a model gives the same logits in a packed batch as alone.

    The engine depends on transformers' attention interface, which a model with custom code may ignore, and on each
    layer's attention pattern, which a configuration may describe in a way unknown to us. Both would give wrong replies
    without an error, so two sequences are run in a packed batch and compared with one of them alone.

    Args:
        model: A Hugging Face causal language model.
        name: The model's name, for messages.

    Returns:
        The attention pattern of each layer.

    Raises:
        ConfigError: the engine cannot run the model.
    """
    patterns = attention_patterns(model.config)
    if patterns is None:
        raise ConfigError(
            f"{name} has layers with a recurrent state instead of keys and values, which the local engine cannot "
            f"batch. {_ALTERNATIVE}"
        )
    try:
        is_attention_used, is_equal = _compare(model, patterns)
    except Exception as error:  # a model with custom code may raise anything
        raise ConfigError(
            f"{name} fails on several sequences in one batch ({type(error).__name__}: {error}). {_ALTERNATIVE}"
        ) from error
    if not is_attention_used:
        raise ConfigError(
            f"{name} has a custom attention implementation, which the local engine cannot batch. {_ALTERNATIVE}"
        )
    if not is_equal:
        raise ConfigError(f"{name} gives different logits in a batch than alone. {_ALTERNATIVE}")
    return patterns


class _ObservedBatch(PackedBatch):
    """Records whether the model calls it."""

    was_called = False

    def attend(self, *args: Any) -> torch.Tensor:
        self.was_called = True
        return super().attend(*args)


def _compare(model: Any, patterns: Sequence[AttentionPattern]) -> tuple[bool, bool]:
    """Whether the model calls our attention function, and whether it then gives the logits that it gives alone."""
    import torch

    vocabulary = min(1000, model.config.get_text_config().vocab_size)
    ids = [i * 37 % vocabulary for i in range(3, 10)]
    with torch.inference_mode():
        alone = model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0, -1]
        pool = KVCachePool()
        slot = pool.allocate(ids, len(ids), None, 0)
        other = pool.allocate(ids[::-1], len(ids), None, 0)
        slot.cache.reserve(len(ids))
        for chunks in (
            [ScheduledChunk(slot, 0, ids[:-2]), ScheduledChunk(other, 0, ids[:2:-1])],
            [ScheduledChunk(slot, len(ids) - 2, ids[-2:]), ScheduledChunk(other, 4, ids[2:3])],
        ):
            batch = _ObservedBatch(chunks, patterns, gpu=model.device.type != "cpu")
            batched = model_runner.run(model, batch, batch.last_indices[:1])[0]
    return batch.was_called, _correlation(alone, batched) > _MIN_CORRELATION


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.float() - a.float().mean(), b.float() - b.float().mean()
    return float((a @ b) / (a.norm() * b.norm()).clamp_min(1e-9))
