"""Measures many files as tasks of an existing Ray cluster, and gives each one's scores as soon as they are there.

This process reads the files and sends their bytes, so no node needs to see its disk; a node needs AdMint and, for
learned dimensions, the weights. A process or node that is lost is a retry, and a file that cannot be measured is a row
with its reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Generator, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import ray

from configs.settings import Profile
from models.errors import ModelError
from models.interfaces import Unwatched
from pipelines.errors import BadInput
from pipelines.runtime.lanes import Scorers
from quality.registry import UNAVAILABLE, check_dimension, not_available, of_name
from quality.score import Score
from serving.deployments.server import joined
from serving.errors import StartFailed
from serving.scores.local import request_of, scorers_of
from serving.scores.work import WorkItem

RETRIES = 3
"""How often a file is measured again after the process or the node that measured it was lost."""
AHEAD = 2
"""Files that are sent beyond those at work, so that no process waits for the next one."""
Key = tuple[str, str, str]
"""sha256 of the file, `impl_id` and `protocol` of a score: what must agree for a score to be the same again."""


@dataclass(frozen=True)
class ScoredItem:
    """The row of one file."""

    name: str
    """Of its item."""
    sha256: str | None
    """Of the file; None: it could not be read."""
    scores: tuple[Score, ...] = ()
    """One per dimension that was asked for and not known before, in order."""
    reason: str | None = None
    """Why there are no scores; None: there are."""


def score_key(sha256: str, dimension: str) -> Key:
    """The key of the score that `dimension` gives of a file. Raises UnknownDimension."""
    check_dimension(dimension)
    if dimension in UNAVAILABLE:
        none = not_available(dimension)
        return sha256, none.impl_id, none.protocol
    metric = of_name(dimension).METRIC
    return sha256, metric.impl_id, metric.protocol


def score_batch_on_ray(
    address: str,
    items: Iterable[WorkItem],
    profile: Profile,
    known: Collection[Key] = (),
    series: bool = False,
) -> Generator[ScoredItem, None, None]:
    """A row for each item, as they finish, measured on the Ray cluster at `address` (HOST:PORT). Paths are on the disk
    of this machine.

    What is in `known` is not measured again: a score by its file, `impl_id` and `protocol`, so that a batch that was
    broken off goes on where its written rows end. A file of which everything is known has no row. Closing the generator
    stops what runs. A process that is connected to that Ray already keeps its connection.

    Raises UnknownDimension, StartFailed when no cluster answers or it has no device for the profile.
    """
    with ExitStack() as stack:
        if not ray.is_initialized():
            stack.enter_context(joined(address))
        task, at_once = _task(profile, address)
        waiting: dict[Any, ScoredItem] = {}
        settings = profile.model_dump_json(exclude_unset=True)
        try:
            for item in items:
                try:
                    data = Path(item.path).read_bytes()
                except OSError as error:
                    reason = f"cannot read {item.media} {item.path!r}: {error.strerror}"
                    yield ScoredItem(item.name, None, reason=reason)
                    continue
                sha256 = hashlib.sha256(data).hexdigest()
                wanted = tuple(name for name in item.dimensions if score_key(sha256, name) not in known)
                if not wanted:
                    continue
                while len(waiting) >= at_once + AHEAD:
                    yield from _finished(waiting)
                sent = item.model_copy(update={"path": "", "dimensions": wanted})
                reference = task.remote(settings, data, sent, series)
                waiting[reference] = ScoredItem(item.name, sha256)
            while waiting:
                yield from _finished(waiting)
        finally:
            for reference in waiting:
                with suppress(ray.exceptions.RayError):
                    ray.cancel(reference)


def _task(profile: Profile, address: str) -> tuple[Any, int]:
    """The task with what it takes of a node, and how many the cluster runs at once. Raises StartFailed."""
    has = ray.cluster_resources()
    on_gpu = profile.device == "cuda"
    at_once = int(has.get("GPU" if on_gpu else "CPU", 0))
    if at_once < 1:
        what = "no GPU" if on_gpu else "no CPU"
        raise StartFailed(
            f"the Ray cluster at {address!r} has {what}, and profile {profile.name!r} measures on {profile.device}:"
            " choose another --profile or another cluster"
        )
    options: dict[str, Any] = {"num_cpus": 0 if on_gpu else 1, "num_gpus": int(on_gpu), "max_retries": RETRIES}
    return ray.remote(**options)(score_sent_file), at_once


def _finished(waiting: dict[Any, ScoredItem]) -> Generator[ScoredItem, None, None]:
    """The row of the next file that is done; it leaves `waiting`."""
    (reference, *_), _ = ray.wait(list(waiting), num_returns=1)
    row = waiting.pop(reference)
    try:
        found = ray.get(reference)
    except ray.exceptions.RayTaskError:
        raise  # a mistake of ours, not of the file
    except ray.exceptions.RayError as error:  # its process or node was lost each time
        lost = str(error).strip().splitlines()[0]
        reason = f"no process finished with it in {1 + RETRIES} tries, the last one was lost: {lost}"
        yield ScoredItem(row.name, row.sha256, reason=reason)
        return
    if isinstance(found, str):
        yield ScoredItem(row.name, row.sha256, reason=found)
    else:
        yield ScoredItem(row.name, row.sha256, scores=found)


# --- on a node ---


def score_sent_file(settings: str, data: bytes, item: WorkItem, series: bool) -> tuple[Score, ...] | str:
    """The scores of a file, or why there are none. `settings`: the profile as JSON."""
    try:
        return _scorers(settings).measured(request_of(item, data, series), Unwatched())
    except (BadInput, ModelError) as error:
        return str(error)


@cache
def _scorers(settings: str) -> Scorers:
    """Of this process, which stays for the next files: what is loaded stays loaded."""
    return scorers_of(Profile.model_validate_json(settings))
