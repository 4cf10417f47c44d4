"""Rows per second of `grade_dataset` for several numbers of workers, with a judge that only waits.

    PYTHONPATH=integrations python benchmarks/scaling_ray.py

Each worker is a client that keeps ``--in-flight`` requests at a server that answers after ``--latency`` seconds, so
the limit of a worker is in-flight / latency rows per second. The difference from a multiple of this limit is the
overhead of Ray, the integration and the core. The cluster is on this machine, with one node for each worker.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from typing import Any

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}

import ray
from ray.cluster_utils import Cluster
from stub_server import Stub

from rewardanything_core.backends import verdict_reply
from rewardanything_ray import grade_dataset


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    options.add_argument("--latency", type=float, default=1.0)
    options.add_argument("--in-flight", type=int, default=16)
    options.add_argument("--seconds", type=float, default=40.0, help="duration of a run at the limit")
    options.add_argument("--rounds", type=int, default=2)
    arguments = options.parse_args()

    here = Path(__file__).resolve().parent
    os.environ["PYTHONPATH"] = os.pathsep.join([str(here.parent / "integrations"), str(here)])
    node = {"object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "num_cpus": 2, "include_dashboard": False})
    for _ in range(max(arguments.workers)):
        cluster.add_node(**node, num_cpus=1, resources={"judge": 1})
    ray.init(address=cluster.address, log_to_driver=False)
    reply = verdict_reply({"model-1": 4, "model-2": 2})
    with Stub({"verdict": reply}, latency=arguments.latency) as stub:
        judge = {"model": "hosted_vllm/stub", "api_base": [stub.url("verdict")], "max_concurrency": arguments.in_flight}
        limit = arguments.in_flight / arguments.latency
        print(f"{arguments.in_flight} in flight, {arguments.latency} s: at most {limit:.0f} rows/s for each worker")
        for workers in arguments.workers:
            rates = [
                rows_per_second(judge, workers, round(limit * workers * arguments.seconds), arguments.in_flight)
                for _ in range(arguments.rounds)
            ]
            rate = statistics.median(rates)
            values = ", ".join(f"{value:.1f}" for value in rates)
            print(f"{workers} workers: {rate:7.1f} rows/s, {rate / (limit * workers):.2f} of the limit ({values})")
    ray.shutdown()
    cluster.shutdown()


def rows_per_second(judge: dict[str, Any], workers: int, rows: int, in_flight: int) -> float:
    """The rate in the middle of a run, when all workers have started and none has run out of rows.

    Args:
        judge: Settings of the judge.
        workers: Number of workers.
        rows: Number of rows.
        in_flight: Requests that a worker keeps in flight.
    """
    cases = [{"id": i, "prompt": f"question {i}", "responses": {"a": f"x {i}", "b": f"y {i}"}} for i in range(rows)]
    out = grade_dataset(
        ray.data.from_items(cases, override_num_blocks=max(4, rows // in_flight)),
        principle="Be short.",
        judge=judge,
        concurrency=workers,
        batch_size=in_flight,
        ray_options={"resources": {"judge": 1}},
    )
    times = []
    for batch in out.iter_batches(batch_size=None, batch_format="pyarrow"):
        assert batch["error"].null_count == len(batch)
        times += [time.perf_counter()] * len(batch)
    assert len(times) == rows
    first, last = round(rows * 0.2), round(rows * 0.9)
    return (last - first) / (times[last] - times[first])


if __name__ == "__main__":
    main()
