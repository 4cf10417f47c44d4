"""Principles as columns of an `mlflow.models.evaluate` table. For most uses, see `mlflow_evaluate.py` instead.

pip install '.[local,mlflow]'
python examples/mlflow_table.py
"""

import mlflow
import pandas as pd

from rewardanything_core import Principle
from rewardanything_mlflow import principle_metrics

PRINCIPLES = [
    Principle("Prefer the shorter response, as long as it answers the question.", name="concise"),
    Principle("Prefer the response that is warm and encouraging.", name="warm"),
]


def main() -> None:
    """Evaluate two answers under two principles and print the table."""
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("principles")
    data = pd.DataFrame(
        {
            "inputs": ["How do I undo the last git commit?", "How do I undo the last git commit?"],
            "outputs": [
                "git reset --soft HEAD~1",
                "Don't worry, that happens to everyone! Run: git reset --soft HEAD~1",
            ],
        }
    )
    result = mlflow.models.evaluate(
        data=data, predictions="outputs", extra_metrics=principle_metrics(PRINCIPLES), evaluators="default"
    )
    for metric, value in result.metrics.items():
        print(f"{metric:<18} {value:.2f}")
    table = result.tables["eval_results_table"]
    for name in ("concise", "warm"):
        for score, why in zip(table[f"{name}/score"], table[f"{name}/justification"], strict=True):
            print(f"{name}: {score:.2f}\n    " + why.replace("\n", "\n    "))


if __name__ == "__main__":
    main()
