"""Several nodes, one killed in the middle of a generation or of a sweep: it finishes on the others."""

import json
import os
import secrets
import sys

from pipelines.lab.runs import read_runs
from serving.lab.sweep import run_sweep
from tests.support.command import REPOSITORY
from tests.support.drawn_sweeps import DrawingLoader, small_spec, small_suite
from tests.support.program import free_port, run


def variables_of(home):
    """Of a program that starts a Ray of its own."""
    return os.environ | {
        "ADMINT_HOME": str(home),
        "ADMINT_TEST_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(REPOSITORY),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def test_a_generation_finishes_when_a_node_with_a_video_replica_dies(tmp_path):
    command = [sys.executable, "-m", "tests.chaos.cluster", str(tmp_path / "found.json")]
    done = run(command, seconds=600, env=variables_of(tmp_path), cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["status"], found["error"]) == ("completed", None)
    assert not found["node_lives"]
    assert found["kept"]
    assert set(found["times_finished"].values()) == {1}


def test_a_sweep_has_the_rows_of_one_process_though_a_node_that_makes_its_runs_dies(tmp_path):
    out, result = tmp_path / "ray", tmp_path / "found.json"
    command = [sys.executable, "-m", "tests.chaos.sweep_cluster", str(out), str(result)]
    done = run(command, seconds=600, env=variables_of(tmp_path), cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(result.read_text())
    assert (found["nodes"], found["killed_lives"], found["missing"]) == ([3, 2], False, 0)
    assert len(found["drawn"]) == 12 and found["drawn"][-1] <= 2, "what was at work on the node is drawn again, no more"
    loader = DrawingLoader(tmp_path / "here.log")
    here = run_sweep(small_spec(), tmp_path / "here", suite=small_suite(), loader=loader)
    assert [row_of(run) for run in read_runs(out)] == [row_of(run) for run in here]


def row_of(run):
    return run.model_dump(exclude={"seconds", "peak_memory_mb"})
