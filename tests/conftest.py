"""What all tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Set before these libraries are first imported: they would otherwise try the network.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import pytest
from servers import FakeOpenAI

from rewardanything_core import set_default_judge

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

if TYPE_CHECKING:
    from rewardanything_core.backends.local.backend import LocalBackend


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No test reads or writes the user's own verdicts or settings, or leaves a default judge behind."""
    for variable in [name for name in os.environ if name.startswith("RA_JUDGE_") and name != "RA_JUDGE_HOME"]:
        monkeypatch.delenv(variable)
    path = tmp_path / "verdicts.sqlite3"
    monkeypatch.setenv("RA_JUDGE_STORE", str(path))
    yield path
    set_default_judge(None)


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    """A local chat server that gives valid verdicts; its attributes may be changed by the test."""
    with FakeOpenAI() as running:
        yield running


@pytest.fixture(scope="session")
def model_folder() -> Path:
    """The 135M model, downloaded once into the user's cache."""
    from rewardanything_core.weights.fetch import fetch

    return fetch("smollm2-135m")


@pytest.fixture(scope="session")
def small_model(model_folder: Path) -> Iterator[LocalBackend]:
    """The 135M model, loaded once."""
    from rewardanything_core.backends.local.backend import LocalBackend

    backend = LocalBackend(model_folder, name="smollm2-135m", device="cpu")
    yield backend
    backend.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium of this machine."""
    from playwright.sync_api import sync_playwright

    found = os.environ.get("RA_JUDGE_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.fail(
            "These tests need Chromium, and none is here. Install it (on Debian: apt-get install chromium), or name "
            "the program in RA_JUDGE_CHROMIUM.",
            pytrace=False,
        )
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield launched
        launched.close()
