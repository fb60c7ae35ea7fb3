"""Several nodes, one killed in the middle of a generation: it finishes on the others."""

import json
import os
import secrets
import subprocess
import sys

from tests.e2e.command import REPOSITORY
from tests.e2e.server import free_port


def test_a_generation_finishes_when_a_node_with_a_video_replica_dies(tmp_path):
    variables = os.environ | {
        "ADMINT_HOME": str(tmp_path),
        "ADMINT_TEST_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(REPOSITORY),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [sys.executable, "-m", "tests.chaos.cluster", str(tmp_path / "found.json")]
    done = subprocess.run(command, env=variables, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["status"], found["error"]) == ("completed", None)
    assert not found["node_lives"]
    assert found["kept"]
    assert set(found["times_finished"].values()) == {1}
