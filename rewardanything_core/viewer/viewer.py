"""What the pages of the viewer share: the sources, their index, and the store for labels."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rewardanything_core.errors import StoreError
from rewardanything_core.store.labels import Label, Labels
from rewardanything_core.store.verdict_store import Record, VerdictStore, default_path
from rewardanything_core.viewer.filters import Filters
from rewardanything_core.viewer.follower import Follower
from rewardanything_core.viewer.index import Index
from rewardanything_core.viewer.listing import Listing
from rewardanything_core.viewer.sources import GradedFile, Source, StoreSource, open_sources


class Viewer:
    """The state of a running viewer. `close` it.

    Labels are kept in the first verdict store among the files, or else in the default one.

    Args:
        paths: Verdict stores, JSON lines of ``grade``, and reports of ``check --json``.
        index_path: The file of the index. None: one in the folder of the default store, for exactly these files.

    Raises:
        ConfigError: a file does not exist or cannot be shown.
        StoreError: a store or the index cannot be used.
    """

    def __init__(self, paths: Sequence[str | Path], *, index_path: Path | None = None) -> None:
        self._default = default_path()
        companion = None
        if self._default.exists():
            with contextlib.suppress(StoreError):
                companion = VerdictStore(self._default, writable=False)
        self._companion = companion
        self.sources: list[Source] = open_sources(paths, companion)
        self.labels: Labels | None = None
        self.no_labels = ""
        """Why there is no store for labels. Empty: there is one."""
        self._label_store = self._open_label_store()
        index_path = index_path or self._index_path(paths)
        try:
            self.index = Index(index_path)
        except StoreError:  # such as a folder that cannot be written
            self._folder = tempfile.TemporaryDirectory(prefix="ra-judge-view-")
            self.index = Index(Path(self._folder.name) / "index.sqlite3")
        self.follower = Follower(self.index, self.sources, self.labels)
        self.listing = Listing(self.index)

    def start(self) -> None:
        """Index the newest records, and go on in the background."""
        self.follower.step()
        self.follower.start()

    def close(self) -> None:
        """Stop indexing and close all files."""
        self.follower.stop()
        self.index.close()
        for source in self.sources:
            source.close()
        for store in (self._companion, self._label_store):
            if store is not None:
                store.close()

    @property
    def source_numbers(self) -> Mapping[str, int]:
        """Name of each file -> its number in the index."""
        return self.follower.source_numbers()

    def record(self, record_id: str) -> tuple[int, Record, Source] | None:
        """A record by its id, with its entry in the index and its source; None: it is not indexed.

        Raises:
            StoreError: it cannot be read.
        """
        entry = self.listing.find(record_id)
        if entry is None:
            return None
        source, position = self.follower.source_of(entry)
        return entry, source.at(position), source

    def next_to_label(self, filters: Filters, person: str) -> Record | None:
        """The record with the case that a person is to label next; None: there is none left.

        Args:
            filters: What to label, and in which order.
            person: The person.
        """
        entry = self.listing.undecided(filters, self.source_numbers, person)
        if entry is None:
            return None
        source, position = self.follower.source_of(entry)
        return source.at(position)

    def add_label(self, label: Label) -> int:
        """Store a label.

        Raises:
            StoreError: it was not stored.
        """
        if self.labels is None:
            raise StoreError(self.no_labels)
        number = self.labels.add(label)
        self.follower.refresh_labels()
        return number

    def probabilities(self) -> dict[str, float]:
        """`Label.case_key` -> the probability with which ``ra-judge estimate --next`` drew a case for labelling."""
        drawn = [source.probabilities() for source in self.sources if isinstance(source, GradedFile)]
        return {key: chance for found in drawn for key, chance in found.items()}

    def _open_label_store(self) -> VerdictStore | None:
        path = next((source.path for source in self.sources if isinstance(source, StoreSource)), self._default)
        try:
            store = VerdictStore(path)
        except StoreError as error:
            self.no_labels = str(error)
            return None
        self.labels = store.labels
        return store

    def _index_path(self, paths: Sequence[str | Path]) -> Path:
        names = "\n".join(str(Path(path).expanduser().resolve()) for path in paths)
        return (
            self._default.parent / "view" / f"{hashlib.sha256(names.encode(errors='replace')).hexdigest()[:16]}.sqlite3"
        )
