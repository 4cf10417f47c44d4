"""Forward passes over many prompts at once, merged into prefix trees.

The prompts are sorted and merged into prefix trees, and each tree goes through the model in one pass, every token as if
its prompt were alone. So a result does not depend on the other prompts beyond the rounding of the arithmetic, nothing
is padded, and a prefix that prompts share is computed once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from rewardanything_core.backends.local.engine.attention import AttentionPattern
from rewardanything_core.backends.local.engine.kv_cache import common_prefix_length
from rewardanything_core.backends.local.engine.prefix_tree import PrefixTree

_MAX_TREE_TOKENS = 2048
"""The most tokens of a tree, unless a prompt is about as long: a bound on memory. Not swept on GPUs."""

_LONG_PROMPT_FACTOR = 1.5
"""A tree may have this many times the tokens of its longest prompt, so that many questions about a long input share it
although the input alone fills the tree."""

_FULL_TREE_TOKENS_CPU = 512
"""Tokens that keep the cores of a CPU busy. A larger tree gains nothing there, so it ends where the next prompt shares
little with it. 512 and 1,024 are equally fast, 256 and 2,048 slower (benchmarks/throughput_local.py, ``logits``)."""

_LITTLE_SHARED = 8
"""A prompt shares little with a tree if their common prefix is less than one in this many of the tree's tokens. Not
swept."""

Result = TypeVar("Result")


def count_tree_tokens(sequences: Sequence[list[int]]) -> int:
    """How many tokens the prefix tree of these sequences has."""
    total = 0
    previous: Sequence[int] = []
    for ids in sorted(sequences):
        total += len(ids) - common_prefix_length(previous, ids)
        previous = ids
    return total


def run_forest(
    model: Any,
    patterns: Sequence[AttentionPattern],
    batches: Sequence[Sequence[list[int]]],
    evaluate: Callable[[PrefixTree, Sequence[tuple[int, int]]], Sequence[Result]],
    *,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, tuple[Result, ...], float]]:
    """Evaluate batches of prompts. Prompts with a common prefix share trees across batches.

    Args:
        model: A Hugging Face causal language model.
        patterns: Attention pattern of each layer.
        batches: Token ids of the prompts of each batch.
        evaluate: Runs a tree and returns one result per prompt in it. The second argument identifies these prompts:
            index of the batch, and index within the batch.
        is_cancelled: Called before each pass of the model; if it returns True, the rest is dropped.

    Yields:
        As soon as all of a batch is evaluated: its index, the results for its prompts in order, and its share of the
        seconds since a batch was last yielded. So a run that is stopped keeps the batches that were done.
    """
    import torch

    entries = [(index, i, ids) for index, batch in enumerate(batches) for i, ids in enumerate(batch)]
    entries.sort(key=lambda entry: entry[2])
    evaluated: list[dict[int, Result]] = [{} for _ in batches]
    for index, batch in enumerate(batches):
        if not batch:
            yield index, (), 0.0
    is_cpu = model.device.type == "cpu"
    since = time.perf_counter()
    for indices in _divide([ids for _, _, ids in entries], is_cpu=is_cpu):
        if is_cancelled():
            return
        members = [entries[index] for index in indices]
        with torch.inference_mode():
            tree = PrefixTree([ids for _, _, ids in members], patterns, gpu=not is_cpu)
            results = evaluate(tree, [(index, i) for index, i, _ in members])
        touched: dict[int, None] = {}
        for (index, i, _), result in zip(members, results, strict=True):
            evaluated[index][i] = result
            touched[index] = None
        done = [index for index in touched if len(evaluated[index]) == len(batches[index])]
        seconds = (time.perf_counter() - since) / max(1, len(done))
        for index in done:
            yield index, tuple(evaluated[index][i] for i in range(len(batches[index]))), seconds
        if done:
            since = time.perf_counter()


def _divide(ordered: Sequence[list[int]], *, is_cpu: bool) -> Iterator[list[int]]:
    """Divide sorted sequences into trees.

    A tree is limited in size, for memory, and on a CPU ends early where the next sequence shares little with it:
    cutting there computes little twice, and saves attention between tokens that do not see each other.

    Args:
        ordered: Token ids of each sequence, sorted.
        is_cpu: Whether the model runs on the CPU.

    Yields:
        The indices of each tree's sequences.
    """
    full = _FULL_TREE_TOKENS_CPU if is_cpu else _MAX_TREE_TOKENS
    tree: list[int] = []
    size, longest, previous = 0, 0, list[int]()
    for index, ids in enumerate(ordered):
        shared = common_prefix_length(previous, ids)
        added = len(ids) - shared
        most = max(_MAX_TREE_TOKENS, _LONG_PROMPT_FACTOR * max(longest, len(ids)) if shared * 2 > len(ids) else 0)
        is_full = size + added > most or (size + added > full and shared * _LITTLE_SHARED < size)
        if tree and is_full:
            yield tree
            tree, size, longest, added = [], 0, 0, len(ids)
        tree.append(index)
        size, longest, previous = size + added, max(longest, len(ids)), ids
    if tree:
        yield tree
