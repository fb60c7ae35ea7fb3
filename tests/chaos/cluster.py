"""A Ray cluster of several nodes on this machine, one of which dies while a generation runs. A program of its own.

    python -m tests.chaos.cluster RESULT_FILE

One process can be on one Ray only, and the test suite is on its own. Writes one JSON object: the generation's status,
whether finished takes were kept, how often each step was finished, and whether anything of the killed node lives.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.cluster_utils import Cluster

from serving.server.store import ServerStore, open_server_store
from tests.chaos.test_replicas import a_clip_is_finished, ended, ordered, until
from tests.support.drawing_engine import pace_file
from tests.support.drawing_replicas import drawing_application

STUDIO = "studio"
"""A resource of which two nodes have one each, and a video replica wants one."""


async def run(cluster: Cluster, studios: list[Any]) -> dict[str, object]:
    opened: ServerStore = await open_server_store()
    try:
        pace_file().touch()
        generation_id = await ordered(opened)
        await until(opened, generation_id, a_clip_is_finished)
        kept = {take.id for take in await opened.store.takes(generation_id)}
        cluster.remove_node(studios[0], allow_graceful=False)
        pace_file().unlink()
        generation, events = await until(opened, generation_id, ended)
        finished = Counter(event.step for event in events if event.kind == "step_completed")
        takes = {take.id for take in await opened.store.takes(generation_id)}
        return {
            "status": generation.status,
            "error": generation.error_message,
            "kept": kept <= takes,
            "times_finished": dict(finished),
            "node_lives": studios[0].any_processes_alive(),
        }
    finally:
        await opened.close()


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 8, "include_dashboard": False})
    studios = [cluster.add_node(num_cpus=2, resources={STUDIO: 1}) for _ in range(2)]
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["ADMINT_TEST_PORT"])})
        serve.run(drawing_application(videos=2, video_resources={STUDIO: 1}), name="admint", route_prefix="/")
        Path(sys.argv[1]).write_text(json.dumps(asyncio.run(run(cluster, studios))))
    finally:
        serve.shutdown()
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main()
