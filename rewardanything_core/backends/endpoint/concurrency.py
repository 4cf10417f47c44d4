"""How many requests are in flight, and which waiting request is sent next."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

PROBE_DELAYS = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts to reach an unreachable server; the last value repeats. Measured with
``benchmarks/endpoint_under_faults.py``."""


class ConcurrencyLimiter:
    """Slots for the requests in flight to one endpoint, and the queues for them. For one event loop only.

    Requests that were sent before are admitted first. The others are admitted group by group, in the order of each
    group's oldest request, with at most ``maximum`` consecutive requests of one group: requests with a common prefix
    arrive together, so that the server's prefix cache serves them (``benchmarks/prefix_order.py``), and no group
    starves.

    While the server is unreachable, one request at a time tries to connect and all others wait.

    Args:
        maximum: Maximum number of requests in flight, 1 or more.
    """

    def __init__(self, maximum: int) -> None:
        self.limit = AIMDLimit(maximum)
        self._maximum = maximum
        self._in_flight = 0
        self._retries: deque[asyncio.Future[None]] = deque()
        self._groups: dict[Hashable, deque[asyncio.Future[None]]] = {}
        self._current_group: Hashable = None
        self._consecutive = 0
        self._unreachable_since: float | None = None
        self._probes = 0
        self._next_probe: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def slot(self, prefix_group: Hashable = None, *, retry: bool = False) -> AsyncIterator[None]:
        """Hold a slot, after waiting for it if necessary.

        Args:
            prefix_group: The group of requests that share the request's prefix. None: it shares none.
            retry: Whether the request was sent before.
        """
        if self._in_flight < self._capacity and not self._has_waiters:
            self._in_flight += 1
        else:
            await self._wait(object() if prefix_group is None else prefix_group, retry)
        try:
            yield
        finally:
            self.release()

    def try_acquire(self) -> bool:
        """Take a slot if one is free and no request waits for it; the caller then has to `release` it."""
        free = not self._has_waiters and self._in_flight < self._capacity
        self._in_flight += free
        return free

    def release(self) -> None:
        """Return a slot."""
        self._in_flight -= 1
        self._admit()

    # --- outcomes of requests

    def record_reply(self, *, overloaded: bool) -> None:
        """Record that the server replied.

        Args:
            overloaded: Whether it refused the request because it is rate limiting or overloaded.
        """
        self.limit.record(overloaded=overloaded)
        if self._unreachable_since is not None:
            self._resume()

    def record_timeout(self) -> None:
        """Record that a reply did not arrive in time."""
        self.limit.record(overloaded=True)

    def record_unreachable(self) -> float:
        """Record that the server refuses connections, and schedule the next attempt to connect.

        Returns:
            Seconds for which the server has been unreachable.
        """
        loop = asyncio.get_running_loop()
        if self._unreachable_since is None:
            self._unreachable_since = loop.time()
        if self._next_probe is None:
            delay = PROBE_DELAYS[min(self._probes, len(PROBE_DELAYS) - 1)]
            self._probes += 1
            self._next_probe = loop.call_later(delay, self._probe)
        return loop.time() - self._unreachable_since

    def stop_waiting(self) -> None:
        """Stop waiting for an unreachable server: from now on each request tries to connect."""
        self._resume()

    def _resume(self) -> None:
        self._unreachable_since, self._probes = None, 0
        if self._next_probe is not None:
            self._next_probe.cancel()
            self._next_probe = None
        self._admit()

    def _probe(self) -> None:
        self._next_probe = None
        self._admit()

    # --- the queues

    @property
    def _capacity(self) -> int:
        if self._unreachable_since is None:
            return self.limit.value
        return 0 if self._next_probe is not None else 1

    @property
    def _has_waiters(self) -> bool:
        return bool(self._retries or self._groups)

    async def _wait(self, prefix_group: Hashable, retry: bool) -> None:
        admission = asyncio.get_running_loop().create_future()
        (self._retries if retry else self._groups.setdefault(prefix_group, deque())).append(admission)
        try:
            await admission
        except asyncio.CancelledError:
            if admission.done() and not admission.cancelled():  # it was admitted in the same moment
                self.release()
            raise

    def _admit(self) -> None:
        while self._in_flight < self._capacity and self._has_waiters:
            admission = self._next()
            if not admission.done():  # it was cancelled while it waited
                self._in_flight += 1
                admission.set_result(None)

    def _next(self) -> asyncio.Future[None]:
        if self._retries:
            return self._retries.popleft()
        if self._current_group not in self._groups or self._consecutive >= self._maximum:
            if self._current_group in self._groups:  # it has had its share and goes behind the other groups
                self._groups[self._current_group] = self._groups.pop(self._current_group)
            self._current_group, self._consecutive = next(iter(self._groups)), 0
        queue = self._groups[self._current_group]
        self._consecutive += 1
        admission = queue.popleft()
        if not queue:
            del self._groups[self._current_group]
        return admission


CLEAN_ROUNDS = 3
"""Rounds without an overload after which the limit grows faster from round to round. Measured with
``benchmarks/endpoint_overload.py``."""


class AIMDLimit:
    """A limit with additive increase and multiplicative decrease. It counts rounds and needs no clock.

    A round is as many outcomes as the limit admits requests. At the end of a round the limit grows by one and shrinks
    by half of the share of overloads: by half if all requests met one, by a twentieth if every tenth did. An overloaded
    server soon gets fewer requests, while sporadic overloads, which fewer requests would not prevent, cost little.
    After `CLEAN_ROUNDS` consecutive rounds without an overload the increase doubles with each further round.

    Args:
        maximum: The initial value, never exceeded; 1 or more.
    """

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._exact = float(maximum)
        self._outcomes = self._overloads = self._clean_rounds = 0

    @property
    def value(self) -> int:
        """Maximum number of requests in flight, 1 or more."""
        return int(self._exact)

    def record(self, *, overloaded: bool) -> None:
        """Count one outcome.

        Args:
            overloaded: Whether the server was rate limiting, overloaded or too slow.
        """
        self._outcomes += 1
        self._overloads += overloaded
        if self._outcomes < self.value:
            return
        share = self._overloads / self._outcomes
        self._clean_rounds = 0 if self._overloads else self._clean_rounds + 1
        increase = 2.0 ** max(0, self._clean_rounds - CLEAN_ROUNDS)
        changed = self._exact * (1 - share / 2) + increase * (1 - share)
        self._exact = max(1.0, min(float(self._maximum), changed))
        self._outcomes = self._overloads = 0
