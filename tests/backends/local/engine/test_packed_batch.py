"""Sequences in a packed batch get the logits that they get alone, for models of several architectures."""

import pytest
from tiny_models import ARCHITECTURES, assert_same_logits_as_alone, tiny

from rewardanything_core.backends.local.compatibility import check_compatibility
from rewardanything_core.backends.local.engine import model_runner
from rewardanything_core.backends.local.engine.attention import AttentionParams
from rewardanything_core.backends.local.engine.kv_cache import KVCachePool
from rewardanything_core.backends.local.engine.packed_batch import PackedBatch, ScheduledChunk, _grouped


def run_in_steps(model, patterns, sequences, steps, *, gpu=True):
    """The logits after the last token of each sequence; ``steps`` are the numbers of tokens added to each."""
    import torch

    pool = KVCachePool()
    slots = [pool.allocate(ids, len(ids), None, 0) for ids in sequences]
    computed = [0] * len(sequences)
    with torch.inference_mode():
        for sizes in steps:
            chunks = [
                ScheduledChunk(slot, start, ids[start : start + size], ids)
                for slot, ids, start, size in zip(slots, sequences, computed, sizes, strict=True)
            ]
            for chunk in chunks:
                chunk.slot.cache.reserve(chunk.start + len(chunk.token_ids))
            batch = PackedBatch(chunks, patterns, gpu=gpu)
            logits = model_runner.run(model, batch, batch.last_indices)
            computed = [
                min(start + size, len(ids)) for start, size, ids in zip(computed, sizes, sequences, strict=True)
            ]
    assert computed == [len(ids) for ids in sequences]
    return logits


@pytest.mark.parametrize(("architecture", "options"), ARCHITECTURES)
def test_logits_in_a_batch_equal_those_alone(architecture, options):
    model = tiny(architecture, **options)
    patterns = check_compatibility(model, architecture)
    sequences = [[(i * j * 7 + i) % 300 + 3 for j in range(1, 30 + 9 * i)] for i in range(1, 4)]
    steps = [(20, 1, 3), (1, 30, 1), (1, 1, 40), (40, 40, 40)]
    for gpu in (False, True):
        assert_same_logits_as_alone(model, sequences, run_in_steps(model, patterns, sequences, steps, gpu=gpu))


@pytest.mark.parametrize(("architecture", "options"), ARCHITECTURES)
def test_sequences_with_a_common_prefix_attend_to_it_together(architecture, options, monkeypatch):
    calls = []
    original = AttentionParams.shared_prefix_attention

    def observed(params, query, keys, values, mask, shared):
        calls.append(shared)
        return original(params, query, keys, values, mask, shared)

    monkeypatch.setattr(AttentionParams, "shared_prefix_attention", observed)
    model = tiny(architecture, **options)
    prefix = [(j * 11) % 300 + 3 for j in range(90)]
    sequences = [prefix + tail for tail in ([4, 5, 6, 7], [4, 5, 9, 10, 11, 12], [8, *range(50, 65)])]
    patterns = check_compatibility(model, architecture)
    logits = run_in_steps(model, patterns, sequences, [(91, 92, 90), (1, 1, 2), (2, 3, 14)])
    assert set(calls) == {90}
    assert len(calls) == 2 * model.config.num_hidden_layers
    assert_same_logits_as_alone(model, sequences, logits)


def test_sequences_alone_or_without_a_common_prefix_attend_separately(monkeypatch):
    monkeypatch.setattr(AttentionParams, "shared_prefix_attention", None)
    model = tiny("llama")
    patterns = check_compatibility(model, "llama")
    prefix = [(j * 11) % 300 + 3 for j in range(90)]
    for sequences in ([[*prefix, 1, 2]], [[*prefix, 1, 2], [3, *prefix, 2]]):
        logits = run_in_steps(model, patterns, sequences, [[91] * len(sequences), [5] * len(sequences)])
        assert_same_logits_as_alone(model, sequences, logits)


def test_a_large_chunk_does_not_pad_the_small_ones():
    pool = KVCachePool()
    chunks = [ScheduledChunk(pool.allocate([], 300, None, 0), 60, [5] * size) for size in [1] * 6 + [16, 200]]
    sizes = [[len(chunk.token_ids) for chunk in group] for group in _grouped(chunks, 100)]
    assert sizes == [[1] * 6, [16], [200]]
    one_operation = _grouped(chunks, 10**9)  # where another operation costs more than any padding
    assert [len(chunk.token_ids) for chunk in one_operation[0]] == [1] * 6 + [16, 200]
