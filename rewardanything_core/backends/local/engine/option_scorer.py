"""Option scoring: the probabilities of a few possible answers to many questions, without generating anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.base import ChoiceProbabilities
from rewardanything_core.backends.local.engine.attention import AttentionPattern
from rewardanything_core.backends.local.engine.model_runner import run
from rewardanything_core.backends.local.engine.prefix_forest import run_forest
from rewardanything_core.backends.local.engine.prefix_tree import PrefixTree
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    import torch


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
        """Score batches of questions; see `run_forest`.

        Args:
            batches: The questions of each request.
            is_cancelled: Called before each pass of the model; if it returns True, the rest is dropped.

        Yields:
            As soon as all of a batch is scored: its index, the probabilities for its questions in order, and seconds.
        """
        ids = [[question.ids for question in batch] for batch in batches]

        def evaluate(tree: PrefixTree, members: Sequence[tuple[int, int]]) -> list[ChoiceProbabilities]:
            return self._score_tree(tree, [batches[index][i] for index, i in members])

        return run_forest(self._model, self._patterns, ids, evaluate, is_cancelled=is_cancelled)

    def _score_tree(self, tree: PrefixTree, questions: Sequence[EncodedQuestion]) -> list[ChoiceProbabilities]:
        torch = self._torch
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
