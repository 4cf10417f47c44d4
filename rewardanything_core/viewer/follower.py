"""Keeps the index up to date while runs write."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Sequence

from rewardanything_core.errors import StoreError
from rewardanything_core.store.labels import Label, Labels
from rewardanything_core.viewer.facts import facts_of, number_of
from rewardanything_core.viewer.index import BITS, Index, Span
from rewardanything_core.viewer.sources import Source

_log = logging.getLogger("rewardanything_core.viewer")

POLL_SECONDS = 0.5
"""How often sources are asked for new records."""

_FIRST_BATCH = 500  # records; enough for the first page
_BATCH = 2000


class Follower(threading.Thread):
    """A thread that indexes sources: new records first, then older ones.

    Args:
        index: The index.
        sources: The sources.
        labels: People's labels. None: there is no store for them.
    """

    def __init__(self, index: Index, sources: Sequence[Source], labels: Labels | None) -> None:
        super().__init__(name="viewer-index", daemon=True)
        self.version = 0
        """Changes whenever the index did."""
        self.problem = ""
        """Why a source cannot be read at present. Empty: all can."""
        self._index, self._sources, self._labels = index, list(sources), labels
        self._stop_event = threading.Event()
        self._label_version: tuple[int, int] | None = None
        self._by_case: dict[int, dict[int, Label]] = {}
        self._lock = threading.Lock()
        self._states: dict[int, tuple[int, list[Span], int]] = {}

    @property
    def indexed(self) -> int:
        """Number of records in the index."""
        return sum(last - first + 1 for _, spans, _ in self._states.values() for first, last in spans)

    @property
    def total(self) -> int:
        """Number of records in the sources, when they were last asked."""
        return sum(last for _, _, last in self._states.values())

    def source_of(self, entry: int) -> tuple[Source, int]:
        """The source and the position of an entry of the index.

        Raises:
            StoreError: it is of a source that was replaced.
        """
        number, position = entry >> BITS, entry & ((1 << BITS) - 1)
        for place, (found, _, _) in self._states.items():
            if found == number:
                return self._sources[place], position
        raise StoreError("The file of this verdict was replaced by another.")

    def source_numbers(self) -> dict[str, int]:
        """Name of each source's file -> its number in the index."""
        return {self._sources[place].path.name: number for place, (number, _, _) in self._states.items()}

    def run(self) -> None:
        """Index until `stop`."""
        while not self._stop_event.is_set():
            if not self.step():
                self._stop_event.wait(POLL_SECONDS)

    def stop(self) -> None:
        """End the thread."""
        self._stop_event.set()
        if self.is_alive():
            self.join()

    def catch_up(self) -> None:
        """Index all there is before returning."""
        while self.step():
            pass

    def step(self) -> bool:
        """Index one batch of each source.

        Returns:
            Whether there was anything to index.
        """
        with self._lock:
            problem, busy = "", False
            if self._label_version is None:
                self._refresh_labels()
            for place, source in enumerate(self._sources):
                try:
                    busy |= self._index_some(place, source)
                except (StoreError, OSError, sqlite3.Error) as error:
                    problem = str(error)
                    if problem != self.problem:
                        _log.warning("%s cannot be read: %s", source.path, error)
            self.problem = problem
            if not busy:
                self._refresh_labels()
            self.version += busy
            return busy

    def refresh_labels(self) -> None:
        """Take new labels into account before returning."""
        with self._lock:
            self._refresh_labels()

    def _index_some(self, place: int, source: Source) -> bool:
        last = source.last()
        number, spans = self._index.source(source.path, source.identity)
        if spans and spans[0][1] > last:  # it was replaced by a shorter one that begins alike
            number, spans = self._index.source(source.path, f"{source.identity}, again")
        self._states[place] = number, spans, last
        begin, end = next_batch(spans, last)
        if end < begin:
            return False
        rows = [(position, facts_of(record, position)) for position, record in source.between(begin, end)]
        now = joined(spans, (begin, end))
        labels = {judged: list(found.values()) for judged, found in self._by_case.items()}
        if self._index.add(number, rows, spans, now, labels):
            self._states[place] = number, now, last
        return True

    def _refresh_labels(self) -> None:
        """Take over labels that were added or withdrawn, here or by another process."""
        if self._labels is None or (version := self._labels.version()) == self._label_version:
            return
        known = {number for found in self._by_case.values() for number in found}
        added = self._labels.all(skipped=True, after=max(known, default=0))
        gone = known - self._labels.ids()
        changed = {judged for judged, found in self._by_case.items() if gone & found.keys()}
        for judged in changed:
            self._by_case[judged] = {number: one for number, one in self._by_case[judged].items() if number not in gone}
        for label in added:
            judged = number_of(label.case.digest)
            changed.add(judged)
            self._by_case.setdefault(judged, {})[label.id or 0] = label
        self._index.set_labels(
            {judged: list(self._by_case[judged].values()) for judged in changed}, all_cases=self._label_version is None
        )
        self._label_version = version
        self.version += 1


def next_batch(spans: Sequence[Span], last: int) -> Span:
    """The positions to index next: new ones, and then the newest of the others. Nothing is left if it is empty.

    Args:
        spans: The positions that are indexed, newest first.
        last: The last position there is.
    """
    if not spans or last - spans[0][1] > _BATCH:
        return max(1, last - _FIRST_BATCH + 1), last
    first, newest = spans[0]
    if newest < last:
        return newest + 1, last
    end_of_next = spans[1][1] if len(spans) > 1 else 0
    return max(end_of_next + 1, first - _BATCH), first - 1


def joined(spans: Sequence[Span], added: Span) -> list[Span]:
    """Spans of positions, newest first, with another one; those that touch become one.

    Args:
        spans: The spans, disjoint.
        added: The other one.
    """
    found: list[Span] = []
    for first, last in sorted([*spans, added]):
        if found and found[-1][1] + 1 >= first:
            found[-1] = found[-1][0], last
        else:
            found.append((first, last))
    return found[::-1]
