"""Several nodes, one killed in the middle of a generation: it finishes on the others."""

import json
import os
import secrets
import sys

from tests.support.command import REPOSITORY
from tests.support.program import free_port, run


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
    done = run(command, seconds=600, env=variables, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["status"], found["error"]) == ("completed", None)
    assert not found["node_lives"]
    assert found["kept"]
    assert set(found["times_finished"].values()) == {1}
