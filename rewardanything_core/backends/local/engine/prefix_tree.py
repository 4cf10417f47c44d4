"""Sequences of tokens that begin alike, as a tree: what several begin with goes through a model once.

The tree is laid end to end in one line, with positions as in each sequence alone, and every token sees its own
sequence's beginning and nothing else. Attention is worked out for a few stretches of the line at a time, each over the
columns that any of it sees, so that branches do not pay for each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rewardanything_core.backends.local.engine.attention import How, Reach, mask_of, one_more
from rewardanything_core.backends.local.engine.kv_cache import common

if TYPE_CHECKING:
    import torch

_WIDE = 256
"""Tokens of a stretch: of a longer one, the first would look at columns that only the last see."""


@dataclass(frozen=True)
class _Branch:
    """What a sequence, or a part of it, adds to the line."""

    start: int
    end: int
    path: Sequence[int]
    """Columns that the last of these tokens sees, by position."""

    first: int
    """Position of the first of these tokens."""


class Tree:
    """Sorted sequences of token ids with what they begin with in common standing once.

    Args:
        sequences: The sequences.
        reaches: How far each layer sees.
        gpu: Whether the model is on one.
    """

    def __init__(self, sequences: Sequence[Sequence[int]], reaches: Sequence[Reach], *, gpu: bool) -> None:
        self._reaches = reaches
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.ends: list[int] = []
        self._stretches: list[_Stretch] = []
        apart = one_more(gpu=gpu)
        path: list[int] = []
        before: Sequence[int] = []
        for ids in sequences:
            shared = common(before, ids)
            start = len(self.ids)
            self.ids += ids[shared:]
            self.positions += range(shared, len(ids))
            path = [*path[:shared], *range(start, len(self.ids))]
            self.ends.append(path[-1])
            for first in range(shared, len(ids), _WIDE):
                last = min(first + _WIDE, len(ids))
                self._add(_Branch(path[first], path[last - 1] + 1, path[:last], first), apart)
            before = ids

    def _add(self, branch: _Branch, apart: int) -> None:
        alone = _Stretch()
        alone.add(branch)
        last = self._stretches[-1] if self._stretches else None
        if last is not None and last.pairs_with(branch) <= last.pairs + alone.pairs + apart:
            last.add(branch)
        else:
            self._stretches.append(alone)

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, how: How) -> torch.Tensor:
        """From (1, heads, tokens, width) to (1, tokens, heads, width)."""
        seen = query.new_empty((1, len(self.ids), query.shape[1], value.shape[3]))
        for stretch in self._stretches:
            columns = stretch.columns_on(key.device)
            found = how.attend(
                query[:, :, stretch.span],
                key[:, :, columns],
                value[:, :, columns],
                stretch.mask(self._reaches[layer], query),
                folded=False,
            )
            seen[:, stretch.span] = found.transpose(1, 2)
        return seen


class _Stretch:
    """Neighbours in the line that look in one operation."""

    def __init__(self) -> None:
        self._branches: list[_Branch] = []
        self._columns: dict[int, None] = {}
        self._placed: dict[torch.device, torch.Tensor] = {}
        self._masks: dict[tuple[Reach, torch.device, torch.dtype], torch.Tensor] = {}

    def add(self, branch: _Branch) -> None:
        """Take in what comes next in the line."""
        self._branches.append(branch)
        self._columns.update(dict.fromkeys(branch.path))

    @property
    def span(self) -> slice:
        """Where it is in the line."""
        return slice(self._branches[0].start, self._branches[-1].end)

    @property
    def pairs(self) -> int:
        """What looking costs."""
        return (self._branches[-1].end - self._branches[0].start) * len(self._columns)

    def pairs_with(self, branch: _Branch) -> int:
        """What it would cost with another branch."""
        more = sum(column not in self._columns for column in branch.path)
        return (branch.end - self._branches[0].start) * (len(self._columns) + more)

    def columns_on(self, device: torch.device) -> torch.Tensor:
        """The columns of the line that any of the stretch sees."""
        import torch

        if device not in self._placed:
            self._placed[device] = torch.tensor(list(self._columns), device=device)
        return self._placed[device]

    def mask(self, reach: Reach, like: torch.Tensor) -> torch.Tensor:
        """(1, 1, tokens, columns): 0 where a token sees another, the least number of the type where it does not."""
        import torch

        known = (reach, like.device, like.dtype)
        if known not in self._masks:
            place = {column: at for at, column in enumerate(self._columns)}
            sees = torch.zeros((self.span.stop - self.span.start, len(self._columns)), dtype=torch.bool)
            for branch in self._branches:
                own = torch.arange(branch.first, branch.first + branch.end - branch.start)[:, None]
                rows = slice(branch.start - self.span.start, branch.end - self.span.start)
                where = torch.tensor([place[column] for column in branch.path])
                sees[rows, where] = reach.sees(torch.arange(len(branch.path)), own)
            self._masks[known] = mask_of(sees, like)[None, None]
        return self._masks[known]
