"""MLflow's tracking store for the tests of a module. To be made fixtures.

>>> tracking = pytest.fixture(scope="module")(tracking_store)
>>> experiment = pytest.fixture(autouse=True)(own_experiment)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest


def tracking_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One store for all tests of a module, since creating its tables takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    before = Path.cwd()
    os.chdir(folder)  # MLflow writes artifacts next to its database
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    yield folder
    os.chdir(before)


def own_experiment(tracking: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An experiment for each test, evaluated by ten threads without a limit on the rate."""
    monkeypatch.setenv("MLFLOW_GENAI_EVAL_MAX_WORKERS", "10")
    monkeypatch.setenv("MLFLOW_GENAI_EVAL_PREDICT_RATE_LIMIT", "0")
    yield mlflow.set_experiment(request.node.name[:200])
    while mlflow.active_run():
        mlflow.end_run()
