"""A whole sweep: checked, shared between processes, resumed where it was stopped, and its table at the end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import Protocol

from pipelines.errors import BadInput, PipelineError
from pipelines.lab.arms import Arm
from pipelines.lab.cache import Unplannable, all_records
from pipelines.lab.estimate import Estimate, StepTimes, count
from pipelines.lab.outcomes import ExtraOutcome
from pipelines.lab.runs import Runs, read_run, read_runs, write_plan, write_tables
from pipelines.lab.spec import BASE, SweepSpec, read_spec
from pipelines.lab.suite import Suite
from serving.backends.in_process import Loader
from serving.lab.orders import RunOrder, Sweep, check_size, checked_sweep, plan_of
from serving.lab.worker import Ended, Worker

LOOK_SECONDS = 0.2
"""How often is looked whether another process has finished its runs."""
LOST_PROCESSES = 3
"""Processes that may die in one sweep before it stops."""
JUDGED = ("quality_gate.", "candidates.")
"""Settings whose effect follows from scores, which no plan knows."""


class Told(Protocol):
    def __call__(self, done: int, of: int) -> None:
        """So many runs are finished."""


Making = Callable[[Sequence[RunOrder]], Iterator[Ended]]
"""Makes runs, in any order, and says what became of each."""
Elsewhere = Callable[[Sweep, Path, Loader | None], AbstractContextManager[Making]]
"""Something that makes the runs of a sweep in a folder, on other machines."""


def run_sweep(
    spec: SweepSpec | Path,
    out: Path,
    *,
    suite: Suite | None = None,
    extra_outcomes: Mapping[str, ExtraOutcome] | None = None,
    jobs: int = 1,
    elsewhere: Elsewhere | None = None,
    max_runs: int | None = None,
    told: Told | None = None,
    only: str | None = None,
    loader: Loader | None = None,
) -> Runs:
    """Make every run of a sweep that is not in `out` yet, write its table there, and return it.

    `spec` may be its file. Runs are made by this process, by `jobs` processes beside it, or `elsewhere`
    (`serving.deployments.sweep_runs.runs_on_ray`). Several calls may work on one folder: each run is made once. A run
    that fails is a row with the reason. `only` is the id of the one run to make. `loader` builds the engines; None:
    from the weights library. Raises BadInput before the first run; StorageFailed, StartFailed, PipelineError when
    processes die again and again.
    """
    sweep = _checked(spec, suite, extra_outcomes, max_runs)
    with closing(Worker(sweep, out, loader)) as worker, _making(sweep, out, jobs, elsewhere, loader, worker) as make:
        arms = list(sweep.arms)
        orders = sweep.orders(arms, worker.described)
        check_arms_act(sweep, arms, orders, worker)
        _make_all(sweep, out, arms, orders, make, told, only)
        if sweep.spec.arms.optuna is not None and only is None:
            from serving.lab.search import searched_arms

            for arm, tell in searched_arms(sweep.spec.arms.optuna):
                if arm.name not in {known.name for known in arms}:
                    sweep.settings(arm)
                    arms.append(arm)
                _make_all(sweep, out, arms, sweep.orders(arms, worker.described), make, told)
                tell(read_runs(out))
    runs = read_runs(out)
    write_tables(out, runs)
    return runs


def estimate_sweep(
    spec: SweepSpec | Path,
    out: Path,
    *,
    suite: Suite | None = None,
    extra_outcomes: Mapping[str, ExtraOutcome] | None = None,
    jobs: int = 1,
    max_runs: int | None = None,
) -> Estimate:
    """What `run_sweep` would do, without a model: runs, steps, and seconds by the step times measured in `out`.

    Arms that Optuna will ask for are not in it. Raises BadInput as `run_sweep`.
    """
    sweep = _checked(spec, suite, extra_outcomes, max_runs)
    with closing(Worker(sweep, out)) as worker:
        orders = sweep.orders(sweep.arms, worker.described)
        check_arms_act(sweep, sweep.arms, orders, worker)
        times, seen = StepTimes(all_records(out)), set[str]()
        todo = [order for order in orders if read_run(out, order.run_id) is None]
        estimate = Estimate(runs=len(orders), finished=len(orders) - len(todo), jobs=max(1, jobs))
        needed: dict[str, None] = {}
        for order in todo:
            try:
                steps = worker.planned(order)
            except Unplannable:
                estimate.unplanned += 1
                continue
            count(estimate, steps.planned, steps.used.values(), seen, times)
            needed |= {_model_of(sweep, order, steps.planned[key].name): None for key in steps.planned}
    estimate.loading = sum(times.loading(name) or 0.0 for name in needed)
    return estimate


def check_arms_act(sweep: Sweep, arms: Sequence[Arm], orders: Sequence[RunOrder], worker: Worker) -> None:
    """Raises BadInput for an arm whose settings differ from the base's and which makes the same steps all the same."""
    settings = {arm.name: arm_settings for arm, arm_settings in zip(arms, map(sweep.settings, arms), strict=True)}
    silent = {
        arm.name: arm.changes
        for arm in arms
        if settings[arm.name] != settings[BASE] and not any(path.startswith(JUDGED) for path in arm.changes)
    }
    keys: dict[tuple[str, int], set[str]] = {}
    for order in orders:
        if order.arm != BASE and order.arm not in silent:
            continue
        if not silent:
            return
        try:
            steps = worker.planned(order)
        except Unplannable:
            return
        own = {*steps.planned, *(key for _, key in steps.used)}
        if keys.setdefault((order.story.id, order.seed), own) != own:
            del silent[order.arm]
    for name, changes in silent.items():
        raise BadInput(
            f"arm {name!r}: {' and '.join(changes)} change nothing of what is made with until: {sweep.spec.until} and "
            "the other settings: leave the arm out"
        )


def _checked(
    spec: SweepSpec | Path, suite: Suite | None, extra: Mapping[str, ExtraOutcome] | None, max_runs: int | None
) -> Sweep:
    folder = spec.parent if isinstance(spec, Path) else Path()
    sweep = checked_sweep(read_spec(spec) if isinstance(spec, Path) else spec, folder, suite, extra)
    check_size(sweep, max_runs)
    return sweep


def _make_all(
    sweep: Sweep,
    out: Path,
    arms: Sequence[Arm],
    orders: Sequence[RunOrder],
    make: Making,
    told: Told | None,
    only: str | None = None,
) -> None:
    """Until every run has a row, whoever made it; or the one run `only`. Raises BadInput when that is none of them."""
    wanted = [order for order in orders if only in (None, order.run_id)]
    if not wanted:
        raise BadInput(f"the sweep has no run {only!r} today: the spec, a model or a library has changed since")
    write_plan(out, plan_of(sweep, arms, orders))
    todo = [order for order in wanted if read_run(out, order.run_id) is None]
    while todo:
        done = len(wanted) - len(todo)
        for ended in make(todo):
            done += ended != "taken"
            if told is not None:
                told(done, len(wanted))
        if todo := [order for order in todo if read_run(out, order.run_id) is None]:
            time.sleep(LOOK_SECONDS)


def _model_of(sweep: Sweep, order: RunOrder, step: str) -> str:
    """What is loaded for a step, as `write_load` has it."""
    kind = {"storyboard": "image", "video": "video", "quality": "scorers"}.get(step.partition("/")[0], "")
    if step.endswith("/start"):
        kind = "image"
    return kind if kind in ("", "scorers") else str(order.models.get(kind, getattr(sweep.profile, kind)))


# --- who makes the runs ---


@contextmanager
def _making(
    sweep: Sweep, out: Path, jobs: int, elsewhere: Elsewhere | None, loader: Loader | None, worker: Worker
) -> Iterator[Making]:
    with ExitStack() as stack:
        if elsewhere is not None:
            yield stack.enter_context(elsewhere(sweep, out, loader))
        elif jobs > 1:
            yield stack.enter_context(closing(Processes(sweep, out, jobs, loader)))
        else:
            yield lambda orders: (worker.make(order) for order in orders)


class Processes:
    """Processes of this machine that make runs, each with its own models and its share of the cores."""

    def __init__(self, sweep: Sweep, out: Path, jobs: int, loader: Loader | None) -> None:
        self._arguments = (sweep, out, max(1, (os.cpu_count() or 1) // jobs), loader)
        self._jobs = jobs
        self._pool: ProcessPoolExecutor | None = None
        self._lost = 0

    def __call__(self, orders: Sequence[RunOrder]) -> Iterator[Ended]:
        """What became of each run. Those of a process that died are left for the next call.

        Raises PipelineError when LOST_PROCESSES died.
        """
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._jobs, context, _begin, self._arguments)
        try:
            futures: list[Future[Ended]] = [self._pool.submit(_make, order) for order in orders]
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            self._lost += 1
            self.close()
            if self._lost >= LOST_PROCESSES:
                raise PipelineError(
                    f"{self._lost} processes of the sweep died, the last one with: {error}. What is finished is kept: "
                    "look at the memory of the machine, take fewer --jobs, and start it again"
                ) from error

    def close(self) -> None:
        """Stop the processes; a run that is stopped in its midst is made again by the next call."""
        if self._pool is None:
            return
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in multiprocessing.active_children():
            process.terminate()
        self._pool = None


_worker: Worker | None = None
"""Of a process that makes runs."""


def _begin(sweep: Sweep, out: Path, threads: int, loader: Loader | None) -> None:
    """Make this process one that makes runs, with so many threads, for as long as the one that started it lives."""
    global _worker
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the process that started this one ends it
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _worker = Worker(sweep, out, loader)


def _make(order: RunOrder) -> Ended:
    assert _worker is not None  # noqa: S101 - `_begin` came first
    return _worker.make(order)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        with suppress(OSError):
            wait([parent.sentinel])
        os._exit(1)
