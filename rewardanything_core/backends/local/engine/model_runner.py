"""Forward passes of a Hugging Face model over packed tokens, with our attention function in place of the model's.

transformers looks up a model's attention function by name at every call, so it can be exchanged without touching the
model's code: we register one and name it in the model's configuration for the duration of a pass. The model builds no
mask for an attention function that it does not know, and keeps no cache of its own, since it is given an empty one.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from rewardanything_core.backends.local.engine.attention import AttentionParams

if TYPE_CHECKING:
    import torch

_ATTENTION_NAME = "rewardanything_packed"
"""Name under which the attention function is registered with transformers."""

_thread = threading.local()
"""``packed``: the input of the pass that runs in this thread. Attention functions get no argument of ours."""


class PackedInput(Protocol):
    """Tokens of several sequences in one input, and how they attend: a `PackedBatch` or a `PrefixTree`."""

    token_ids: list[int]
    """The tokens."""

    positions: list[int]
    """The position of each token in its own sequence."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, params: AttentionParams
    ) -> torch.Tensor:
        """Attention of one layer.

        Args:
            layer: Index of the layer.
            query: (1, query heads, tokens, head size).
            key: (1, key-value heads, tokens, head size).
            value: (1, key-value heads, tokens, head size).
            params: What the layer passed.

        Returns:
            (1, tokens, query heads, head size).
        """


class _NullCache:
    """An empty cache that stays empty: keys and values are kept by the attention function."""

    is_compileable = False

    def update(self, key: Any, value: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        return key, value

    def get_seq_length(self, *_: Any, **__: Any) -> int:
        return 0


def run(model: Any, packed: PackedInput, last_indices: Sequence[int]) -> torch.Tensor:
    """One forward pass.

    Args:
        model: A Hugging Face causal language model.
        packed: The input.
        last_indices: Indices into the input of the tokens after which logits are wanted.

    Returns:
        (last_indices, vocabulary) logits.
    """
    import torch

    device = model.device
    cache = {_cache_argument(model.__class__): _NullCache()}
    with _attention_of(model, packed):
        logits: torch.Tensor = model(
            input_ids=torch.tensor([packed.token_ids], device=device),
            position_ids=torch.tensor([packed.positions], device=device),
            use_cache=True,
            logits_to_keep=torch.tensor(list(last_indices), dtype=torch.long, device=device),
            **cache,
        ).logits
    return logits[0]


@lru_cache
def _cache_argument(model_class: Any) -> str:
    """What a model class calls its cache: transformers 5.24 renamed ``past_key_values`` to ``cache``."""
    return "cache" if "cache" in inspect.signature(model_class.forward).parameters else "past_key_values"


@contextmanager
def _attention_of(model: Any, packed: PackedInput) -> Iterator[None]:
    """Let the model attend by ``packed`` inside the context."""
    from transformers import AttentionInterface

    AttentionInterface.register(_ATTENTION_NAME, _attention_function)
    config = model.config.get_text_config(decoder=True)
    previous = config._attn_implementation
    config._attn_implementation = _ATTENTION_NAME
    _thread.packed = packed
    try:
        yield
    finally:
        config._attn_implementation = previous
        _thread.packed = None


def _attention_function(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,  # noqa: ARG001  # the packed input has masks of its own
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """An attention function as transformers calls it; ``s_aux`` are gpt-oss's attention sinks."""
    packed: PackedInput = _thread.packed
    return packed.attend(module.layer_idx, query, key, value, AttentionParams(scaling, softcap, s_aux)), None
