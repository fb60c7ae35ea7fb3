"""The runs of a sweep as tasks of an existing Ray cluster, whose nodes all see the sweep's folder.

A task makes one run and writes its row and its files into the folder, as a process of this machine would; nothing but
the order goes to it and nothing but a word comes back. A process or node that is lost is a retry, which finds the steps
that it had finished.
"""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import ray

from pipelines.errors import BadInput, PipelineError
from serving.backends.in_process import Loader
from serving.deployments.server import joined
from serving.errors import StartFailed
from serving.lab.orders import RunOrder, Sweep
from serving.lab.sweep import Making
from serving.lab.worker import Ended, Worker

RETRIES = 3
"""How often a run is made again after the process or the node that made it was lost."""
AHEAD = 2
"""Runs that are sent beyond those at work, so that no process waits for the next one."""


@contextmanager
def runs_on_ray(address: str, sweep: Sweep, out: Path, loader: Loader | None = None) -> Iterator[Making]:
    """What makes runs on the Ray cluster at `address` (HOST:PORT). A process that is connected already stays so.

    Raises StartFailed when no cluster answers or it has no device for the profile.
    """
    with ExitStack() as stack:
        if not ray.is_initialized():
            stack.enter_context(joined(address))
        task, at_once = _task(sweep, address)
        shared = ray.put(_Shared(sweep, str(out.resolve()), loader, uuid.uuid4().hex))

        def make(orders: Sequence[RunOrder]) -> Generator[Ended, None, None]:
            waiting: dict[Any, RunOrder] = {}
            try:
                for order in orders:
                    while len(waiting) >= at_once + AHEAD:
                        yield _next(waiting)
                    waiting[task.remote(shared, order)] = order
                while waiting:
                    yield _next(waiting)
            finally:
                for reference in waiting:
                    with suppress(ray.exceptions.RayError):
                        ray.cancel(reference)

        yield make


def _task(sweep: Sweep, address: str) -> tuple[Any, int]:
    """The task with what it takes of a node, and how many the cluster runs at once. Raises StartFailed."""
    device = "GPU" if sweep.profile.device == "cuda" else "CPU"
    at_once = int(ray.cluster_resources().get(device, 0))
    if at_once < 1:
        raise StartFailed(
            f"the Ray cluster at {address!r} has no {device}, and profile {sweep.profile.name!r} runs on "
            f"{sweep.profile.device}: choose another profile in the spec, or another cluster"
        )
    options = {"num_cpus": int(device == "CPU"), "num_gpus": int(device == "GPU"), "max_retries": RETRIES}
    return ray.remote(**options)(make_sent_run), at_once


def _next(waiting: dict[Any, RunOrder]) -> Ended:
    """What became of the next run that ends; it leaves `waiting`. Raises PipelineError where it is lost each time."""
    (reference, *_), _ = ray.wait(list(waiting), num_returns=1)
    order = waiting.pop(reference)
    try:
        ended: Ended = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.as_instanceof_cause()
        raise cause if isinstance(cause, PipelineError) else error from None
    except ray.exceptions.RayError as error:  # its process or node was lost each time
        lost = str(error).strip().splitlines()[0]
        raise PipelineError(
            f"arm {order.arm!r}, story {order.story.id!r}, seed {order.seed}: no process finished it in {1 + RETRIES} "
            f"tries, the last one was lost ({lost}): what is finished is kept, so start it again when that is mended"
        ) from error
    return ended


# --- on a node ---


class _Shared:
    """What all tasks of one sweep need. Processes keep the worker of the sweep that they last worked for."""

    def __init__(self, sweep: Sweep, out: str, loader: Loader | None, call: str) -> None:
        self.sweep = sweep
        self.out = out
        self.loader = loader
        self.call = call

    def __hash__(self) -> int:
        return hash(self.call)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shared) and other.call == self.call


def make_sent_run(shared: _Shared, order: RunOrder) -> Ended:
    """Make one run in the folder that the sender sees as well."""
    folder = Path(shared.out)
    if not folder.is_dir():
        raise BadInput(f"this node does not see the folder {shared.out!r}: put --out on storage that all nodes share")
    return _worker(shared).make(order)


@cache
def _worker(shared: _Shared) -> Worker:
    """Of this process, which stays for the next runs: what is loaded stays loaded."""
    return Worker(shared.sweep, Path(shared.out), shared.loader)
