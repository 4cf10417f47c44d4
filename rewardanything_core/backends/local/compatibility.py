"""Whether a model's replies can be written side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rewardanything_core.backends.local.engine import attention, model_runner, packed_batch
from rewardanything_core.backends.local.engine.kv_cache import Shelves
from rewardanything_core.errors import ConfigError

if TYPE_CHECKING:
    import torch

_ALIKE = 0.98  # correlation of logits; rounding, also of 4-bit weights, stays above it


def side_by_side(model: Any, name: str) -> list[attention.Reach]:
    """How far each layer of the model sees, after trying two sequences side by side against one of them alone.

    Raises:
        ConfigError: the model cannot be run this way.
    """
    instead = "Serve it with vLLM or transformers and judge through that: from_endpoint(..., api_base=...)."
    reaches = attention.reaches_of(model.config)
    if reaches is None:
        raise ConfigError(
            f"{name} keeps a running state instead of keys and values of each token in some of its layers; replies of "
            f"such a model cannot be written side by side here. {instead}"
        )
    try:
        asked, alike = _alike(model, reaches)
    except Exception as error:  # whatever a model of unknown make does with it
        raise ConfigError(
            f"{name} cannot be run on several replies side by side ({type(error).__name__}: {error}). {instead}"
        ) from error
    if not asked:
        raise ConfigError(
            f"{name} has an attention of its own making, which cannot be run on several replies. {instead}"
        )
    if not alike:
        raise ConfigError(f"{name} says something else beside other replies than alone. {instead}")
    return reaches


class _Watched(packed_batch.Layout):
    """Notes whether the model asks it at all: one with an attention of its own making does not."""

    asked = False

    def attend(self, *given: Any) -> torch.Tensor:
        self.asked = True
        return super().attend(*given)


def _alike(model: Any, reaches: Sequence[attention.Reach]) -> tuple[bool, bool]:
    """Whether the model looks the way it is told to, and whether it then says the same as alone."""
    import torch

    size = min(1000, model.config.get_text_config().vocab_size)
    asked = [i * 37 % size for i in range(3, 10)]
    with torch.inference_mode():
        alone = model(input_ids=torch.tensor([asked], device=model.device), use_cache=False).logits[0, -1]
        shelves = Shelves()
        mine = shelves.enter(asked, len(asked), None, 0)
        other = shelves.enter(asked[::-1], len(asked), None, 0)
        mine.shelf.make_room(len(asked))
        for parts in (
            [packed_batch.Part(mine, 0, asked[:-2]), packed_batch.Part(other, 0, asked[:2:-1])],
            [packed_batch.Part(mine, len(asked) - 2, asked[-2:]), packed_batch.Part(other, 4, asked[2:3])],
        ):
            layout = _Watched(parts, reaches, gpu=model.device.type != "cpu")
            beside = model_runner.run(model, layout, layout.ends[:1])[0]
    return layout.asked, _correlation(alone, beside) > _ALIKE


def _correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.float() - a.float().mean(), b.float() - b.float().mean()
    return float((a @ b) / (a.norm() * b.norm()).clamp_min(1e-9))
