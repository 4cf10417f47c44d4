"""A real Ray cluster of several nodes on this machine."""

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
    """Start a head node and a second node, whose processes can import our packages and the modules of the tests.

    Args:
        environ: Environment variables of all processes of the cluster, and of this one while it runs.
        node: Resources of the second node.
        **head: Further options of the head node, in addition to `NODE`.
    """
    here = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(here.parent / "integrations"), str(here)]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        for name, value in environ.items():
            patch.setenv(name, value)
        cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False, **head})
        try:
            cluster.add_node(**node)
            ray.init(address=cluster.address, log_to_driver=False)
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()
