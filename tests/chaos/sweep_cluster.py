"""A sweep on a Ray cluster of several nodes on this machine, one of which dies while it makes a run.

    python -m tests.chaos.sweep_cluster FOLDER RESULT_FILE

A program of its own: one process can be on one Ray only. Writes one JSON object: how many nodes the cluster has before
and after, whether anything of the killed one lives, how often each picture was drawn, and how many runs are missing.
"""

from __future__ import annotations

import json
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from serving.deployments.sweep_runs import runs_on_ray
from serving.lab.sweep import run_sweep
from tests.support.drawn_sweeps import SlowLoader, small_spec, small_suite
from tests.support.waiting import ended, until


def kill_node(cluster: Cluster, node: Any, steps: Path) -> None:
    """Once two steps are finished, so that each of two nodes has a run to lose."""
    until(lambda: len(list(steps.glob("??/*.json"))) >= 2, "two steps of the sweep")
    cluster.remove_node(node, allow_graceful=False)


def main() -> None:
    folder, result = Path(sys.argv[1]), Path(sys.argv[2])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        before = alive()
        killer = threading.Thread(target=kill_node, args=(cluster, nodes[0], folder / "steps"))
        killer.start()
        slow = SlowLoader(folder.with_suffix(".log"))
        elsewhere = partial(runs_on_ray, cluster.address)
        runs = run_sweep(small_spec(), folder, suite=small_suite(), elsewhere=elsewhere, loader=slow)
        ended(killer, "a node is killed")
        # Ray notices a lost node in its own time, which can be after the last run has been made elsewhere.
        until(lambda: alive() < before, "Ray has noticed the lost node")
        told = {
            "nodes": [before, alive()],
            "killed_lives": nodes[0].any_processes_alive(),
            "drawn": sorted(slow.drawn().values()),
            "missing": runs.missing,
        }
        result.write_text(json.dumps(told))
    finally:
        ray.shutdown()
        cluster.shutdown()


def alive() -> int:
    return sum(node["Alive"] for node in ray.nodes())


if __name__ == "__main__":
    main()
