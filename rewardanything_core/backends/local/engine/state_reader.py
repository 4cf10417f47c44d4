"""Hidden states: a model's activations after the last token of many prompts, without its later layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.local.engine.attention import AttentionPattern
from rewardanything_core.backends.local.engine.model_runner import run
from rewardanything_core.backends.local.engine.prefix_forest import run_forest
from rewardanything_core.backends.local.engine.prefix_tree import PrefixTree

if TYPE_CHECKING:
    import numpy as np


class _LayerReachedError(Exception):
    """Raised inside a forward pass to end it: the remaining layers are not needed."""


class StateReader:
    """Computes hidden states with a Hugging Face causal language model.

    Args:
        model: The model.
        patterns: Attention pattern of each layer.
    """

    def __init__(self, model: Any, patterns: Sequence[AttentionPattern]) -> None:
        self._model, self._patterns = model, patterns
        self._layers = getattr(model.get_decoder(), "layers", ())

    @property
    def num_layers(self) -> int:
        """The number of decoder layers; 0 if the model's architecture does not show them."""
        return len(self._layers)

    def read(
        self, batches: Sequence[Sequence[list[int]]], layer: int, *, is_cancelled: Callable[[], bool] = lambda: False
    ) -> Iterator[tuple[int, tuple[np.ndarray, ...], float]]:
        """Compute the states of batches of prompts; see `run_forest`.

        Args:
            batches: Token ids of the prompts of each request.
            layer: The number of layers to run, 1 or more.
            is_cancelled: Called before each pass of the model; if it returns True, the rest is dropped.

        Yields:
            As soon as all of a batch is done: its index, for each prompt the (hidden size,) float32 output of the layer
            at its last token, and seconds.
        """

        def evaluate(tree: PrefixTree, _: Sequence[tuple[int, int]]) -> Sequence[np.ndarray]:
            return self._read_tree(tree, layer)

        return run_forest(self._model, self._patterns, batches, evaluate, is_cancelled=is_cancelled)

    def _read_tree(self, tree: PrefixTree, layer: int) -> Sequence[np.ndarray]:
        outputs: list[Any] = []

        def stop(_module: Any, _inputs: Any, output: Any) -> None:
            outputs.append(output[0] if isinstance(output, tuple) else output)
            raise _LayerReachedError

        hook = self._layers[layer - 1].register_forward_hook(stop)
        try:
            run(self._model, tree, tree.last_indices)
        except _LayerReachedError:
            pass
        finally:
            hook.remove()
        return list(outputs[0][0, tree.last_indices].float().cpu().numpy())
