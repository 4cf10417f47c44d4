"""Models of several architectures with random weights and hardly any size, and what their logits are compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto import CONFIG_MAPPING

ARCHITECTURES: list[tuple[str, dict[str, Any]]] = [
    ("llama", {}),
    ("mistral", {"sliding_window": 8}),
    ("qwen3", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2}),
    ("gemma2", {"sliding_window": 8, "query_pre_attn_scalar": 8}),
    ("gemma3_text", {"sliding_window": 8, "query_pre_attn_scalar": 8}),
    ("gpt_oss", {"sliding_window": 8, "num_local_experts": 4, "num_experts_per_tok": 2}),
    ("phi3", {}),
]
SIZES = {
    "vocab_size": 320,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
}


def tiny(architecture: str, **options: Any) -> Any:
    """A model of an architecture, always with the same weights."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIG_MAPPING[architecture](**(SIZES | options))).eval()


def assert_same_logits_as_alone(model: Any, sequences: Sequence[list[int]], logits: Iterable[torch.Tensor]) -> None:
    """Compare the logits after each sequence with those of a plain forward pass over that sequence."""
    with torch.inference_mode():
        for ids, computed in zip(sequences, logits, strict=True):
            alone = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1]
            assert torch.allclose(computed, alone, atol=1e-4), (computed - alone).abs().max()
