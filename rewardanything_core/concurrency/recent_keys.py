"""The keys that were added last, with the order in which they came."""

from __future__ import annotations


class RecentKeys:
    """Answers whether a key was added since some moment, from bounded memory.

    Keys are added from one thread at a time; any thread may ask.

    Args:
        size: Number of keys that are remembered.
    """

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._numbers: dict[str, int] = {}
        self.count = 0
        """Number of keys added so far; the moment for `may_have_added`."""

    def add(self, key: str) -> None:
        """Add a key."""
        self.count += 1
        self._numbers.pop(key, None)
        self._numbers[key] = self.count
        if len(self._numbers) > self._size:
            del self._numbers[next(iter(self._numbers))]

    def may_have_added(self, key: str, since: int) -> bool:
        """Whether a key was added after a moment. True also if the moment is too long ago to know.

        Args:
            key: The key.
            since: `count` at that moment.
        """
        return self._numbers.get(key, 0) > since or self.count - since > self._size
