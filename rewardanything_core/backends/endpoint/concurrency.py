"""Who may send next: places for requests in flight, and the queues before them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager

PROBE_DELAYS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between the attempts to reach a server that is gone; the last one again and again."""


class Slots:
    """Places for the requests in flight to one endpoint. Used on one event loop only.

    Who has been tried before goes first. Of the others, one group follows another in the order in which their oldest
    requests came, and of each at most so many go in a row as may be in flight: requests that begin alike then arrive
    together, as a server's prefix cache wants it, and none waits for ever.

    While a server is gone, one request at a time tries to reach it and all others wait.

    Args:
        most: Most requests in flight.
    """

    def __init__(self, most: int) -> None:
        self.pace = Pace(most)
        self._most = most
        self._taken = 0
        self._again: deque[asyncio.Future[None]] = deque()
        self._groups: dict[Hashable, deque[asyncio.Future[None]]] = {}
        self._current: Hashable = None
        self._in_a_row = 0
        self._gone_since: float | None = None
        self._probes = 0
        self._until_probe: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def one(self, prefix_group: Hashable = None, *, again: bool = False) -> AsyncIterator[None]:
        """Hold a place, waiting for one if need be.

        Args:
            prefix_group: What the request has in common with others. None: nothing.
            again: Whether the request was sent before.
        """
        if self._taken < self._open and not self._waiting:
            self._taken += 1
        else:
            await self._turn(object() if prefix_group is None else prefix_group, again)
        try:
            yield
        finally:
            self._taken -= 1
            self._admit()

    @contextmanager
    def spare(self) -> Iterator[Callable[[], bool]]:
        """A function that takes one more place for who has one, if it is free and nobody waits for it; true if so."""
        taken = False

        def take() -> bool:
            nonlocal taken
            taken = not self._waiting and self._taken < self._open
            self._taken += taken
            return taken

        try:
            yield take
        finally:
            if taken:
                self._taken -= 1
                self._admit()

    # --- what became of requests

    def answered(self, *, refused: bool) -> None:
        """Note that the server is there; ``refused``: that it has too much to do."""
        self.pace.note(refused=refused)
        if self._gone_since is not None:
            self._here()

    def timed_out(self) -> None:
        """Note that a reply did not come in time."""
        self.pace.note(refused=True)

    def gone(self) -> float:
        """Note that nobody listens where the server was, and let one request try again in a while.

        Returns:
            For how many seconds it has been so.
        """
        loop = asyncio.get_running_loop()
        if self._gone_since is None:
            self._gone_since = loop.time()
        if self._until_probe is None:
            delay = PROBE_DELAYS[min(self._probes, len(PROBE_DELAYS) - 1)]
            self._probes += 1
            self._until_probe = loop.call_later(delay, self._probe)
        return loop.time() - self._gone_since

    def give_up(self) -> None:
        """Stop waiting for a server that is gone: whoever asks now finds out for itself."""
        self._here()

    def _here(self) -> None:
        self._gone_since, self._probes = None, 0
        if self._until_probe is not None:
            self._until_probe.cancel()
            self._until_probe = None
        self._admit()

    def _probe(self) -> None:
        self._until_probe = None
        self._admit()

    # --- the queues

    @property
    def _open(self) -> int:
        if self._gone_since is None:
            return self.pace.limit
        return 0 if self._until_probe is not None else 1

    @property
    def _waiting(self) -> bool:
        return bool(self._again or self._groups)

    async def _turn(self, prefix_group: Hashable, again: bool) -> None:
        turn = asyncio.get_running_loop().create_future()
        (self._again if again else self._groups.setdefault(prefix_group, deque())).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # its turn came in the same moment
                self._taken -= 1
                self._admit()
            raise

    def _admit(self) -> None:
        while self._taken < self._open and self._waiting:
            turn = self._next()
            if not turn.done():  # it was cancelled while it waited
                self._taken += 1
                turn.set_result(None)

    def _next(self) -> asyncio.Future[None]:
        if self._again:
            return self._again.popleft()
        if self._current not in self._groups or self._in_a_row >= self._most:
            if self._current in self._groups:  # it has had its share: to the end of the line
                self._groups[self._current] = self._groups.pop(self._current)
            self._current, self._in_a_row = next(iter(self._groups)), 0
        queue = self._groups[self._current]
        self._in_a_row += 1
        turn = queue.popleft()
        if not queue:
            del self._groups[self._current]
        return turn


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
