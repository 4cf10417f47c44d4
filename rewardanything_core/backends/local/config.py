"""Options of the local backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rewardanything_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LocalConfig:
    """How a Hugging Face model is loaded and run on this machine.

    Raises:
        ConfigError: an option is out of its range, or contradicts another.
    """

    model: str
    """Hugging Face hub id, or a folder."""

    device: str = "auto"
    """``auto`` (CUDA, then Apple's MPS, then the CPU), ``cuda``, ``cuda:1``, ``mps`` or ``cpu``. Not used with
    ``device_map``."""

    dtype: str = "auto"
    """``auto`` or the name of a torch dtype. Auto is bfloat16 on GPUs and on CPUs with instructions for it, and float32
    on other CPUs and for models under a billion parameters."""

    device_map: str | Mapping[str, Any] | None = None
    """Passed to transformers, to spread a model over devices. None: the whole model on ``device``."""

    quantization: Literal["8bit", "4bit"] | None = None
    """Load the weights in ``8bit`` or ``4bit`` with bitsandbytes (extra ``quantized``): they take half or about a third
    of the memory of bfloat16. None: as they are."""

    trust_remote_code: bool = False
    """Run Python code that comes with the model."""

    revision: str | None = None
    """Branch, tag or commit on the Hugging Face hub. None: the main branch."""

    gguf_file: str | None = None
    """Name of a GGUF file in the folder or repository; it is dequantized while it is loaded. None: safetensors."""

    adapter: str | None = None
    """A LoRA adapter to merge into the weights when they are loaded (extra ``adapter``): a folder that PEFT wrote, or
    an id on the Hugging Face hub. Its hash is part of the model's name in verdicts. None: the model as it is."""

    max_batch_size: int = 16
    """The most sequences that run at once, 1 or more. More than 16 gain nothing for the 135M model on a CPU
    (benchmarks/throughput_local.py)."""

    max_batch_tokens: int = 32_768
    """The most tokens, 1 or more, that the running sequences may have together, each counted with its prompt and the
    longest reply that it may get. A longer one runs alone. The KV cache grows up to this size."""

    name: str | None = None
    """The model's name in verdicts. None: ``model``."""

    onednn: Literal["auto", "off"] = "auto"
    """``auto``: on AMD processors with AVX-512, the linear layers of a float32 model on the CPU multiply through oneDNN
    instead of MKL, by a private operator of torch (``torch.ops.mkldnn._linear_pointwise``). Judging is 1.65 times as
    fast with ``readout="logits"``, and log-odds change by rounding, by up to 2e-5. Other processors, devices and dtypes
    are not affected. ``off``: torch's own choice everywhere."""

    def __post_init__(self) -> None:
        if self.max_batch_size < 1 or self.max_batch_tokens < 1:
            raise ConfigError("max_batch_size and max_batch_tokens must be 1 or more.")
        if self.quantization not in (None, "8bit", "4bit"):
            raise ConfigError(f"quantization must be '8bit' or '4bit', not {self.quantization!r}.")
        if self.quantization is not None and self.gguf_file:
            raise ConfigError("quantization and gguf_file both decide how the weights are quantized; give only one.")
        if self.quantization is not None and self.adapter is not None:
            raise ConfigError(
                "adapter and quantization cannot be combined: an adapter would be merged into rounded weights.",
                hint="Merge it once with PEFT's merge_and_unload, save the model, and load that with quantization.",
            )
        if self.onednn not in ("auto", "off"):
            raise ConfigError(f"onednn must be 'auto' or 'off', not {self.onednn!r}.")
