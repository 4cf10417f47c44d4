"""Forward passes of a Hugging Face model over a packed batch, with our attention function in place of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from rewardanything_core.backends.local.engine.attention import How

if TYPE_CHECKING:
    import torch

_NAME = "rewardanything_rows"


_now = threading.local()


class Line(Protocol):
    """Tokens side by side in one line, and how they attend to each other."""

    ids: list[int]
    positions: list[int]

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, how: How) -> torch.Tensor:
        """From (1, heads, tokens, width) to (1, tokens, heads, width)."""


class _NoCache:
    """Stands where a model expects its cache: keys and values are kept by the attention function."""

    is_compileable = False

    def update(self, key: Any, value: Any, *_: Any, **__: Any) -> tuple[Any, Any]:
        return key, value

    def get_seq_length(self, *_: Any, **__: Any) -> int:
        return 0


def run(model: Any, line: Line, ends: Sequence[int]) -> torch.Tensor:
    """Run a step; the logits (ends, vocabulary) that follow the tokens that stand at ``ends`` in the line."""
    import torch

    device = model.device
    with _attending(model, line):
        logits: torch.Tensor = model(
            input_ids=torch.tensor([line.ids], device=device),
            position_ids=torch.tensor([line.positions], device=device),
            past_key_values=_NoCache(),
            use_cache=True,
            logits_to_keep=torch.tensor(list(ends), dtype=torch.long, device=device),
        ).logits
    return logits[0]


@contextmanager
def _attending(model: Any, line: Line) -> Iterator[None]:
    from transformers import AttentionInterface

    AttentionInterface.register(_NAME, _attend)
    config = model.config.get_text_config(decoder=True)
    before = config._attn_implementation
    config._attn_implementation = _NAME
    _now.line = line
    try:
        yield
    finally:
        config._attn_implementation = before
        _now.line = None


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: Any,  # noqa: ARG001  # ours is in the line
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    line: Line = _now.line
    return line.attend(module.layer_idx, query, key, value, How(scaling, softcap, s_aux)), None
