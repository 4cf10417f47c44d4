"""Matrix products in single precision on AMD processors.

What torch multiplies float32 matrices with, MKL, leaves AVX-512 to Intel's processors. oneDNN, which torch carries as
well and multiplies bfloat16 with, uses it on any: twice as fast, and apart by rounding only.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_ENOUGH = 8
"""Tokens from which on it is faster for small layers too; the layer over the vocabulary gains with any number."""

_LARGE = 8_000_000
"""Weights of such a layer."""


def quicken(model: Any) -> None:
    """Let the linear layers of a model that runs in float32 on an AMD processor multiply with oneDNN."""
    import torch

    multiply = _onednn()
    if multiply is None or not _amd() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return
    for module in model.modules():
        if type(module) is torch.nn.Linear and module.weight.dtype == torch.float32 and module.weight.is_cpu:
            module.forward = _forward(module, multiply)


def _forward(linear: Any, multiply: Callable[..., torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    import torch

    plain = linear.forward
    least = 1 if linear.weight.numel() > _LARGE else _ENOUGH

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        if hidden.numel() < least * linear.in_features or not torch.is_inference_mode_enabled():
            return plain(hidden)
        return multiply(hidden, linear.weight, linear.bias, "none", [], "")

    return forward


def _onednn() -> Callable[..., torch.Tensor] | None:
    """Its product, a private operator of torch; None where torch was built without it."""
    import torch

    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _amd() -> bool:
    listed = Path("/proc/cpuinfo")
    described = listed.read_text() if listed.is_file() else platform.processor()
    return "AuthenticAMD" in described
