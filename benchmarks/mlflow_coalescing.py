"""Speed-up of `mlflow.genai.evaluate` from judging its rows in one continuous batch, with a local model.

    PYTHONPATH=integrations python benchmarks/mlflow_coalescing.py [--rows 200] [--workers 10,32] [--thinking 32]

MLflow scores one row at a time, in MLFLOW_GENAI_EVAL_MAX_WORKERS threads. The same scorer and model run with
`max_batch_size=32` and with `max_batch_size=1`. Each run has its own rows, and the two sides alternate. The script
prints seconds and the ratio, and finally all figures as JSON. On a busy machine, the CPU seconds are more meaningful
than the wall time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import tempfile

os.environ |= {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "MLFLOW_GENAI_EVAL_PREDICT_RATE_LIMIT": "0",
    "MLFLOW_GENAI_EVAL_SCORER_RATE_LIMIT": "0",
    "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "64",  # with fewer connections than threads MLflow may hang
}

import mlflow
from throughput_local import cases_of, measured, ratio

from rewardanything_core import Judge, SamplingParams
from rewardanything_core.backends.local.backend import LocalBackend
from rewardanything_core.weights.fetch import fetch
from rewardanything_mlflow import PrincipleScorer


def evaluated(scorer: PrincipleScorer, count: int, draw: int) -> tuple[float, float]:
    """Wall and CPU seconds for rows that no other run has judged.

    Args:
        scorer: The scorer.
        count: Number of rows.
        draw: Seed of the rows; different for each run.
    """
    rows = [
        {"inputs": {"q": str(case.prompt)}, "outputs": case.responses["a"]} for case in cases_of(count, 1, 500 + draw)
    ]
    results = []
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        spent = measured(lambda: results.append(mlflow.genai.evaluate(data=rows, scorers=[scorer])))
    scored = results[0].result_df[f"{scorer.name}/value"].notna().sum()
    if scored < count:
        raise SystemExit(f"{count - scored} rows have no score.")
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument(
        "--alone-rows", type=int, default=0, help="rows of the side without batching; 0: as many as --rows"
    )
    parser.add_argument("--workers", default="10,32")
    parser.add_argument("--thinking", type=int, default=32, help="reasoning tokens per reply")
    parser.add_argument("--repeats", type=int, default=1)
    arguments = parser.parse_args()
    folder = fetch(arguments.model)
    os.chdir(tempfile.mkdtemp())
    mlflow.set_tracking_uri("sqlite:///mlflow.db")
    mlflow.set_experiment("coalescing")
    figures: dict[str, object] = {"arguments": vars(arguments)}
    for workers in arguments.workers.split(","):
        os.environ["MLFLOW_GENAI_EVAL_MAX_WORKERS"] = workers
        spent: dict[str, list[tuple[float, float]]] = {"together": [], "alone": []}
        for repeat in range(arguments.repeats):
            for number, (side, batch_size, rows) in enumerate(
                (("together", 32, arguments.rows), ("alone", 1, arguments.alone_rows or arguments.rows))
            ):
                backend = LocalBackend(folder, name=arguments.model, max_batch_size=batch_size)
                judge = Judge(
                    backend,
                    readout="generate",
                    sampling=SamplingParams(thinking_budget=arguments.thinking),
                    cache="off",
                    retries=0,
                )
                scorer = PrincipleScorer(principle="Prefer the shortest answer.", judge=judge, name="brief")
                evaluated(scorer, 4, 90 + 2 * repeat + number)
                wall, cpu = evaluated(scorer, rows, 2 * repeat + number)
                spent[side].append((wall / rows, cpu / rows))
                print(f"{workers} workers, {side}: {wall / rows:.3f} s a row, processor {cpu / rows:.3f}", flush=True)
                backend.close()
        figures[workers] = {"spent": spent, "times_as_fast": (times := ratio(spent["together"], spent["alone"]))}
        print(
            f"{workers} workers: {times['clock']} times as fast together (processor {times['processor']})", flush=True
        )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
