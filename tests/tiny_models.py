"""Models of many makes with random weights and next to no size."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto import CONFIG_MAPPING

MAKES: list[tuple[str, dict[str, Any]]] = [
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


def tiny(kind: str, **details: Any) -> Any:
    """A model of a kind, always with the same weights."""
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**(SIZES | details))).eval()
