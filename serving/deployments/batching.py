"""Keyed coalescing: calls that wait for the same lane and could share one forward pass are run as one batch.

While a batch runs, calls gather; then the one that waited longest goes, and takes along those of its key, in order, up
to a limit of cost. So nothing waits for company that does not come, but for the first moment on an idle lane.
What a key means and what a batch costs is decided by the caller.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from models.interfaces import Watcher
from pipelines.runtime.lanes import StoppableWatcher

QUIET_SECONDS = 0.015
"""A burst is over when nothing new came for so long. It is also what a single call waits for others."""
GATHER_SECONDS = 0.1
"""The longest wait for a burst to end."""

Request = TypeVar("Request")
Result = TypeVar("Result")


@dataclass(eq=False)
class _Call(Generic[Request, Result]):
    key: str | None
    cost: int
    limit: int
    request: Request
    watcher: Watcher
    stop: threading.Event
    outcome: asyncio.Future[Result] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Coalescer(Generic[Request, Result]):
    """Gathers the calls of one lane into batches."""

    def __init__(
        self,
        run: Callable[[Sequence[Request], Sequence[Watcher]], Awaitable[Sequence[Result | Exception]]],
    ) -> None:
        """`run` makes one batch: requests and their watchers in, one result or exception each out, in order."""
        self._run = run
        self._waiting: list[_Call[Request, Result]] = []
        self._runner: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def submit(self, key: str | None, cost: int, limit: int, request: Request, watcher: Watcher) -> Result:
        """The result of `request`. Calls of one key share a batch while their costs stay within `limit`.

        `key` None: alone. Cancelling the caller stops the call at its next step; the others of its batch go on.
        """
        stop = threading.Event()
        call: _Call[Request, Result] = _Call(key, cost, limit, request, StoppableWatcher(stop, watcher), stop)
        self._waiting.append(call)
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._work())
        try:
            return await asyncio.shield(call.outcome)
        except asyncio.CancelledError:
            stop.set()
            if call in self._waiting:
                self._waiting.remove(call)
            else:
                await asyncio.wait({call.outcome})
                call.outcome.exception()  # the `Cancelled` of a stopped call: expected, and looked at here
            raise

    async def _work(self) -> None:
        if any(call.key is not None for call in self._waiting):
            await self._gather()
        while self._waiting:
            batch = self._next()
            outcomes = await self._outcomes(batch)
            for call, outcome in zip(batch, outcomes, strict=True):
                if isinstance(outcome, Exception):
                    call.outcome.set_exception(outcome)
                else:
                    call.outcome.set_result(outcome)

    async def _gather(self) -> None:
        """Wait while the calls of a burst arrive: each takes the gateway some milliseconds to read."""
        loop = asyncio.get_running_loop()
        deadline, seen = loop.time() + GATHER_SECONDS, 0
        while len(self._waiting) > seen and loop.time() < deadline:
            seen = len(self._waiting)
            await asyncio.sleep(QUIET_SECONDS)

    async def _outcomes(self, batch: list[_Call[Request, Result]]) -> Sequence[Result | Exception]:
        try:
            return await self._run([call.request for call in batch], [call.watcher for call in batch])
        except Exception as error:  # each caller of the batch must hear of it
            return [error] * len(batch)

    def _next(self) -> list[_Call[Request, Result]]:
        head = self._waiting[0]
        batch, cost = [head], head.cost
        if head.key is not None:
            for call in self._waiting[1:]:
                if call.key == head.key and cost + call.cost <= head.limit:
                    batch.append(call)
                    cost += call.cost
        self._waiting = [call for call in self._waiting if call not in batch]
        return batch
