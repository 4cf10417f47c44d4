"""Faster float32 matrix products on AMD processors.

torch multiplies float32 matrices with Intel's MKL, which uses AVX-512 on Intel's processors only. oneDNN, which torch
contains as well and uses for bfloat16, uses AVX-512 on any processor: 200 to 220 GFLOP/s on one core of an AMD EPYC,
where MKL reaches 95 to 100. Option scoring became 1.65 times as fast (benchmarks/throughput_local.py, ``logits``).

The public switch, `torch.backends.mkldnn.matmul.fp32_precision`, is a setting of the whole process and slower for
single tokens, so the operator is called directly. It is private: `LocalConfig.onednn` turns it off, and where it is
missing or does not give the expected result, nothing is changed.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_MIN_TOKENS = 8
"""Tokens from which oneDNN is faster for small layers, measured with benchmarks/throughput_local.py."""

_LARGE_LAYER = 8_000_000
"""Weights from which it is faster for any number of tokens; in practice the layer over the vocabulary. Measured with
benchmarks/throughput_local.py."""


def enable_onednn_matmul(model: Any) -> None:
    """Let the float32 linear layers of a model on the CPU multiply with oneDNN in inference mode.

    Does nothing unless the processor is from AMD and has AVX-512. Results differ from MKL's by rounding: log-odds by up
    to 2e-5. Training, other dtypes and other devices are not affected.
    """
    import torch

    multiply = _onednn_linear()
    if multiply is None or not _is_amd() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return
    for module in model.modules():
        if type(module) is torch.nn.Linear and module.weight.dtype == torch.float32 and module.weight.is_cpu:
            module.forward = _forward(module, multiply)


def _forward(linear: Any, multiply: Callable[..., torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    import torch

    original = linear.forward
    min_tokens = 1 if linear.weight.numel() > _LARGE_LAYER else _MIN_TOKENS

    def forward(hidden: torch.Tensor) -> torch.Tensor:
        if hidden.numel() < min_tokens * linear.in_features or not torch.is_inference_mode_enabled():
            return original(hidden)
        return multiply(hidden, linear.weight, linear.bias, "none", [], "")

    return forward


def _onednn_linear() -> Callable[..., torch.Tensor] | None:
    """The private operator of torch for a linear layer. None: this torch has none, or one that works differently."""
    import torch

    multiply: Callable[..., torch.Tensor] | None = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if multiply is None:
        return None
    hidden, weight, bias = torch.ones(2, 3), torch.arange(6.0).view(2, 3), torch.ones(2)
    try:
        result = multiply(hidden, weight, bias, "none", [], "")
        works = torch.allclose(result, torch.nn.functional.linear(hidden, weight, bias))
    except Exception:  # noqa: BLE001  # a private operator may change in any way
        return None
    return multiply if works else None


def _is_amd() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return "AuthenticAMD" in (cpuinfo.read_text() if cpuinfo.is_file() else platform.processor())
