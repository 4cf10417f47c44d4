"""The queue of sequences that wait for a place in the batch: first in, first out, with bounded overtaking."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

MAX_OVERTAKES = 8
"""How many later sequences may overtake the first one in the queue while it is too long for what is left. Not swept."""


class Sized(Protocol):
    """Something that takes up tokens."""

    @property
    def max_length(self) -> int:
        """The most tokens that it can take up."""


S = TypeVar("S", bound=Sized)


class WaitingQueue(Generic[S]):
    """First in, first out, except that a short sequence may overtake a long one that does not fit yet.

    Strict order would leave room unused while a long sequence waits; overtaking without a bound would let a stream of
    short ones starve it. After `MAX_OVERTAKES` nothing is admitted before it, so that running sequences drain and the
    tokens it needs become free.
    """

    def __init__(self) -> None:
        self._waiting: deque[S] = deque()
        self._num_overtakes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[S]:
        return iter(self._waiting)

    def append(self, sequence: S) -> None:
        """Add a sequence at the end."""
        self._waiting.append(sequence)

    def requeue(self, sequences: Iterable[S]) -> None:
        """Put preempted sequences back at the head, in this order."""
        self._waiting.extendleft(reversed(list(sequences)))
        self._num_overtakes = 0

    def remove_if(self, condition: Callable[[S], bool]) -> list[S]:
        """Remove the sequences for which the condition is true.

        Returns:
            The removed sequences.
        """
        removed = [sequence for sequence in self._waiting if condition(sequence)]
        if removed:
            self._waiting = deque(sequence for sequence in self._waiting if not condition(sequence))
        return removed

    def admit(self, max_seqs: int, max_tokens: int, *, batch_is_empty: bool) -> list[S]:
        """Remove the sequences that may join the batch now.

        Args:
            max_seqs: How many sequences may be added.
            max_tokens: How many tokens they may have together.
            batch_is_empty: Whether nothing is running. Then the first sequence is admitted whatever its length: it
                would not fit any better later.

        Returns:
            The admitted sequences, in the order in which they were added.
        """
        admitted: list[S] = []
        overtaken: list[S] = []
        while self._waiting and len(admitted) < max_seqs:
            sequence = self._waiting.popleft()
            if sequence.max_length <= max_tokens or (batch_is_empty and not admitted and not overtaken):
                admitted.append(sequence)
                max_tokens -= sequence.max_length
                if not overtaken:
                    self._num_overtakes = 0
                    continue
                self._num_overtakes += 1
            else:
                overtaken.append(sequence)
            if self._num_overtakes >= MAX_OVERTAKES:
                break
        self._waiting.extendleft(reversed(overtaken))
        return admitted
