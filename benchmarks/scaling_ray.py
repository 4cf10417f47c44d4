"""Rows a second of `grade_dataset` against the number of workers, with a judge that only waits.

    PYTHONPATH=integrations python benchmarks/scaling_ray.py

Each worker is a client that keeps ``--in-flight`` requests at a server which answers after ``--latency`` seconds, so
that a worker can do in-flight / latency rows a second at most; what is missing from a multiple of that is what Ray, the
translation and the core cost. The cluster is on this machine, one node for each worker.
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
    options.add_argument("--seconds", type=float, default=40.0, help="that a perfect run would take")
    options.add_argument("--rounds", type=int, default=2)
    chosen = options.parse_args()

    here = Path(__file__).resolve().parent
    os.environ["PYTHONPATH"] = os.pathsep.join([str(here.parent / "integrations"), str(here)])
    node = {"object_store_memory": 100 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "num_cpus": 2, "include_dashboard": False})
    for _ in range(max(chosen.workers)):
        cluster.add_node(**node, num_cpus=1, resources={"judge": 1})
    ray.init(address=cluster.address, log_to_driver=False)
    reply = verdict_reply({"model-1": 4, "model-2": 2})
    with Stub({"verdict": reply}, latency=chosen.latency) as stub:
        judge = {"model": "hosted_vllm/stub", "api_base": [stub.url("verdict")], "max_concurrency": chosen.in_flight}
        most = chosen.in_flight / chosen.latency
        print(f"{chosen.in_flight} in flight, {chosen.latency} s: {most:.0f} rows/s for each worker at most")
        for workers in chosen.workers:
            rates = [
                measured(judge, workers, round(most * workers * chosen.seconds), chosen.in_flight)
                for _ in range(chosen.rounds)
            ]
            rate = statistics.median(rates)
            told = ", ".join(f"{rate:.1f}" for rate in rates)
            print(f"{workers} workers: {rate:7.1f} rows/s, {rate / (most * workers):.2f} of what could be ({told})")
    ray.shutdown()
    cluster.shutdown()


def measured(judge: dict[str, Any], workers: int, rows: int, in_flight: int) -> float:
    """Rows a second, in the middle of a run: all workers are there, and none has run out of rows."""
    asked = [{"id": i, "prompt": f"question {i}", "responses": {"a": f"x {i}", "b": f"y {i}"}} for i in range(rows)]
    out = grade_dataset(
        ray.data.from_items(asked, override_num_blocks=max(4, rows // in_flight)),
        principle="Be short.",
        judge=judge,
        concurrency=workers,
        batch_size=in_flight,
        ray_options={"resources": {"judge": 1}},
    )
    moments = []
    for batch in out.iter_batches(batch_size=None, batch_format="pyarrow"):
        assert batch["error"].null_count == len(batch)
        moments += [time.perf_counter()] * len(batch)
    assert len(moments) == rows
    begin, end = round(rows * 0.2), round(rows * 0.9)
    return (end - begin) / (moments[end] - moments[begin])


if __name__ == "__main__":
    main()
