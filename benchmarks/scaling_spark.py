"""Rows a second of `judge_frames` in Spark's `mapInPandas` against the number of workers, with a judge that only waits.

    python benchmarks/scaling_spark.py          # needs Java

As `scaling_ray.py`: each worker is a client that keeps ``--in-flight`` requests at a server which answers after
``--latency`` seconds. Spark runs in local mode with one task slot for each worker, and each task slot has a Python
worker of its own. A first job, which is not timed, starts them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql.types import StructType
from stub_server import Stub

from rewardanything_core import judge_frames, spark_columns, spec_of, verdict_reply


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    options.add_argument("--latency", type=float, default=1.0)
    options.add_argument("--in-flight", type=int, default=16)
    options.add_argument("--seconds", type=float, default=20.0, help="that a perfect run would take")
    options.add_argument("--rounds", type=int, default=2)
    chosen = options.parse_args()

    os.environ |= {"PYSPARK_PYTHON": sys.executable, "SPARK_LOCAL_IP": "127.0.0.1"}
    reply = verdict_reply({"model-1": 4, "model-2": 2})
    most = chosen.in_flight / chosen.latency
    print(f"{chosen.in_flight} in flight, {chosen.latency} s: {most:.0f} rows/s for each worker at most")
    with Stub({"verdict": reply}, latency=chosen.latency) as stub:
        judge = spec_of(
            {"model": "hosted_vllm/stub", "api_base": [stub.url("verdict")], "max_concurrency": chosen.in_flight}
        )
        for workers in chosen.workers:
            spark = SparkSession.builder.master(f"local[{workers}]").config("spark.ui.enabled", "false").getOrCreate()
            spark.sparkContext.setLogLevel("ERROR")
            measured(spark, judge, workers, workers * chosen.in_flight)
            rows = round(most * workers * chosen.seconds)
            rates = [measured(spark, judge, workers, rows) for _ in range(chosen.rounds)]
            spark.stop()
            rate = statistics.median(rates)
            told = ", ".join(f"{rate:.1f}" for rate in rates)
            print(
                f"{workers} workers: {rate:7.1f} rows/s, {rate / (most * workers):.2f} of what could be ({told})",
                flush=True,
            )


def measured(spark: SparkSession, judge: dict[str, Any], workers: int, rows: int) -> float:
    """Rows a second of a whole job: one partition for each worker."""
    rows -= rows % workers
    asked = [(i, f"question {i} {time.time()}", [f"x {i}", f"y {i}"]) for i in range(rows)]
    df = spark.createDataFrame(asked, "id int, prompt string, responses array<string>").repartition(workers)
    schema = StructType([*df.schema, *spark.createDataFrame([], spark_columns()).schema])

    def judged(frames: Iterator[Any]) -> Iterator[Any]:
        return judge_frames(frames, principle="Be short.", judge=judge, id_column="id")

    started = time.perf_counter()
    found = df.mapInPandas(judged, schema).select("id", "error").collect()
    seconds = time.perf_counter() - started
    assert sorted(row.id for row in found) == list(range(rows)) and all(row.error is None for row in found)
    return rows / seconds


if __name__ == "__main__":
    main()
