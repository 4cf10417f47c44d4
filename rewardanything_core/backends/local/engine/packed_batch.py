"""One pass of a model over tokens of many rows, side by side in one line, without padding.

The tokens that a step adds to its rows (one for a row that writes, several where text is certain, a slice of a
prompt) are laid end to end as if they were one sequence, and all that treats tokens one by one, which is nearly all of
the work, runs over that line. Only attention has to know which token belongs to whom. It is given to the model as an
attention function of our own, which puts the new keys and values into the rows' seats and lets every token look at its
own row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rewardanything_core.backends.local.engine.attention import How, Reach, mask_of, one_more
from rewardanything_core.backends.local.engine.kv_cache import Seat, Shelf, common

if TYPE_CHECKING:
    import torch

_FOLDED = 16  # tokens: as long as rows add no more, heads that share keys are laid one after the other
_WORTHWHILE = 64  # columns that rows have in common, from which on looking at them together pays


@dataclass(frozen=True)
class Part:
    """What a step adds to one row."""

    seat: Seat
    """Where the row's keys and values are."""

    start: int
    """The column and position of the first of the tokens."""

    ids: Sequence[int]
    """The tokens."""

    row: Sequence[int] = ()
    """The tokens of the whole row, as far as they are known, where neighbours that begin alike are to profit."""


class Layout:
    """Which tokens of a step belong to whom, and what they see.

    Args:
        parts: What each row adds.
        reaches: How far each layer sees.
        gpu: Whether the model is on one.
    """

    def __init__(self, parts: Sequence[Part], reaches: Sequence[Reach], *, gpu: bool) -> None:
        self._reaches = reaches
        self.ids: list[int] = []
        self.positions: list[int] = []
        self._stretches: list[tuple[Shelf, list[_Group]]] = []
        ends: dict[int, int] = {}
        on_shelf: dict[Shelf, list[Part]] = {}
        for part in parts:
            on_shelf.setdefault(part.seat.shelf, []).append(part)
        for shelf, its in on_shelf.items():
            self._stretches.append((shelf, []))
            for members in _grouped(its, one_more(gpu=gpu)):
                placed = []
                for part in members:
                    placed.append((len(self.ids), part))
                    self.ids += part.ids
                    self.positions += range(part.start, part.start + len(part.ids))
                    ends[id(part)] = len(self.ids) - 1
                self._stretches[-1][1].append(_Group(placed))
        self.ends = [ends[id(part)] for part in parts]
        self._where: dict[torch.device, list[tuple[Shelf, slice, torch.Tensor, torch.Tensor]]] = {}

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, how: How) -> torch.Tensor:
        """From (1, heads, tokens, width) to (1, tokens, heads, width)."""
        asked, keys, values = (t[0].transpose(0, 1) for t in (query, key, value))
        seen = asked.new_empty((len(self.ids), asked.shape[1], values.shape[2]))
        reach = self._reaches[layer]
        for (shelf, span, seats, columns), (_, groups) in zip(
            self._targets(query.device), self._stretches, strict=True
        ):
            held = shelf.write(layer, keys[span], values[span], seats, columns)
            for group in groups:
                seen[group.span] = group.attend(asked[group.span], held, reach, how)
        return seen[None]

    def _targets(self, device: torch.device) -> list[tuple[Shelf, slice, torch.Tensor, torch.Tensor]]:
        import torch

        if device not in self._where:
            self._where[device] = []
            for shelf, groups in self._stretches:
                parts = [part for group in groups for _, part in group.parts]
                seats = [part.seat.index for part in parts for _ in part.ids]
                columns = [part.start + i for part in parts for i in range(len(part.ids))]
                span = slice(groups[0].span.start, groups[-1].span.stop)
                both = torch.tensor([seats, columns], device=device)
                self._where[device].append((shelf, span, both[0], both[1]))
        return self._where[device]


class _Group:
    """Rows of a shelf that look at their seats in one operation."""

    def __init__(self, parts: list[tuple[int, Part]]) -> None:
        self.parts = parts
        self.wide = max(len(part.ids) for _, part in parts)
        self._masks: dict[tuple[Reach, torch.device, torch.dtype], torch.Tensor] = {}
        self._slots: dict[torch.device, torch.Tensor] = {}

    @property
    def span(self) -> slice:
        """Where its tokens stand in the line."""
        first, last = self.parts[0], self.parts[-1]
        return slice(first[0], last[0] + len(last[1].ids))

    def attend(self, asked: torch.Tensor, held: list[torch.Tensor], reach: Reach, how: How) -> torch.Tensor:
        """From (tokens, heads, width) to the same; ``held`` are the shelf's keys and values."""
        low = self.parts[0][1].seat.index
        rows = self.parts[-1][1].seat.index - low + 1
        wide = self.wide
        columns = max(part.start + len(part.ids) for _, part in self.parts)
        keys, values = (t[low : low + rows, :, :columns] for t in held)
        mask = self._mask(reach, rows, wide, columns, asked)
        tokens, heads, width = asked.shape
        dense = tokens == rows * wide
        if not dense:
            slots = self._where(low, wide, asked.device)
            asked = asked.new_zeros((rows * wide, heads, width)).index_copy_(0, slots, asked)
        asked = asked.reshape(rows, wide, heads, width).transpose(1, 2)
        if self.shared >= _WORTHWHILE:
            found = how.attend_alike(asked, keys, values, mask, self.shared).transpose(1, 2)
        else:
            found = how.attend(asked, keys, values, mask, folded=wide <= _FOLDED).transpose(1, 2)
        found = found.reshape(rows * wide, heads, values.shape[3])
        return found if dense else found[slots]

    @cached_property
    def shared(self) -> int:
        """How many columns all rows have in common and have run already, where there are several rows."""
        (_, one), *others = self.parts
        if not others:
            return 0
        return min(min(part.start for _, part in self.parts), *(common(one.row, other.row) for _, other in others))

    def _where(self, low: int, wide: int, device: torch.device) -> torch.Tensor:
        import torch

        if device not in self._slots:
            slots = [(part.seat.index - low) * wide + i for _, part in self.parts for i in range(len(part.ids))]
            self._slots[device] = torch.tensor(slots, device=device)
        return self._slots[device]

    def _mask(self, reach: Reach, rows: int, wide: int, columns: int, like: torch.Tensor) -> torch.Tensor:
        """(rows, 1, wide, columns): 0 where a token sees another, the least number of the type where it does not."""
        import torch

        known = (reach, like.device, like.dtype)
        if known not in self._masks:
            at = torch.full((rows, wide), -1)
            for _, part in self.parts:
                row = part.seat.index - self.parts[0][1].seat.index
                at[row, : len(part.ids)] = torch.arange(part.start, part.start + len(part.ids))
            at = at.to(like.device)[:, None, :, None]
            column = torch.arange(columns, device=like.device)
            self._masks[known] = mask_of(reach.sees(column, at), like)
        return self._masks[known]


def _grouped(parts: Sequence[Part], apart: int) -> list[list[Part]]:
    """Parts of one shelf: those that add least in one rectangle of seats by tokens, all others each by itself.

    As many go into the rectangle as makes the whole cheapest; ``apart`` is what one more operation costs.
    """
    ordered = sorted(parts, key=lambda part: len(part.ids))
    costs = {}
    for count in range(1, len(ordered) + 1):
        if count < len(ordered) and len(ordered[count].ids) == len(ordered[count - 1].ids):
            continue
        inside, outside = ordered[:count], ordered[count:]
        seats = [part.seat.index for part in inside]
        columns = max(part.start + len(part.ids) for part in inside)
        together = (max(seats) - min(seats) + 1) * len(inside[-1].ids) * columns
        alone = sum(len(part.ids) * (part.start + len(part.ids)) + apart for part in outside)
        costs[count] = together + alone
    count = min(costs, key=lambda each: costs[each])
    return [sorted(ordered[:count], key=lambda part: part.seat.index), *([part] for part in ordered[count:])]
