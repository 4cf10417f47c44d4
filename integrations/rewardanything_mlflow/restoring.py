"""Scorers made from what MLflow's registry has of them."""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from mlflow.genai.scorers import Scorer
from mlflow.genai.scorers import get_scorer as registered

from rewardanything_core import BaseJudge, ConfigError, load_judge
from rewardanything_mlflow.scorer import PrincipleScorer

_SPEC = "spec"
"""The variable in the stored source that holds the scorer's spec."""


def load_scorer(name: str, *, experiment_id: str | None = None, version: int | None = None) -> PrincipleScorer:
    """A registered `PrincipleScorer`, with the judge that it was registered with.

    MLflow's own ``get_scorer`` returns the same scorer as a function. Either needs
    ``MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS=true`` in the process that loads, since MLflow counts both as code.

    Args:
        name: The name under which it is registered.
        experiment_id: The experiment. None: the active one.
        version: The version. None: the latest one.

    Raises:
        ConfigError: the scorer of this name is not a `PrincipleScorer`.
        MlflowException: there is none, or loading is not allowed.
    """
    return restored(registered(name=name, experiment_id=experiment_id, version=version))


def restored(stored: Scorer) -> PrincipleScorer:
    """The `PrincipleScorer` that a scorer of ``get_scorer`` or ``list_scorers`` was registered from.

    Raises:
        ConfigError: it was registered from something else.
    """
    scorer = scorer_from(json.loads(_stored_spec(stored)))
    for field in Scorer.__private_attributes__:
        if field not in ("_cached_dump", "_pass_if"):
            setattr(scorer, field, getattr(stored, field))
    return scorer


def scorer_from(spec: Mapping[str, Any]) -> PrincipleScorer:
    """The scorer that `scorer_spec` describes.

    Raises:
        ConfigError: the judge cannot be made here.
    """
    judge = spec.get("judge")
    return PrincipleScorer(**{**spec, "judge": None if judge is None else _judge(json.dumps(judge))})


@lru_cache(maxsize=64)
def scorer_of(spec: str) -> PrincipleScorer:
    """The scorer of a stored source, the same object for the same spec, so that rows share a judge and its batches.

    Args:
        spec: The scorer as JSON.
    """
    return scorer_from(json.loads(spec))


@lru_cache(maxsize=16)
def _judge(spec: str) -> BaseJudge:
    return load_judge(json.loads(spec))


def _stored_spec(stored: Scorer) -> str:
    source = stored.model_dump().get("call_source") or ""
    first = next(iter(ast.parse(source).body), None)
    if (
        isinstance(first, ast.Assign)
        and isinstance(first.targets[0], ast.Name)
        and first.targets[0].id == _SPEC
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return first.value.value
    raise ConfigError(f"The scorer {stored.name!r} was not registered from a PrincipleScorer.")
