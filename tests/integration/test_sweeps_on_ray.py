"""A sweep as tasks of a real Ray: the same rows as in this process, and a process that is lost is a retry."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

from serving.lab.sweep import run_sweep
from tests.support.drawn_sweeps import DrawingLoader, SlowLoader, small_spec, small_suite
from tests.support.waiting import ended

PATIENCE_SECONDS = 90.0


def rows(runs):
    return [(run.run_id, run.arm, run.story, run.seed, run.settings, run.takes, run.scores) for run in runs]


def test_the_rows_are_those_of_one_process_though_a_process_of_ray_is_killed(ray_session, tmp_path, monkeypatch):
    from serving.deployments.sweep_runs import runs_on_ray

    monkeypatch.setenv("ADMINT_HOME", str(ray_session.home))
    killed = []
    killer = threading.Thread(target=lambda: killed.append(kill_worker(tmp_path / "ray" / "steps")))
    killer.start()
    slow = SlowLoader(tmp_path / "ray.log")
    elsewhere = partial(runs_on_ray, "auto")
    runs = run_sweep(small_spec(), tmp_path / "ray", suite=small_suite(), elsewhere=elsewhere, loader=slow)
    ended(killer, "a process of Ray is killed")
    here = run_sweep(small_spec(), tmp_path / "here", suite=small_suite(), loader=DrawingLoader(tmp_path / "here.log"))
    assert killed and rows(runs) == rows(here) and len(runs) == 6
    assert all(times <= 2 for times in slow.drawn().values()) and len(slow.drawn()) == 12


def kill_worker(steps):
    """Kill a process that makes a run, once the first step of any is finished; its id."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        for process in Path("/proc").glob("[0-9]*") if any(steps.glob("??/*.json")) else ():
            try:
                title = (process / "cmdline").read_bytes()
            except OSError:  # it ended
                continue
            if title.startswith(b"ray::make_sent_run"):
                os.kill(int(process.name), signal.SIGKILL)
                return int(process.name)
    raise AssertionError("no process makes a run")
