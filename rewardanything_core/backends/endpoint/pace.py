"""How many requests a server is given at once: as many as allowed, fewer while it says that it is too many."""

from __future__ import annotations

EVEN_ROUNDS = 3
"""Rounds without a refusal after which the limit grows faster from round to round."""


class Pace:
    """A limit that grows by addition and shrinks by multiplication. It knows of no clock, only of rounds.

    A round is as many outcomes as the limit admits requests. At its end the limit grows by one, and shrinks by half
    of the share that was refused: by half where everything was, by a twentieth where it was every tenth. So a server
    that is asked too much is soon asked less, while stray refusals, which asking less would not prevent, cost little.
    After `EVEN_ROUNDS` rounds in a row without any refusal the step doubles with each further one.

    Args:
        most: The limit to begin with, never exceeded; 1 or more.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = float(most)
        self._outcomes = self._refused = self._even = 0

    @property
    def limit(self) -> int:
        """Most requests to have in flight, 1 or more."""
        return int(self._limit)

    def note(self, *, refused: bool) -> None:
        """Count one outcome; ``refused``: the server had too much to do (rate limited, overloaded, timed out)."""
        self._outcomes += 1
        self._refused += refused
        if self._outcomes < self.limit:
            return
        share = self._refused / self._outcomes
        self._even = 0 if self._refused else self._even + 1
        step = 2.0 ** max(0, self._even - EVEN_ROUNDS)
        grown = self._limit * (1 - share / 2) + step * (1 - share)
        self._limit = max(1.0, min(float(self._most), grown))
        self._outcomes = self._refused = 0
