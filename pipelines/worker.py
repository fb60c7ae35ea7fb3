"""A worker: claims generations that wait, or whose worker died, and runs several at once; the rows are the truth.

Being woken and being told of a cancel only make it quicker: without either it looks at the store every POLL_SECONDS.
Knows no process, no Ray and no model: `engine_for` gives an engine for a generation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from pipelines.engine import Engine
from pipelines.errors import DatabaseAway, LeaseLost, PipelineError, StorageFailed
from pipelines.store.records import Generation, GenerationStatus, Lease, NewEvent

POLL_SECONDS = 1.0
logger = logging.getLogger(__name__)


class WorkerStore(Protocol):
    """What a worker needs of the store."""

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
        """A new row may be waiting."""
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
        """At the rows: what was cancelled, and what waits. A store that refuses is asked again at the next look."""
        try:
            await self._heed_cancels()
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
        """Until something ends, something is new, or it is time to look again."""
        woken = asyncio.create_task(self._woken.wait())
        tasks = {task for task, _ in self._running.values()}
        try:
            await asyncio.wait({woken, *tasks}, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()

    async def _heed_cancels(self) -> None:
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
        except (LeaseLost, DatabaseAway) as error:  # it waits for whoever has, or takes, its lease
            logger.warning("generation %s: %s", generation.id, error)
        except Exception:  # the engine recorded it as the generation's end; other generations go on
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
