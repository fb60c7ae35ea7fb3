"""A store for workers that waits while the database is away: a restart of PostgreSQL is a pause, not a failure.

A database that comes back soon says itself what became of a commit whose answer was lost. After a longer absence it may
have been made: a step that stands is then not committed again, and an event may say the same twice. A lease that ran
out meanwhile answers LeaseLost as ever. Knows no database; SQLite is never away.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

from pipelines.engine import EngineStore
from pipelines.errors import DatabaseAway
from pipelines.recipe import StageName
from pipelines.steps import Step, StepOutput
from pipelines.store.records import Checkpoint, Generation, GenerationStatus, Lease, NewEvent
from pipelines.worker import WorkerStore

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two tries: doubled each time, up to the longest."""
logger = logging.getLogger(__name__)
Result = TypeVar("Result")


class Patience:
    """Asks again while the database is away, until it is told that the process stops."""

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
        """Not all workers knock at the same moment."""
        try:
            await asyncio.wait_for(self._ended.wait(), pause * random.uniform(0.8, 1.2))  # noqa: S311
        except TimeoutError:
            return


class Inner(EngineStore, WorkerStore, Protocol):
    """The store behind (`pipelines.store.sql`)."""


class PatientStore:
    """All that an engine and a worker need of a store."""

    def __init__(self, store: Inner, patience: Patience) -> None:
        self._store = store
        self._wait = patience

    @property
    def lease_seconds(self) -> float:
        return self._store.lease_seconds

    async def get(self, user_id: str, generation_id: str) -> Generation:
        return await self._wait(lambda: self._store.get(user_id, generation_id))

    async def claim(self, generation_id: str, owner: str, take_over: bool = False) -> Lease:
        return await self._wait(lambda: self._store.claim(generation_id, owner, take_over))

    async def claim_next(self, owner: str) -> tuple[Lease, Generation] | None:
        """A claim whose answer was lost is nobody's until its lease runs out."""
        return await self._wait(lambda: self._store.claim_next(owner))

    async def cancels_requested(self, generation_ids: Sequence[str]) -> tuple[str, ...]:
        return await self._wait(lambda: self._store.cancels_requested(generation_ids))

    async def renew(self, lease: Lease) -> bool:
        return await self._wait(lambda: self._store.renew(lease))

    async def end(
        self, lease: Lease, status: GenerationStatus, event: NewEvent, error_message: str | None = None
    ) -> None:
        await self._wait(lambda: self._store.end(lease, status, event, error_message))

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

    async def reuse_step(self, lease: Lease, step: Step, event: NewEvent) -> None:
        await self._wait(lambda: self._store.reuse_step(lease, step, event))

    async def append(self, lease: Lease, *new_events: NewEvent) -> None:
        await self._wait(lambda: self._store.append(lease, *new_events))

    async def start_stage(self, lease: Lease, stage: StageName, event: NewEvent) -> None:
        await self._wait(lambda: self._store.start_stage(lease, stage, event))

    async def finish_stage(self, lease: Lease, stage: StageName, output: Any, *events: NewEvent) -> None:
        await self._wait(lambda: self._store.finish_stage(lease, stage, output, *events))
