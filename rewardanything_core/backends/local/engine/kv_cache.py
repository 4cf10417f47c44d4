"""Where rows keep their keys and values while they are written, and what is left of them for those that come after.

A shelf is a rectangle in memory for each layer: seats by columns. Rows sit on a shelf with others of about their
length, so that a long one makes no short one pay for its columns. A row fills its seat from the left without gaps; what
it takes back is overwritten by what comes next.

A seat that is free again keeps what stands in it until somebody takes it. A row that comes in looks for the seat that
begins as it does for longest, whoever sits or sat there, and copies that beginning, or moves in. So what prompts have
in common (the judging instructions, the principle, what is said before the responses) is run once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_COLUMNS = 128  # shelves grow by this many at least
_SHORTEST = 512  # columns: replies that take fewer sit together


@dataclass(eq=False)
class Seat:
    """Room for one row."""

    shelf: Shelf
    """Where it is."""

    index: int
    """Which one there."""

    ids: list[int] = field(default_factory=list)
    """The tokens whose keys and values stand in it, up to date while nobody sits in it."""

    taken: bool = False
    """Whether somebody sits in it."""


class Shelf:
    """Seats for rows of about the same length.

    Args:
        length: The most columns that its rows are expected to need.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.seats: list[Seat] = []
        self._rows = self._columns = 0
        self._layers: dict[int, list[torch.Tensor]] = {}

    @property
    def size(self) -> int:
        """Seats times columns."""
        return self._rows * self._columns

    @property
    def occupied(self) -> bool:
        """Whether anybody sits here."""
        return any(seat.taken for seat in self.seats)

    def seat(self) -> Seat:
        """A free seat: one in which nothing stands if there is one, else the first; a new one where all are taken."""
        free = [seat for seat in self.seats if not seat.taken]
        if free:
            return min(free, key=lambda seat: (len(seat.ids) > 0, seat.index))
        self.seats.append(Seat(self, len(self.seats)))
        if len(self.seats) > self._rows:
            self._resize(max(len(self.seats), 2 * self._rows), self._columns)
        return self.seats[-1]

    def make_room(self, columns: int) -> None:
        """Have this many columns at least."""
        if columns > self._columns:
            wanted = -(-max(columns, min(2 * self._columns, self.length)) // _COLUMNS) * _COLUMNS
            self._resize(self._rows, wanted)

    def write(
        self, layer: int, keys: torch.Tensor, values: torch.Tensor, seats: torch.Tensor, columns: torch.Tensor
    ) -> list[torch.Tensor]:
        """Put down keys and values (tokens, heads, width) and return all there are (seats, heads, columns, width)."""
        pair = self._layers.get(layer)
        if pair is None:
            # Zeros: what is masked out is multiplied by nought, and memory as it comes may hold what is not a number.
            pair = [t.new_zeros((self._rows, t.shape[1], self._columns, t.shape[2])) for t in (keys, values)]
            self._layers[layer] = pair
        pair[0][seats, :, columns] = keys
        pair[1][seats, :, columns] = values
        return pair

    def copy(self, size: int, source: Seat, index: int) -> None:
        """Copy the first ``size`` columns of a seat, here or elsewhere, into a seat of this shelf."""
        self.make_room(size)
        for layer, pair in source.shelf._layers.items():
            if layer not in self._layers:
                self._layers[layer] = [t.new_zeros((self._rows, t.shape[1], self._columns, t.shape[3])) for t in pair]
            for mine, theirs in zip(self._layers[layer], pair, strict=True):
                mine[index, :, :size] = theirs[source.index, :, :size]

    def _resize(self, rows: int, columns: int) -> None:
        for pair in self._layers.values():
            for i, old in enumerate(pair):
                pair[i] = old.new_zeros((rows, old.shape[1], columns, old.shape[3]))
                pair[i][: self._rows, :, : self._columns] = old
        self._rows, self._columns = rows, columns


class Shelves:
    """All seats there are.

    Args:
        tokens: How many seats times columns may stand by. Beyond that, shelves on which nobody sits are given back.
    """

    def __init__(self, tokens: int = 2**31) -> None:
        self._tokens = tokens
        self._shelves: dict[int, Shelf] = {}

    def __iter__(self) -> Iterator[Seat]:
        for shelf in self._shelves.values():
            yield from shelf.seats

    def enter(self, ids: Sequence[int], need: int, donor: Seat | None, known: int) -> Seat:
        """A seat for a row of these tokens, the first ``known`` of them already in it, as they are in ``donor``."""
        length = _SHORTEST
        while length < need:
            length *= 2
        shelf = self._shelves.setdefault(length, Shelf(length))
        if sum(one.size for one in self._shelves.values()) > self._tokens:
            self._shelves = {n: one for n, one in self._shelves.items() if one is shelf or one.occupied}
        if donor is not None and known and donor.shelf is shelf and not donor.taken:
            seat = donor
        else:
            seat = shelf.seat()
            if donor is not None and known:
                shelf.copy(known, donor, seat.index)
        seat.taken = True
        seat.ids = list(ids[:known])
        return seat

    def leave(self, seat: Seat, ids: list[int]) -> None:
        """Free a seat in which the keys and values of these tokens stand."""
        seat.taken, seat.ids = False, ids

    def trim(self) -> None:
        """While nobody sits anywhere: let go of all memory but the seat that says most, for whoever comes next."""
        best = max(self, key=lambda seat: len(seat.ids), default=None)
        self._shelves, kept = {}, best
        if kept is not None and kept.ids:
            seat = self.enter(kept.ids, len(kept.ids), kept, len(kept.ids))
            self.leave(seat, kept.ids)


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens both begin with."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while high - low > 1:  # a[:low] agrees, a[:high] does not; slices compare at the speed of C
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low
