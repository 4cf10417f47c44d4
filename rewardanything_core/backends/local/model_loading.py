"""Loading a Hugging Face model: its device, its dtype, and the identity of its weights."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.local.adapters import merged
from rewardanything_core.backends.local.config import LocalConfig
from rewardanything_core.backends.local.onednn import enable_onednn_matmul
from rewardanything_core.errors import ConfigError, MissingExtraError
from rewardanything_core.weights.fetch import origin

if TYPE_CHECKING:
    import torch

_MIN_BFLOAT16_PARAMETERS = 1_000_000_000
"""Parameters of a model below which bfloat16 is too coarse: different scores are rounded to equal ones."""


def load(config: LocalConfig, quantization_config: Any = None, *, classifier: bool = False) -> tuple[Any, Any]:
    """Load a model and its tokenizer.

    Args:
        config: Which model to load, and how.
        quantization_config: Passed to transformers. None: ``config.quantization``.
        classifier: Whether the model is a classifier with one label instead of a model that writes.

    Raises:
        MissingExtraError: torch, transformers, bitsandbytes or peft is not installed.
        ConfigError: there is no such model, adapter, device or dtype, or the adapter does not fit the model.
    """
    device = None if config.device_map is not None else pick_device(config.device)
    require()
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer, GgufConfig

    dtype, device_map = config.dtype, config.device_map
    if config.quantization is not None:
        dtype = "bfloat16" if dtype == "auto" else dtype
        quantization_config = _bitsandbytes_config(config.quantization, dtype)
    if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ConfigError(f"dtype {dtype!r} is not the name of a torch dtype, such as 'bfloat16' or 'float32'.")
    if config.gguf_file and quantization_config is None:
        quantization_config = GgufConfig(dequantize=True)
    is_quantized = quantization_config is not None and not isinstance(quantization_config, GgufConfig)
    if is_quantized and device is not None:  # quantized weights cannot be moved later
        device_map, device = {"": device}, None
    source: dict[str, Any] = {"trust_remote_code": config.trust_remote_code, "revision": config.revision}
    if config.gguf_file:
        source["gguf_file"] = config.gguf_file
    kind = AutoModelForSequenceClassification if classifier else AutoModelForCausalLM
    placement = {
        "device_map": device_map,
        "quantization_config": quantization_config,
        "num_labels": 1 if classifier else None,
    }
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.model, **source)
        with _no_progress_bar():
            loaded, weights = kind.from_pretrained(
                config.model,
                output_loading_info=True,
                dtype="auto" if dtype == "auto" else getattr(torch, dtype),
                **{key: value for key, value in placement.items() if value is not None},
                **source,
            )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Cannot load the model {config.model!r}: {_first_line(error)} "
            "Give a Hugging Face id that this machine can reach, a folder, or a name from `ra-judge models`; for a "
            "model behind an API give its provider too (openai/gpt-4o-mini) or an api_base."
        ) from error
    if classifier and weights["missing_keys"]:  # a new head with random weights would judge without an error
        raise ConfigError(
            f"{config.model!r} is not a classifier with one label: its weights lack {min(weights['missing_keys'])}."
        )
    if device is not None:
        if dtype == "auto" and quantization_config is None:
            loaded = loaded.to(_auto_dtype(loaded, device))
        loaded = loaded.to(device)
    if config.adapter is not None:
        loaded = merged(loaded, config.adapter, name=config.name or config.model)
    if config.onednn == "auto":
        enable_onednn_matmul(loaded)
    return loaded.eval(), tokenizer


def _bitsandbytes_config(quantization: str, dtype: str) -> Any:
    """The configuration for weights in 8 or 4 bits.

    8 bits are LLM.int8() (Dettmers et al., NeurIPS 2022); 4 bits are the NormalFloat of QLoRA (Dettmers et al., NeurIPS
    2023) with quantized constants.

    Args:
        quantization: ``8bit`` or ``4bit``.
        dtype: Name of the dtype to compute in.

    Raises:
        MissingExtraError: bitsandbytes is not installed.
    """
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Loading weights in 8 or 4 bits", extra="quantized") from error
    from transformers import BitsAndBytesConfig

    if quantization == "8bit":
        # It computes in float16 by design, and logs that for every layer.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Suppress transformers' progress bar while loading; the host program's setting is restored."""
    from transformers.utils import logging as transformers_logging

    was_enabled = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            transformers_logging.enable_progress_bar()


def require() -> None:
    """Check that the packages that run models are installed.

    Raises:
        MissingExtraError: torch or transformers is not installed.
    """
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Running a model on this machine", extra="local") from error


def pick_device(device: str) -> str:
    """Resolve ``auto`` and check that the device exists.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ConfigError: the device is unknown or not available.
    """
    require()
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind = device.partition(":")[0]
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind not in available:
        raise ConfigError(f"device {device!r} is not one of auto, cuda, cuda:N, mps, cpu.")
    if not available[kind]:
        raise ConfigError(f"device {device!r} is not available: this machine's torch has no {kind}.")
    return device


def _auto_dtype(model: Any, device: str) -> torch.dtype:
    import torch

    if model.num_parameters() < _MIN_BFLOAT16_PARAMETERS:
        return torch.float32
    if device.startswith("cpu") and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.float32
    return torch.bfloat16


def window_of(config: Any) -> int:
    """The longest sequence that a model takes, prompt and reply together, in tokens."""
    text_config = config.get_text_config()
    return int(getattr(text_config, "max_position_embeddings", 0) or 2**31)


def identity_of(folder: Path, config: Any) -> str:
    """What distinguishes these weights from others of the same name; part of the store's key.

    Args:
        folder: The model as given; a folder, or a path that does not exist for a hub id.
        config: The loaded model's configuration.

    Returns:
        The commit of a hub model, the origin that our own download recorded, or a hash of the folder's file names,
        sizes and modification times.
    """
    if not folder.is_dir():
        return str(getattr(config, "_commit_hash", None))
    if recorded := origin(folder):
        return recorded
    files = sorted(f for f in folder.iterdir() if f.suffix in (".safetensors", ".bin", ".gguf", ".json", ".jinja"))
    listing = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return hashlib.sha256(repr(listing).encode()).hexdigest()[:16]


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
