"""Loading a Hugging Face model: where, in which arithmetic, and what tells it from others of its name."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.local.onednn import quicken
from rewardanything_core.errors import ConfigError, MissingExtraError
from rewardanything_core.weights.fetch import origin

if TYPE_CHECKING:
    import torch

_SMALL = 1_000_000_000
"""Parameters below which bfloat16 is too coarse: its rounding makes different scores come out exactly equal."""


def load(
    model: str,
    device: str | None,
    dtype: str,
    device_map: Any,
    quantization_config: Any,
    common: dict[str, Any],
) -> tuple[Any, Any]:
    """The model and its tokenizer.

    Args:
        model: Hugging Face hub id, or a folder.
        device: Where to put it. None: where ``device_map`` says.
        dtype: ``auto``, or the name of a torch dtype.
        device_map: Passed to transformers. None: the whole model on ``device``.
        quantization_config: Passed to transformers. None: none.
        common: What the tokenizer is loaded with too.

    Raises:
        MissingExtraError: torch or transformers is not installed.
        ConfigError: there is no such model or dtype.
    """
    require()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise ConfigError(f"dtype {dtype!r} is not the name of a torch dtype, such as 'bfloat16' or 'float32'.")
    if "gguf_file" in common and quantization_config is None:
        quantization_config = GgufConfig(dequantize=True)
    fixed = quantization_config is not None and not isinstance(quantization_config, GgufConfig)
    if fixed and device is not None:  # quantised weights cannot be moved later
        device_map, device = {"": device}, None
    given = {"device_map": device_map, "quantization_config": quantization_config}
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, **common)
        with _no_progress_bar():
            loaded = AutoModelForCausalLM.from_pretrained(
                model,
                dtype="auto" if dtype == "auto" else getattr(torch, dtype),
                **{key: value for key, value in given.items() if value is not None},
                **common,
            )
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"Cannot load the model {model!r}: {_first_line(error)} "
            "Give a Hugging Face id that this machine can reach, a folder, or a name from `ra-judge models`; for a "
            "model behind an API give its provider too (openai/gpt-4o-mini) or an api_base."
        ) from error
    if device is not None:
        if dtype == "auto" and quantization_config is None:
            loaded = loaded.to(_auto_dtype(loaded, device))
        loaded = loaded.to(device)
    quicken(loaded)
    return loaded.eval(), tokenizer


def quantized(quantization: str, dtype: str) -> Any:
    """What transformers is told to load weights in 8 or 4 bits with bitsandbytes.

    8 bits are LLM.int8() (Dettmers et al., NeurIPS 2022), 4 bits the normal float of QLoRA (Dettmers et al., NeurIPS
    2023), its constants quantised too.

    Args:
        quantization: ``8bit`` or ``4bit``.
        dtype: Name of the dtype to compute in.

    Raises:
        MissingExtraError: bitsandbytes is not installed.
        ConfigError: the quantisation is unknown.
    """
    if quantization not in ("8bit", "4bit"):
        raise ConfigError(f"quantization must be '8bit' or '4bit', not {quantization!r}.")
    require()
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Loading weights in 8 or 4 bits", extra="quantized") from error
    from transformers import BitsAndBytesConfig

    if quantization == "8bit":
        # It computes in float16 by design, and says so at every layer.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Loading a small folder is no occasion for a progress bar; the host program's setting is put back."""
    from transformers.utils import logging as theirs

    shown = theirs.is_progress_bar_enabled()
    theirs.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            theirs.enable_progress_bar()


def require() -> None:
    """Make sure that what runs models is there.

    Raises:
        MissingExtraError: it is not.
    """
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("Running a model on this machine", extra="local") from error


def pick_device(device: str) -> str:
    """The device that ``auto`` means here, or the one asked for if there is one."""
    require()
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    kind = device.partition(":")[0]
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind not in there:
        raise ConfigError(f"device {device!r} is not one of auto, cuda, cuda:N, mps, cpu.")
    if not there[kind]:
        raise ConfigError(f"device {device!r} was asked for, but this machine's torch has no {kind}.")
    return device


def _auto_dtype(model: Any, device: str) -> torch.dtype:
    import torch

    if model.num_parameters() < _SMALL:
        return torch.float32
    if device.startswith("cpu") and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return torch.float32
    return torch.bfloat16


def window_of(config: Any) -> int:
    """The longest sequence the model takes, prompt and reply together, in tokens."""
    text = config.get_text_config()
    return int(getattr(text, "max_position_embeddings", 0) or 2**31)


def identity_of(folder: Path, config: Any) -> str:
    """What tells these weights from others of the same name: where they came from, or the folder's files."""
    if not folder.is_dir():
        return str(getattr(config, "_commit_hash", None))
    if known := origin(folder):
        return known
    files = sorted(f for f in folder.iterdir() if f.suffix in (".safetensors", ".bin", ".gguf", ".json", ".jinja"))
    listing = [(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return hashlib.sha256(repr(listing).encode()).hexdigest()[:16]


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
