"""Option scoring: the probabilities of a few possible answers to many questions, without generating anything.

The questions are sorted and merged into prefix trees, and each tree goes through the model in one pass, every token as
if its question were alone. So a probability does not depend on the other questions beyond the rounding of the
arithmetic, nothing is padded, and a prefix that questions share is computed once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.base import ChoiceProbabilities
from rewardanything_core.backends.local.engine.attention import AttentionPattern
from rewardanything_core.backends.local.engine.kv_cache import common_prefix_length
from rewardanything_core.backends.local.engine.model_runner import run
from rewardanything_core.backends.local.engine.prefix_tree import PrefixTree
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    import torch

_MAX_TREE_TOKENS = 2048
"""The most tokens of a tree; a single question may be longer."""

_FULL_TREE_TOKENS_CPU = 512
"""Tokens that keep the cores of a CPU busy. A larger tree gains nothing there, so it ends where the next question
shares little with it. 512 and 1,024 are equally fast, 256 and 2,048 slower (benchmarks/throughput_local.py,
``logits``)."""

_LITTLE_SHARED = 8
"""A question shares little with a tree if their common prefix is less than one in this many of the tree's tokens."""


@dataclass(frozen=True)
class EncodedQuestion:
    """A question as token ids."""

    ids: list[int]
    """The conversation."""

    options: tuple[str, ...]
    """The possible answers."""

    first_tokens: list[int]
    """The token that each option begins with."""


def first_tokens(options: Sequence[str], encode: Callable[[str], list[int]]) -> list[int]:
    """The token that each option begins with.

    Args:
        options: The options.
        encode: Token ids of a text.

    Raises:
        ConfigError: two options begin with the same token, so that the probability of one token cannot tell them apart.
    """
    tokens = [encode(option)[0] for option in options]
    if len(set(tokens)) < len(tokens):
        raise ConfigError(f"The options {', '.join(map(repr, options))} begin with the same token for this model.")
    return tokens


def count_tree_tokens(sequences: Sequence[list[int]]) -> int:
    """How many tokens the prefix tree of these sequences has."""
    total = 0
    previous: Sequence[int] = []
    for ids in sorted(sequences):
        total += len(ids) - common_prefix_length(previous, ids)
        previous = ids
    return total


class OptionScorer:
    """Scores options with a Hugging Face causal language model.

    Args:
        model: The model.
        patterns: Attention pattern of each layer.
    """

    def __init__(self, model: Any, patterns: Sequence[AttentionPattern]) -> None:
        import torch

        self._torch, self._model, self._patterns = torch, model, patterns

    def score(
        self, batches: Sequence[Sequence[EncodedQuestion]], *, is_cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[int, tuple[ChoiceProbabilities, ...], float]]:
        """Score batches of questions. Questions with a common prefix share trees across batches.

        Args:
            batches: The questions of each request.
            is_cancelled: Called before each pass of the model; if it returns True, the rest is dropped.

        Yields:
            As soon as all of a batch is scored: its index, the probabilities for its questions in order, and its share
            of the seconds since a batch was last yielded. So a run that is stopped keeps the requests that were done.
        """
        entries = [(index, i, question) for index, batch in enumerate(batches) for i, question in enumerate(batch)]
        entries.sort(key=lambda entry: entry[2].ids)
        scored: list[dict[int, ChoiceProbabilities]] = [{} for _ in batches]
        for index, batch in enumerate(batches):
            if not batch:
                yield index, (), 0.0
        since = time.perf_counter()
        for tree in self._trees([question.ids for _, _, question in entries]):
            if is_cancelled():
                return
            with self._torch.inference_mode():
                results = self._score_tree([entries[entry][2] for entry in tree])
            touched: dict[int, None] = {}
            for entry, probabilities in zip(tree, results, strict=True):
                index, i, _ = entries[entry]
                scored[index][i] = probabilities
                touched[index] = None
            done = [index for index in touched if len(scored[index]) == len(batches[index])]
            seconds = (time.perf_counter() - since) / max(1, len(done))
            for index in done:
                yield index, tuple(scored[index][i] for i in range(len(batches[index]))), seconds
            if done:
                since = time.perf_counter()

    def _trees(self, ordered: Sequence[list[int]]) -> Iterator[list[int]]:
        """Divide sorted sequences into trees.

        A tree is limited in size, for memory, and on a CPU ends early where the next sequence shares little with it:
        cutting there computes little twice, and saves attention between tokens that do not see each other.

        Args:
            ordered: Token ids of each sequence, sorted.

        Yields:
            The indices of each tree's sequences.
        """
        full = _FULL_TREE_TOKENS_CPU if self._model.device.type == "cpu" else _MAX_TREE_TOKENS
        tree: list[int] = []
        size, previous = 0, list[int]()
        for index, ids in enumerate(ordered):
            shared = common_prefix_length(previous, ids)
            added = len(ids) - shared
            is_full = size + added > _MAX_TREE_TOKENS or (size + added > full and shared * _LITTLE_SHARED < size)
            if tree and is_full:
                yield tree
                tree, size, added = [], 0, len(ids)
            tree.append(index)
            size, previous = size + added, ids
        if tree:
            yield tree

    def _score_tree(self, questions: Sequence[EncodedQuestion]) -> list[ChoiceProbabilities]:
        torch, device = self._torch, self._model.device
        tree = PrefixTree([question.ids for question in questions], self._patterns, gpu=device.type != "cpu")
        head = self._model.get_output_embeddings()
        head_inputs: list[Any] = []
        hook = head.register_forward_pre_hook(lambda _, inputs: head_inputs.append(inputs[0]))
        try:
            logits = run(self._model, tree, tree.last_indices)
        finally:
            hook.remove()
        totals = torch.logsumexp(logits.float(), dim=-1)
        results = []
        for i, question in enumerate(questions):
            tokens = question.first_tokens
            option_logits = self._float32_logits(head, head_inputs[-1][0, i], logits[i, tokens].float(), tokens)
            mass = float(torch.exp(torch.logsumexp(option_logits, dim=-1) - totals[i]).clamp(0, 1))
            shares = torch.softmax(option_logits, dim=-1).clamp_min(1e-9).tolist()
            probabilities = dict(zip(question.options, shares, strict=True))
            results.append(ChoiceProbabilities(probabilities=probabilities, mass=mass))
        return results

    def _float32_logits(
        self, head: Any, hidden: torch.Tensor, rounded: torch.Tensor, tokens: list[int]
    ) -> torch.Tensor:
        """Logits of a few tokens in float32. In bfloat16, logits around 20 are multiples of 1/8, so options often tie.

        Args:
            head: The model's output layer.
            hidden: (hidden size,) its input.
            rounded: (tokens,) the logits as the model computed them.
            tokens: Token ids.

        Returns:
            (tokens,) logits; ``rounded`` where the output layer is not a plain matrix product.
        """
        weight = getattr(head, "weight", None)
        if weight is not None and weight.is_floating_point() and weight.shape[-1] == hidden.shape[-1]:
            exact: torch.Tensor = hidden.float() @ weight[tokens].float().T
            # Some models scale or cap the logits after the output layer; then the product is something else.
            if self._torch.allclose(exact, rounded, rtol=0.01, atol=0.1):
                return exact
        return rounded
