"""A viewer of a store with verdicts of every kind, called without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from viewing import client_of, fill

from rewardanything_core.viewer.viewer import Viewer


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store; tests that write use a copy."""
    path = tmp_path_factory.mktemp("filled") / "verdicts.sqlite3"
    fill(path)
    return path


@pytest.fixture
def viewer(filled: Path, own_store: Path) -> Iterator[Viewer]:
    """A viewer of a copy of the store, completely indexed."""
    own_store.write_bytes(filled.read_bytes())
    found = Viewer([own_store])
    found.follower.catch_up()
    found.follower.step()
    yield found
    found.close()


@pytest.fixture
def client(viewer: Viewer) -> Iterator[TestClient]:
    """A browser that opened the link."""
    with client_of(viewer) as opened:
        yield opened
