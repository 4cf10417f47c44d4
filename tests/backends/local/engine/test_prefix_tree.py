"""Sequences in a prefix tree get the logits that they get alone, and branches do not pay for each other."""

import pytest
import torch
from tiny_models import ARCHITECTURES, assert_same_logits_as_alone, tiny

from rewardanything_core.backends.local.engine import model_runner, prefix_tree
from rewardanything_core.backends.local.engine.attention import AttentionPattern, attention_patterns
from rewardanything_core.backends.local.engine.prefix_tree import PrefixTree

PREFIX = [(i * 7) % 300 + 3 for i in range(30)]
SEQUENCES = sorted(
    [
        [*PREFIX, 5, 6],
        [*PREFIX, 5, 6, 7, *range(40, 60), 9],
        [*PREFIX, 5, 6, 7, *range(40, 60), 9],
        [*PREFIX[:20], *range(100, 150), 4],
        [200, 201, 202],
    ]
)
FULL = [AttentionPattern("full_attention")]


@pytest.mark.parametrize(("architecture", "options"), ARCHITECTURES)
@pytest.mark.parametrize("max_segment_tokens", [7, 256])
def test_logits_in_a_tree_equal_those_alone(architecture, options, max_segment_tokens, monkeypatch):
    monkeypatch.setattr(prefix_tree, "_MAX_SEGMENT_TOKENS", max_segment_tokens)
    monkeypatch.setattr(prefix_tree, "kernel_overhead", lambda gpu: 100)
    model = tiny(architecture, **options)
    tree = PrefixTree(SEQUENCES, attention_patterns(model.config), gpu=False)
    with torch.inference_mode():
        logits = model_runner.run(model, tree, tree.last_indices)
    assert len(tree.token_ids) == len({tuple(ids[: i + 1]) for ids in SEQUENCES for i in range(len(ids))})
    assert_same_logits_as_alone(model, SEQUENCES, logits)


def test_long_branches_attend_separately():
    branches = [[1, 2, 3, first, *range(1000)] for first in range(10, 14)]
    tree = PrefixTree(branches, FULL, gpu=False)
    assert sum(block.num_pairs for block in tree._blocks) < len(tree.token_ids) ** 2 / 5
    assert [block.span.stop for block in tree._blocks] == [
        *(block.span.start for block in tree._blocks[1:]),
        len(tree.token_ids),
    ]
    assert len(PrefixTree(branches[:1], FULL, gpu=True)._blocks) == 1


def test_short_branches_attend_in_one_operation():
    branches = [[1, 2, 3, first, *range(8)] for first in range(10, 14)]
    assert len(PrefixTree(branches, FULL, gpu=False)._blocks) == 1
