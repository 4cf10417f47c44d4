"""Time per row of the MLflow integration, compared with a scorer that returns a constant.

    PYTHONPATH=integrations python benchmarks/integrations_mlflow.py [--rows 100] [--repeats 3]

Both sides run MLflow's own entry points on a new SQLite store, alternately in one process, with MLflow's rate limits
off. The judge is scripted and stores its verdicts, as in normal use, so everything except the model is timed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import tempfile
import time

os.environ |= {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MLFLOW_GENAI_EVAL_MAX_WORKERS": "10",
    "MLFLOW_GENAI_EVAL_PREDICT_RATE_LIMIT": "0",
}

import mlflow
import pandas as pd
from mlflow.metrics import MetricValue

from rewardanything_core import Judge, ScriptedBackend
from rewardanything_mlflow import PrincipleScorer, principle_metric


@mlflow.genai.scorer
def constant() -> float:
    return 3.0


def constant_metric(predictions: pd.Series) -> MetricValue:
    return MetricValue(scores=[3.0] * len(predictions), justifications=["because"] * len(predictions))


def seconds(run) -> float:
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    os.chdir(tempfile.mkdtemp())
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("overhead")
    judge = Judge(ScriptedBackend.scoring(lambda text: 1 + len(text) % 5), store="verdicts.sqlite3")
    scorer = PrincipleScorer(principle="Be brief.", judge=judge, name="brief")
    plain = mlflow.metrics.make_metric(eval_fn=constant_metric, greater_is_better=True, name="constant")
    ours = principle_metric("Be brief.", judge=judge, name="brief")

    def evaluate(scorers, turn):
        rows = [{"inputs": {"q": f"question {turn} {i}"}, "outputs": f"answer {i}"} for i in range(arguments.rows)]
        return lambda: mlflow.genai.evaluate(data=rows, scorers=scorers)

    def table(metric, turn):
        texts = [f"question t{turn} {i}" for i in range(arguments.rows)]
        data = pd.DataFrame({"inputs": texts, "outputs": [f"answer {i}" for i in range(arguments.rows)]})
        return lambda: mlflow.models.evaluate(
            data=data, predictions="outputs", extra_metrics=[metric], evaluators="default"
        )

    figures = {"rows": arguments.rows, "repeats": arguments.repeats}
    for entry, make, sides in (
        ("genai.evaluate", evaluate, {"constant": [constant], "judge": [scorer]}),
        ("models.evaluate", table, {"constant": plain, "judge": ours}),
    ):
        seconds_of = {name: [] for name in (*sides, "judge again")}
        seconds(make(sides["constant"], "warm-up"))
        for turn in range(arguments.repeats):
            for name, scorer_or_metric in sides.items():
                seconds_of[name].append(seconds(make(scorer_or_metric, turn)))
            seconds_of["judge again"].append(seconds(make(sides["judge"], turn)))
        medians = {name: statistics.median(times) for name, times in seconds_of.items()}
        figures[entry] = {
            **{f"ms a row, {name}": round(1000 * value / arguments.rows, 1) for name, value in medians.items()},
            "ratio": round(medians["judge"] / medians["constant"], 2),
            "ratio, from the store": round(medians["judge again"] / medians["constant"], 2),
        }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
