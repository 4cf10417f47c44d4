"""Principles as MLflow metrics and scorers.

>>> from rewardanything_mlflow import PrincipleScorer
>>> mlflow.genai.evaluate(data=data, scorers=[PrincipleScorer(principle="Concise before complete.")])
"""

from rewardanything_core import MissingExtraError
from rewardanything_core.errors import JudgeUnavailableError

try:
    import mlflow.genai  # noqa: F401
except ImportError as error:
    raise MissingExtraError("rewardanything_mlflow", extra="mlflow") from error

from rewardanything_mlflow.alignment import PrincipleOptimizer
from rewardanything_mlflow.compare import MeanEstimate, RunComparison, compare_runs
from rewardanything_mlflow.feedback import log_verdict
from rewardanything_mlflow.label_export import log_labels
from rewardanything_mlflow.labels import labels_from_mlflow
from rewardanything_mlflow.metric import principle_metric, principle_metrics
from rewardanything_mlflow.pool_check import StoreWarning, check_store
from rewardanything_mlflow.restoring import load_scorer
from rewardanything_mlflow.scorer import PrincipleScorer, principle_scorers
from rewardanything_mlflow.spans import autolog

__all__ = [
    "JudgeUnavailableError",
    "MeanEstimate",
    "PrincipleOptimizer",
    "PrincipleScorer",
    "RunComparison",
    "StoreWarning",
    "autolog",
    "check_store",
    "compare_runs",
    "labels_from_mlflow",
    "load_scorer",
    "log_labels",
    "log_verdict",
    "principle_metric",
    "principle_metrics",
    "principle_scorers",
]
