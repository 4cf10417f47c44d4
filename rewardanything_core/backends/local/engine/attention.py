"""How the heads of a layer look at keys and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class How:
    """What a layer says about its attention."""

    scaling: float | None
    softcap: float | None
    sinks: torch.Tensor | None

    def attend(
        self, asked: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, *, folded: bool
    ) -> torch.Tensor:
        """From (rows, heads, wide, width) to the same.

        Args:
            asked: Queries.
            keys: (rows, heads that several of the queries' share, columns, width).
            values: The same.
            mask: (rows, 1, wide, columns).
            folded: Lay the heads that share keys one after the other, as if they were more tokens: while there are
                few tokens, that costs less than repeating the keys for each head.
        """
        import torch

        rows, heads, wide, width = asked.shape
        times = heads // keys.shape[1]
        plain = self.softcap is None and self.sinks is None
        if plain and not folded:
            return torch.nn.functional.scaled_dot_product_attention(
                asked, keys, values, attn_mask=mask, scale=self.scaling, enable_gqa=times > 1
            )
        asked = asked.reshape(rows, -1, times * wide, width)
        mask = mask.repeat(1, 1, times, 1)
        if plain:
            found = torch.nn.functional.scaled_dot_product_attention(
                asked, keys, values, attn_mask=mask, scale=self.scaling
            )
        else:
            found = self._shares(asked @ keys.transpose(-1, -2), mask, times, width).to(values.dtype) @ values
        return found.reshape(rows, heads, wide, -1)

    def attend_alike(
        self, asked: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, shared: int
    ) -> torch.Tensor:
        """`attend`, folded, where all rows begin alike: those columns are taken from memory once, from the first row.

        The idea is that of Hydragen (Juravsky et al., 2024); here all weights go through one softmax.
        """
        import torch

        rows, heads, wide, width = asked.shape
        groups = keys.shape[1]
        times = heads // groups

        def together(each: torch.Tensor) -> torch.Tensor:
            return each.transpose(0, 1).reshape(groups, rows * times * wide, -1)

        def apart(all_: torch.Tensor) -> torch.Tensor:
            return all_.view(groups, rows, times * wide, -1).transpose(0, 1)

        asked = asked.reshape(rows, groups, times * wide, width)
        beginning = apart(together(asked) @ keys[0, :, :shared].transpose(-1, -2))
        own = asked @ keys[:, :, shared:].transpose(-1, -2)
        shares = self._shares(torch.cat([beginning, own], dim=-1), mask.repeat(1, 1, times, 1), times, width)
        shares = shares.to(values.dtype)
        found = shares[..., shared:] @ values[:, :, shared:]
        found = found + apart(together(shares[..., :shared]) @ values[0, :, :shared])
        return found.reshape(rows, heads, wide, -1)

    def _shares(self, weights: torch.Tensor, mask: torch.Tensor, times: int, width: int) -> torch.Tensor:
        """What each column counts for, from the products of queries and keys: (rows, groups, tokens, columns)."""
        import torch

        weights = weights.float() * (width**-0.5 if self.scaling is None else self.scaling)
        if self.softcap is not None:
            weights = torch.tanh(weights / self.softcap) * self.softcap
        weights = weights + mask
        if self.sinks is None:
            return torch.softmax(weights, dim=-1)
        rows, groups, tokens, _ = weights.shape
        sinks = self.sinks.float().view(1, groups, times, 1).expand(rows, -1, -1, tokens // times)
        weights = torch.cat([weights, sinks.reshape(rows, groups, tokens, 1)], dim=-1)
        return torch.softmax(weights, dim=-1)[..., :-1]


def mask_of(sees: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """0 where something is seen, the least number of the type where it is not; type and device of ``like``."""
    import torch

    mask = torch.zeros(sees.shape, dtype=like.dtype, device=sees.device)
    return mask.masked_fill(~sees, torch.finfo(like.dtype).min).to(like.device)


def one_more(*, gpu: bool) -> int:
    """What one more attention operation costs, in pairs of a token and a column that it could look at instead."""
    return 500_000 if gpu else 2_000


@dataclass(frozen=True)
class Reach:
    """How far back the tokens of a layer see."""

    kind: str
    """``full_attention``, ``sliding_attention`` or ``chunked_attention``."""

    size: int = 0
    """Of the window or chunk, in tokens; 0 for full attention."""

    def sees(self, column: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        """Whether the token at one position sees that at another, for all of both as they broadcast."""
        sees = column <= at
        if self.kind == "sliding_attention":
            sees &= column > at - self.size
        elif self.kind == "chunked_attention":
            sees &= column >= at // self.size * self.size
        return sees


def reaches_of(config: Any) -> list[Reach] | None:
    """How far each layer of a model sees. None: some keep a state of another kind than keys and values."""
    from transformers.cache_utils import get_layer_types_and_kwargs

    found = []
    kinds, about = get_layer_types_and_kwargs(config.get_text_config(decoder=True))
    each = [about] * len(kinds) if isinstance(about, dict) else about  # one for all layers before transformers 5.20
    for kind, details in zip(kinds, each, strict=True):
        if kind in ("full_attention", "dummy"):
            found.append(Reach("full_attention"))
        elif kind in ("sliding_attention", "chunked_attention"):
            found.append(Reach(kind, int(details["sliding_window"])))
        else:
            return None
    return found
