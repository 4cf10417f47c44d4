"""LoRA adapters: merged into a model's weights when it is loaded, so that the engine runs a plain model."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from rewardanything_core.errors import ConfigError, MissingExtraError

_FILES = ("adapter_config.json", "adapter_model.safetensors")


def adapter_folder(adapter: str) -> Path:
    """The folder with an adapter's files, downloaded if it is the id of a repository on the Hugging Face hub.

    Raises:
        ConfigError: the adapter does not exist, or one of its files is missing.
        MissingExtraError: huggingface_hub is not installed.
    """
    folder = Path(adapter)
    if not folder.exists():
        folder = _from_hub(adapter)
    if missing := [name for name in _FILES if not (folder / name).is_file()]:
        raise ConfigError(
            f"The adapter {adapter!r} has no {' and no '.join(missing)}.",
            hint="Give the folder that save_pretrained of a PEFT model or a trainer's save_model wrote.",
        )
    return folder


def adapter_hash(folder: Path) -> str:
    """First 16 hexadecimal digits of the SHA-256 of an adapter's configuration and weights.

    The configuration's name of the base model is left out: it is often a path on the machine of the training.
    """
    content = json.loads((folder / _FILES[0]).read_text(encoding="utf-8"))
    content.pop("base_model_name_or_path", None)
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode())
    with (folder / _FILES[1]).open("rb") as weights:
        while block := weights.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def merged(model: Any, adapter: str, *, name: str) -> Any:
    """A model with an adapter merged into its weights.

    Args:
        model: A transformers model whose weights are not quantized; it is changed.
        adapter: See `LocalConfig.adapter`.
        name: The model's name, for messages.

    Raises:
        ConfigError: the adapter does not exist, or does not fit the model.
        MissingExtraError: peft is not installed.
    """
    try:
        from peft import PeftConfig, PeftModel, load_peft_weights, set_peft_model_state_dict
    except ImportError as error:
        raise MissingExtraError("Loading an adapter", extra="adapter") from error
    folder = str(adapter_folder(adapter))
    config = PeftConfig.from_pretrained(folder)
    config.inference_mode = True
    base = f"the adapter's configuration names the base model {config.base_model_name_or_path!r}"
    try:
        adapted = PeftModel(model, config)
        loaded = set_peft_model_state_dict(adapted, load_peft_weights(folder, device="cpu"))
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            f"The adapter {adapter!r} does not fit the model {name!r} ({base}): {' '.join(str(error).split())[:300]}"
        ) from error
    # PEFT only warns about these, and the merged model would be another one than was trained.
    strange = [*loaded.unexpected_keys, *(key for key in loaded.missing_keys if "lora_" in key)]
    if strange:
        raise ConfigError(
            f"The adapter {adapter!r} does not fit the model {name!r} ({base}): {len(strange)} of its weights and the "
            f"model's do not match, the first being {strange[0]}."
        )
    return adapted.merge_and_unload()


def _from_hub(adapter: str) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    except ImportError as error:
        raise MissingExtraError("Loading an adapter from the hub", extra="adapter") from error
    try:
        return Path(snapshot_download(adapter, allow_patterns=list(_FILES)))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise ConfigError(
            f"There is no folder {adapter!r}, and an adapter of this name could not be downloaded from the hub: "
            f"{' '.join(str(error).split())[:300]}"
        ) from error
