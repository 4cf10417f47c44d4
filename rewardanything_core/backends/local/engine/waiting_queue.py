"""The line of replies that wait to be written, and who of them goes in next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

PATIENCE = 8
"""How many others may go past the one that has waited longest, because it is too long for the room that is left."""


class Sized(Protocol):
    """Something that takes room."""

    @property
    def need(self) -> int:
        """How much, in tokens."""


S = TypeVar("S", bound=Sized)


class Line(Generic[S]):
    """First come, first served, except that a short one may go past a long one that does not fit yet.

    The one that has waited longest is passed `PATIENCE` times at most. Then nobody goes in before it, so that the room
    it needs becomes free.
    """

    def __init__(self) -> None:
        self._waiting: deque[S] = deque()
        self._passed = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[S]:
        return iter(self._waiting)

    def join(self, one: S) -> None:
        """Wait at the end of the line."""
        self._waiting.append(one)

    def rejoin(self, some: Iterable[S]) -> None:
        """Wait at the head of the line, in this order: for those that had been in and must make room again."""
        self._waiting.extendleft(reversed(list(some)))
        self._passed = 0

    def drop(self, leaves: Callable[[S], bool]) -> list[S]:
        """Send away those for whom this is so, and say who they are."""
        left = [one for one in self._waiting if leaves(one)]
        if left:
            self._waiting = deque(one for one in self._waiting if not leaves(one))
        return left

    def clear(self) -> list[S]:
        """Send all away, and say who they are."""
        left = list(self._waiting)
        self._waiting.clear()
        self._passed = 0
        return left

    def admit(self, places: int, tokens: int, *, empty: bool) -> list[S]:
        """Who goes in now, in the order in which they came.

        Args:
            places: How many more may be in.
            tokens: How many more tokens there is room for.
            empty: Whether nobody is in. Then the first one goes in however long it is: waiting would not help it.
        """
        admitted: list[S] = []
        passed_by: list[S] = []
        while self._waiting and len(admitted) < places:
            one = self._waiting.popleft()
            if one.need <= tokens or (empty and not admitted and not passed_by):
                admitted.append(one)
                tokens -= one.need
                if not passed_by:
                    self._passed = 0
                    continue
                self._passed += 1
            else:
                passed_by.append(one)
            if self._passed >= PATIENCE:
                break
        self._waiting.extendleft(reversed(passed_by))
        return admitted
