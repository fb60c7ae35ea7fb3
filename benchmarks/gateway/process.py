"""A gateway in a process of its own, as the gateway benchmark measures it: shipped code from the socket to the rows.

    python -m benchmarks.gateway.process FOLDER DATABASE_URL

Prints one JSON object with its address and an API key, and serves until its stdin ends. Without a worker, what is
ordered waits.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from serving.deployments.replica_options import end_construction
from serving.gateway.services import Limits
from tests.support.gateway_server import serve

FILES = 4096
"""Open files of the process: a stream is one."""


def main() -> None:
    folder, database_url = Path(sys.argv[1]), sys.argv[2]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, most), most))
    with serve(folder, database_url=database_url, limits=Limits(waiting_generations=10**6), working=False) as server:
        end_construction()  # as the gateway's replica does
        print(json.dumps({"url": server.url, "key": server.key}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
