"""A real Ray cluster of several nodes on this machine, for the tests of what runs on one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

NODE: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 80 << 20}


@contextmanager
def ray_cluster(environ: dict[str, str], *, node: dict[str, Any] = NODE, **head: Any) -> Iterator[Cluster]:
    """A head and one more node, whose processes find our packages, these tests' modules and ``environ``.

    Args:
        environ: Variables for all processes of the cluster, and for this one as long as it runs.
        node: What the second node has.
        **head: What the head has beside `NODE`.
    """
    here = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(here.parent / "integrations"), str(here)]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        for name, value in environ.items():
            patch.setenv(name, value)
        running = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False, **head})
        try:
            running.add_node(**node)
            ray.init(address=running.address, log_to_driver=False)
            yield running
        finally:
            ray.shutdown()
            running.shutdown()
