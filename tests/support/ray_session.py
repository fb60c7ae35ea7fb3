"""One Ray with Serve for the whole test run: started by the first test that asks for it, gone after the last.

The machine has two cores and a replica reserves one by name: Ray is told of more, because tests wait more than they
compute. A test deploys with `serve.run(app, name=ITS_OWN, route_prefix=…)` and takes its app away with `serve.delete`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.program import free_port

ROOT = Path(__file__).parents[2]
CORES = 16
OBJECT_STORE_BYTES = 200_000_000


@dataclass(frozen=True)
class RaySession:
    url: str
    """Where Serve's proxy listens: routes of all apps lie below it."""
    home: Path
    """`ADMINT_HOME` of every replica; a test whose own process must agree sets the variable itself."""


@pytest.fixture(scope="session")
def ray_session() -> Iterator[RaySession]:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="ray-") as folder:
        home = Path(folder) / "home"
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray
        from ray import serve

        with pytest.MonkeyPatch.context() as inherited:
            # Ray's processes keep what they were started with; this process needs none of it.
            inherited.setenv("OMP_NUM_THREADS", "1")
            inherited.setenv("PYTHONPATH", str(ROOT))  # replicas import classes that tests define
            inherited.setenv("ADMINT_HOME", str(home))
            ray.init(
                address="local",
                num_cpus=CORES,
                num_gpus=0,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=os.environ.get("ADMINT_TEST_RAY_LOGS") == "1",
                _temp_dir=folder,  # sockets below it: their paths may have 107 letters at most
            )
        try:
            port = free_port()
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            yield RaySession(f"http://127.0.0.1:{port}", home)
            serve.shutdown()
        finally:
            ray.shutdown()
