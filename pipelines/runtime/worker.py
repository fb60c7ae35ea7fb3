"""A worker: claims generations that wait, or whose worker died, and runs several at once; the rows are the truth.

Being woken and hearing of a cancel only make it quicker: without either it looks at the store every POLL_SECONDS. While
the database is away (`RetryingStore`) it waits and tries again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from models.errors import ModelError
from pipelines.errors import DatabaseAway, LeaseLost, PipelineError, StorageFailed
from pipelines.recipe import StageName
from pipelines.records import Checkpoint, Generation, GenerationStatus, Lease, NewEvent
from pipelines.runtime.engine import Engine, EngineStore
from pipelines.steps import Step, StepOutput

POLL_SECONDS = 1.0
logger = logging.getLogger(__name__)


class WorkerStore(Protocol):
    """The store, as far as a worker needs it."""

    async def claim_next(self, owner: str) -> tuple[Lease, Generation] | None: ...
    async def cancels_requested(self, generation_ids: Sequence[str]) -> tuple[str, ...]: ...
    async def end(
        self, lease: Lease, status: GenerationStatus, event: NewEvent, error_message: str | None = None
    ) -> None: ...


class Worker:
    """Runs at most `concurrency` generations at once in this event loop."""

    def __init__(
        self, store: WorkerStore, engine_for: Callable[[Generation], Engine], name: str, concurrency: int
    ) -> None:
        """`name` must differ between workers: it owns the leases. `engine_for` raises PipelineError when this worker
        cannot run a generation, which then fails with that message.
        """
        self._store = store
        self._engine_for = engine_for
        self._name = name
        self._concurrency = concurrency
        self._woken = asyncio.Event()
        self._running: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}

    async def run(self) -> None:
        """Work until cancelled; then every running step stops and its generation waits again for a worker."""
        try:
            while True:
                await self._look()
                await self._rest()
        finally:
            await self._stop()

    def wake(self) -> None:
        """Look at the store now: a new row may be waiting."""
        self._woken.set()

    def cancel(self, generation_id: str) -> bool:
        """Stop a generation within one denoising step, as its owner asked; whether it runs here."""
        if generation_id not in self._running:
            return False
        self._running[generation_id][1].set()
        return True

    @property
    def running(self) -> int:
        return len(self._running)

    async def _look(self) -> None:
        """Handle cancels and claim what waits. A store that refuses is asked again at the next look."""
        try:
            await self._handle_cancels()
            await self._fill()
        except StorageFailed as error:
            logger.warning("nothing new is taken: %s", error)

    async def _fill(self) -> None:
        self._woken.clear()
        while len(self._running) < self._concurrency:
            claimed = await self._store.claim_next(self._name)
            if claimed is None:
                return
            lease, generation = claimed
            cancel = asyncio.Event()
            task = asyncio.create_task(self._work(lease, generation, cancel))
            self._running[generation.id] = (task, cancel)

    async def _rest(self) -> None:
        """Wait until something ends, something is new, or it is time to look again."""
        woken = asyncio.create_task(self._woken.wait())
        tasks = {task for task, _ in self._running.values()}
        try:
            await asyncio.wait({woken, *tasks}, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def _handle_cancels(self) -> None:
        if self._running:
            for generation_id in await self._store.cancels_requested(tuple(self._running)):
                self.cancel(generation_id)

    async def _work(self, lease: Lease, generation: Generation, cancel: asyncio.Event) -> None:
        try:
            engine = await self._engine(lease, generation)
            if engine is not None:
                await engine.run_claimed(lease, generation, cancel)
        except asyncio.CancelledError:
            if not cancel.is_set():
                raise
        except (LeaseLost, DatabaseAway) as error:  # the worker that holds its lease, or takes it, resumes
            logger.warning("generation %s: %s", generation.id, error)
        except (PipelineError, ModelError) as error:  # the engine recorded it as the generation's end, and said so
            for note in getattr(error, "__notes__", ()):
                logger.warning("generation %s: %s %s", generation.id, error, note)
        except Exception:  # a bug: recorded likewise; other generations go on
            logger.exception("generation %s failed", generation.id)
        finally:
            del self._running[generation.id]

    async def _engine(self, lease: Lease, generation: Generation) -> Engine | None:
        try:
            return self._engine_for(generation)
        except PipelineError as error:
            event = NewEvent(kind="generation_failed", message=str(error), severity="error")
            await self._store.end(lease, "failed", event, str(error))
            return None

    async def _stop(self) -> None:
        tasks = [task for task, _ in self._running.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two tries: doubled each time, up to the longest."""
Result = TypeVar("Result")


class Backoff:
    """Retries a call while the database is away, until the process stops."""

    def __init__(self) -> None:
        self._ended = asyncio.Event()

    def end(self) -> None:
        """From now on a database that is away is an error at once."""
        self._ended.set()

    async def __call__(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """What `call` returns once somebody answers. Raises DatabaseAway after `end`, and what else `call` raises."""
        pause, since = FIRST_PAUSE, time.monotonic()
        while True:
            try:
                result = await call()
            except DatabaseAway as error:
                if self._ended.is_set():
                    raise
                if pause == FIRST_PAUSE:
                    logger.warning("%s; waiting for it", error)
                await self._rest(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            if pause != FIRST_PAUSE:
                logger.warning("the database answers again, after %.1f s", time.monotonic() - since)
            return result

    async def _rest(self, pause: float) -> None:
        """Sleep for about `pause` seconds: not all workers retry at the same moment."""
        try:
            await asyncio.wait_for(self._ended.wait(), pause * random.uniform(0.8, 1.2))  # noqa: S311
        except TimeoutError:
            return


TOLD = frozenset(
    {
        "generation_started", "generation_completed", "generation_failed", "generation_cancelled",
        "generation_interrupted", "approval_needed",
    }
)  # fmt: skip
"""Events that a worker logs whatever their severity: an operator reads the life of each ad."""
LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def _tell(lease: Lease, *events: NewEvent) -> None:
    """Log those events of a generation that somebody who runs the server wants to see."""
    for event in events:
        if event.kind in TOLD or event.severity != "info":
            what = event.kind.removeprefix("generation_").replace("_", " ")
            place = f" at {event.step}" if event.step else ""
            logger.log(
                LEVELS[event.severity], "generation %s %s%s: %s", lease.generation_id, what, place, event.message
            )


class RetriedStore(EngineStore, WorkerStore, Protocol):
    """The store that is retried (`pipelines.store.generations`)."""


class RetryingStore:
    """A store as engine and worker need it, each call retried while the database is away.

    What it stores of an ad's life, and of warnings, it also logs.
    """

    def __init__(self, store: RetriedStore, backoff: Backoff) -> None:
        self._store = store
        self._wait = backoff

    @property
    def lease_seconds(self) -> float:
        return self._store.lease_seconds

    async def get(self, user_id: str, generation_id: str) -> Generation:
        return await self._wait(lambda: self._store.get(user_id, generation_id))

    async def claim(self, generation_id: str, owner: str, take_over: bool = False) -> Lease:
        return await self._wait(lambda: self._store.claim(generation_id, owner, take_over))

    async def claim_next(self, owner: str) -> tuple[Lease, Generation] | None:
        """Claim a generation. When the answer to a claim is lost, no worker has it until its lease runs out."""
        return await self._wait(lambda: self._store.claim_next(owner))

    async def cancels_requested(self, generation_ids: Sequence[str]) -> tuple[str, ...]:
        return await self._wait(lambda: self._store.cancels_requested(generation_ids))

    async def renew(self, lease: Lease) -> bool:
        return await self._wait(lambda: self._store.renew(lease))

    async def end(
        self, lease: Lease, status: GenerationStatus, event: NewEvent, error_message: str | None = None
    ) -> None:
        await self._wait(lambda: self._store.end(lease, status, event, error_message))
        _tell(lease, event)

    async def checkpoint(self, generation_id: str, step: Step) -> Checkpoint | None:
        return await self._wait(lambda: self._store.checkpoint(generation_id, step))

    async def commit_step(self, lease: Lease, step: Step, output: StepOutput, seconds: float, event: NewEvent) -> None:
        tries = 0

        async def commit() -> None:
            nonlocal tries
            tries += 1
            if tries > 1 and await self._store.checkpoint(lease.generation_id, step) is not None:
                return
            await self._store.commit_step(lease, step, output, seconds, event)

        await self._wait(commit)
        _tell(lease, event)

    async def reuse_step(self, lease: Lease, step: Step) -> None:
        await self._wait(lambda: self._store.reuse_step(lease, step))

    async def replace_step(self, lease: Lease, step: Step, output: StepOutput, seconds: float, event: NewEvent) -> None:
        await self._wait(lambda: self._store.replace_step(lease, step, output, seconds, event))

    async def artifact_hashes(self, generation_id: str) -> frozenset[str]:
        return await self._wait(lambda: self._store.artifact_hashes(generation_id))

    async def append(self, lease: Lease, *new_events: NewEvent) -> None:
        await self._wait(lambda: self._store.append(lease, *new_events))
        _tell(lease, *new_events)

    async def start_stage(self, lease: Lease, stage: StageName, event: NewEvent) -> None:
        await self._wait(lambda: self._store.start_stage(lease, stage, event))

    async def finish_stage(self, lease: Lease, stage: StageName, output: Any, *events: NewEvent) -> None:
        await self._wait(lambda: self._store.finish_stage(lease, stage, output, *events))
        _tell(lease, *events)
