"""Several servers of one model: the load is spread over those that respond."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

COOLDOWN = 10.0
"""Seconds for which a replica that did not respond gets no requests. Not swept."""


class Replicas:
    """The servers of one model, chosen at random.

    The least busy one would be a worse choice: a replica that fails every request at once is never busy, and would
    attract all of them.

    Args:
        base_urls: The servers' base URLs, one or more.
    """

    def __init__(self, base_urls: Sequence[str]) -> None:
        self._base_urls = tuple(base_urls)
        self._suspended_until: dict[str, float] = {}
        self._rng = random.Random()

    def choose(self, exclude: str | None = None) -> str:
        """The server for the next request: one that is not suspended, or any if all are.

        Args:
            exclude: A server that has the request already; it is chosen only if no other is available. None: none.

        Returns:
            A base URL.
        """
        candidates = [url for url in self._base_urls if self._is_available(url)] or list(self._base_urls)
        return self._rng.choice([url for url in candidates if url != exclude] or candidates)

    def suspend(self, base_url: str) -> bool:
        """Send a server no requests for `COOLDOWN` seconds.

        Args:
            base_url: The server.

        Returns:
            Whether another server is available, so that the request can be sent again at once.
        """
        self._suspended_until[base_url] = time.monotonic() + COOLDOWN
        return any(map(self._is_available, self._base_urls))

    def _is_available(self, base_url: str) -> bool:
        return self._suspended_until.get(base_url, 0.0) <= time.monotonic()
