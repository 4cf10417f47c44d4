"""A warning before MLflow's evaluation deadlocks on the connection pool of its tracking database."""

from __future__ import annotations

import os
import warnings

import mlflow

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
"""Schemes of tracking URIs that MLflow opens through SQLAlchemy."""

DEFAULT_POOL_SIZE, DEFAULT_OVERFLOW = 5, 10
"""SQLAlchemy's defaults: connections that are kept, and further ones under load."""

_warned: set[tuple[str, int]] = set()


class StoreWarning(UserWarning):
    """`mlflow.genai.evaluate` may hang with these settings."""


def check_store(*, stacklevel: int = 2) -> bool:
    """Whether MLflow's evaluation has fewer threads than database connections; warns once if not.

    Each of its threads may hold one connection to the tracking database while it waits for a second (in MLflow 3.17,
    ``start_trace`` calls ``get_experiment``). With as many threads as connections, all of them can end up waiting and
    the evaluation stops making progress. The defaults are 40 threads and 15 connections.

    Args:
        stacklevel: Number of frames above this one to attribute the warning to, as in `warnings.warn`.
    """
    uri, workers, connections = mlflow.get_tracking_uri(), _workers(), _connections()
    if not uri.startswith(DATABASES) or workers < connections:
        return True
    if (uri, workers) not in _warned:
        _warned.add((uri, workers))
        warnings.warn(
            f"mlflow.genai.evaluate will use {workers} threads on a database with {connections} connections and may "
            "hang from about 20 rows on. This is a limitation of MLflow and happens with any scorer. To avoid it, set "
            "the environment variable MLFLOW_GENAI_EVAL_MAX_WORKERS=10 (fewer threads) or, before the tracking store "
            f"is first used, MLFLOW_SQLALCHEMYSTORE_POOL_SIZE={2 * workers} (more connections).",
            StoreWarning,
            stacklevel=stacklevel,
        )
    return False


def _workers() -> int:
    """The number of threads that run ``predict_fn`` or write a row's trace, derived as MLflow does."""
    if workers := os.environ.get("MLFLOW_GENAI_EVAL_MAX_WORKERS"):
        return int(workers)
    limit = os.environ.get("MLFLOW_GENAI_EVAL_PREDICT_RATE_LIMIT", "auto").strip().lower()
    rate = 20.0 if limit == "auto" else float(limit)
    return min(500, max(10, int(2 * rate)))


def _connections() -> int:
    size = int(os.environ.get("MLFLOW_SQLALCHEMYSTORE_POOL_SIZE") or 0) or DEFAULT_POOL_SIZE
    return size + (int(os.environ.get("MLFLOW_SQLALCHEMYSTORE_MAX_OVERFLOW") or 0) or DEFAULT_OVERFLOW)
