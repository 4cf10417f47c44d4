"""A model cut at a reward head's layer, for servers that return the last hidden state of a model.

Such servers, vLLM among them, return the state after the final RMSNorm, which divides it by its root mean square; a
head needs it as it was. So the exported model has one more layer, which adds a constant so large to one coordinate that
the root mean square is that constant's, whatever the state. The norm's weights multiply it out again, and set that
coordinate to 0.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    import torch

_ADDED_BIASES: dict[str, tuple[str, ...]] = {
    "LlamaForCausalLM": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "Qwen2ForCausalLM": (),
    "Qwen3ForCausalLM": ("q_proj", "k_proj", "v_proj"),
}
"""Architecture -> the attention projections that have a bias in vLLM only if ``attention_bias`` is true."""

_FACTOR = 1024.0
"""Bias and weight of the added layer; the constant is its square, 10,000 times a state's norm. bfloat16 has both."""

_COPIED = ("tokenizer*", "*.jinja", "special_tokens_map.json", "vocab.json", "merges.txt", "LICENSE*")


def export_backbone(source: Path, output: Path, *, layer: int, coordinate: int) -> str:
    """Write the folder of a model that ends at a layer.

    Args:
        source: The folder of the whole model, with safetensors.
        output: The new folder; it must not exist.
        layer: The number of layers to keep, 1 or more.
        coordinate: The coordinate of the state that is lost: one of little weight for the head.

    Returns:
        The dtype to run it in: the model's, or bfloat16 for a float16 model, since float16 has no place for the
        constant.

    Raises:
        ConfigError: the folder exists, or the model has fewer layers or an architecture that is not supported.
    """
    import torch
    from safetensors.torch import save_file

    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    architecture = (config.get("architectures") or ["unknown"])[0]
    if architecture not in _ADDED_BIASES:
        raise ConfigError(f"{source} has the architecture {architecture}; supported are {', '.join(_ADDED_BIASES)}.")
    if not 1 <= layer <= config["num_hidden_layers"]:
        raise ConfigError(f"{source} has {config['num_hidden_layers']} layers; there is no layer {layer}.")
    if output.exists():
        raise ConfigError(f"{output} exists; name a new folder.")
    tensors = _layers_below(source, layer)
    if tensors["model.embed_tokens.weight"].dtype == torch.float16:
        tensors = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
    tensors |= _constant_layer(tensors, layer, coordinate)
    if projections := _ADDED_BIASES[architecture]:
        tensors = _zero_biases(tensors, projections) | tensors
        config["attention_bias"] = True
    dtype = str(tensors["model.embed_tokens.weight"].dtype).removeprefix("torch.")
    config |= {"num_hidden_layers": layer + 1, "tie_word_embeddings": True, "dtype": dtype}
    if "layer_types" in config:
        config["layer_types"] = [*config["layer_types"][:layer], "full_attention"]
    output.mkdir(parents=True)
    save_file(tensors, output / "model.safetensors", {"format": "pt"})
    for path in (path for pattern in _COPIED for path in source.glob(pattern)):
        shutil.copyfile(path, output / path.name)
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return dtype


def _layers_below(source: Path, layer: int) -> dict[str, torch.Tensor]:
    """The embeddings and the first layers, mapped from the files."""
    from safetensors import safe_open

    kept = ("model.embed_tokens.", *(f"model.layers.{index}." for index in range(layer)))
    tensors: dict[str, Any] = {}
    for path in sorted(source.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            tensors |= {name: file.get_tensor(name) for name in file.keys() if name.startswith(kept)}  # noqa: SIM118
    return tensors


def _constant_layer(tensors: dict[str, torch.Tensor], layer: int, coordinate: int) -> dict[str, torch.Tensor]:
    """A layer that adds a constant to a coordinate, and the norm that takes its effect away."""
    import torch

    def layer_of(index: int) -> str:
        return f"model.layers.{index}."

    zeros = {
        name.replace(layer_of(layer - 1), layer_of(layer)): torch.zeros_like(tensor)
        for name, tensor in tensors.items()
        if name.startswith(layer_of(layer - 1))
    }
    values = zeros[f"{layer_of(layer)}self_attn.v_proj.weight"]
    bias = torch.zeros(values.shape[0], dtype=values.dtype)
    bias[0] = _FACTOR  # the mean of equal values is this value, wherever the layer attends to
    zeros[f"{layer_of(layer)}self_attn.v_proj.bias"] = bias
    zeros[f"{layer_of(layer)}self_attn.o_proj.weight"][coordinate, 0] = _FACTOR
    size = tensors["model.embed_tokens.weight"].shape[1]
    norm = torch.full((size,), _FACTOR**2 / math.sqrt(size), dtype=values.dtype)
    norm[coordinate] = 0
    return {**zeros, "model.norm.weight": norm}


def _zero_biases(tensors: dict[str, torch.Tensor], projections: tuple[str, ...]) -> dict[str, torch.Tensor]:
    import torch

    return {
        name.removesuffix("weight") + "bias": torch.zeros(weight.shape[0], dtype=weight.dtype)
        for name, weight in tensors.items()
        if name.endswith(tuple(f".self_attn.{projection}.weight" for projection in projections))
    }
