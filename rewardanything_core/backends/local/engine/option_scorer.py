"""Reading answers off a model: many questions at once, what they have in common run once, nothing written.

The token ids of the questions are laid out as a tree: what several of them begin with stands there once. The whole tree
goes through the model in one piece, every token as if its question were alone. So a question's answer does not depend,
beyond the rounding of the arithmetic, on what it travels with, and nothing is padded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.base import ChoiceProbabilities
from rewardanything_core.backends.local.engine.attention import Reach
from rewardanything_core.backends.local.engine.kv_cache import common
from rewardanything_core.backends.local.engine.model_runner import run
from rewardanything_core.backends.local.engine.prefix_tree import Tree
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    import torch

_MOST = 2048  # tokens of a tree that go through the model at once; a single question may be longer
_ENOUGH_CPU = 512  # there, so many fill the cores, and attention over more that do not see each other is wasted
_LITTLE = 8  # a tree is parted where what the next question shares with it is less than this part of it


@dataclass(frozen=True)
class Asked:
    """A question as token ids."""

    ids: list[int]
    """The conversation."""

    options: tuple[str, ...]
    """What may be answered."""

    tokens: list[int]
    """The token that each option begins with."""


def first_tokens(options: Sequence[str], encode: Callable[[str], list[int]]) -> list[int]:
    """The token that each option begins with.

    Raises:
        ConfigError: two begin with the same one, so that reading one token cannot tell them apart.
    """
    tokens = [encode(option)[0] for option in options]
    if len(set(tokens)) < len(tokens):
        raise ConfigError(f"The options {', '.join(map(repr, options))} begin with the same token for this model.")
    return tokens


def distinct_tokens(sequences: Sequence[list[int]]) -> int:
    """How many tokens the tree of these sequences has."""
    total = 0
    before: Sequence[int] = []
    for ids in sorted(sequences):
        total += len(ids) - common(before, ids)
        before = ids
    return total


class OptionScorer:
    """Reads the probabilities of answers with a Hugging Face causal language model.

    Args:
        model: The model.
        reaches: How far each of its layers sees.
    """

    def __init__(self, model: Any, reaches: Sequence[Reach]) -> None:
        import torch

        self._torch, self._model, self._reaches = torch, model, reaches

    def read(
        self, batches: Sequence[Sequence[Asked]], *, cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[int, tuple[ChoiceProbabilities, ...], float]]:
        """The odds of each batch of questions as soon as all of it is read, so that what is stopped later keeps it.

        Questions that begin alike are read together, whatever their batch.

        Yields:
            The batch's place, its odds, and its share of the seconds since something was last yielded.
        """
        asked = [(at, place, one) for at, batch in enumerate(batches) for place, one in enumerate(batch)]
        asked.sort(key=lambda each: each[2].ids)
        found: list[dict[int, ChoiceProbabilities]] = [{} for _ in batches]
        for at, batch in enumerate(batches):
            if not batch:
                yield at, (), 0.0
        since = time.perf_counter()
        for piece in self._pieces([one.ids for _, _, one in asked]):
            if cancelled():
                return
            with self._torch.inference_mode():
                read = self._run([asked[i][2] for i in piece])
            touched: dict[int, None] = {}
            for i, odds in zip(piece, read, strict=True):
                at, place, _ = asked[i]
                found[at][place] = odds
                touched[at] = None
            done = [at for at in touched if len(found[at]) == len(batches[at])]
            seconds = (time.perf_counter() - since) / max(1, len(done))
            for at in done:
                yield at, tuple(found[at][place] for place in range(len(batches[at]))), seconds
            if done:
                since = time.perf_counter()

    def _pieces(self, ordered: Sequence[list[int]]) -> Iterator[list[int]]:
        """Places in the sorted sequences, parted so that the tree of each part is small, where little is run twice."""
        enough = _ENOUGH_CPU if self._model.device.type == "cpu" else _MOST
        piece: list[int] = []
        size, before = 0, list[int]()
        for at, ids in enumerate(ordered):
            shared = common(before, ids)
            more = len(ids) - shared
            full = size + more > _MOST or (size + more > enough and shared * _LITTLE < size)
            if piece and full:
                yield piece
                piece, size, more = [], 0, len(ids)
            piece.append(at)
            size, before = size + more, ids
        if piece:
            yield piece

    def _run(self, questions: Sequence[Asked]) -> list[ChoiceProbabilities]:
        torch, device = self._torch, self._model.device
        tree = Tree([question.ids for question in questions], self._reaches, gpu=device.type != "cpu")
        heads: list[Any] = []
        head = self._model.get_output_embeddings()
        hook = head.register_forward_pre_hook(lambda _, inputs: heads.append(inputs[0]))
        try:
            logits = run(self._model, tree, tree.ends)
        finally:
            hook.remove()
        totals = torch.logsumexp(logits.float(), dim=-1)
        odds = []
        for row, question in enumerate(questions):
            mine = self._exactly(head, heads[-1][0, row], logits[row, question.tokens].float(), question.tokens)
            mass = float(torch.exp(torch.logsumexp(mine, dim=-1) - totals[row]).clamp(0, 1))
            shares = torch.softmax(mine, dim=-1).clamp_min(1e-9).tolist()
            odds.append(ChoiceProbabilities(probabilities=dict(zip(question.options, shares, strict=True)), mass=mass))
        return odds

    def _exactly(self, head: Any, hidden: torch.Tensor, rounded: torch.Tensor, tokens: list[int]) -> torch.Tensor:
        """The tokens' logits in single precision: in bfloat16, logits around 20 lie an eighth apart."""
        weight = getattr(head, "weight", None)
        if weight is not None and weight.is_floating_point() and weight.shape[-1] == hidden.shape[-1]:
            exact: torch.Tensor = hidden.float() @ weight[tokens].float().T
            # Some models scale or cap what their last layer gives: then this is something else.
            if self._torch.allclose(exact, rounded, rtol=0.01, atol=0.1):
                return exact
        return rounded
