"""The options of a local backend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rewardanything_core.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class LocalConfig:
    """Which model to load, where, and how much to run at once.

    Raises:
        ConfigError: a value is out of its range, or two contradict each other.
    """

    model: str
    """Hugging Face hub id, or a folder."""

    device: str = "auto"
    """``auto`` (CUDA, then Apple's MPS, then the CPU), ``cuda``, ``cuda:N``, ``mps`` or ``cpu``."""

    dtype: str = "auto"
    """``auto`` or the name of a torch dtype. ``auto`` is bfloat16 on GPUs and on CPUs with fast bfloat16 arithmetic,
    float32 for models below a billion parameters and on all other CPUs."""

    device_map: str | Mapping[str, Any] | None = None
    """Passed to transformers, to spread a model over devices; ``device`` is then not used."""

    quantization: Literal["8bit", "4bit"] | None = None
    """Quantised weights through bitsandbytes (extra ``quantized``): a half or about a third of bfloat16's memory. None:
    weights as stored."""

    trust_remote_code: bool = False
    """Whether to run Python code that comes with the model."""

    revision: str | None = None
    """Branch, tag or commit on the hub. None: the default branch."""

    gguf_file: str | None = None
    """Name of a GGUF file in the folder or repository; it is dequantised while loading."""

    max_batch_size: int = 16
    """Maximum number of replies generated at once, 1 or more."""

    max_batch_tokens: int = 32_768
    """Maximum number of tokens, prompts and replies at their longest, of all replies generated at once. A single reply
    that needs more is generated alone."""

    name: str | None = None
    """The model's name in verdicts. None: ``model``."""

    def __post_init__(self) -> None:
        if self.max_batch_size < 1 or self.max_batch_tokens < 1:
            raise ConfigError("max_batch_size and max_batch_tokens must be 1 or more.")
