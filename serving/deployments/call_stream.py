"""One model call as a stream of plain items: its steps as they are done, then the result or the error.

A stream, because a handle then carries progress out and cancellation in: closing it stops the call at its next step.
Errors travel as data, so that both sides see the very class that was raised. Knows neither Ray nor a model.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from models.errors import ModelError
from models.interfaces import Unwatched, Watcher

Result = TypeVar("Result")
TELL_SECONDS = 0.25
"""Steps that follow faster are not all told: an item costs both processes 1 ms of CPU, which quick steps would feel,
and the pipeline writes progress no more often (`pipelines.engine.PULSE_SECONDS`).
"""


@dataclass(frozen=True)
class StepDone:
    done: int
    total: int


@dataclass(frozen=True)
class Made(Generic[Result]):
    result: Result


@dataclass(frozen=True)
class Failed:
    error: ModelError


CallItem = StepDone | Made[Result] | Failed


class _Steps:
    """The watcher of a call in another thread: tells the first step, the last, and the newest every TELL_SECONDS."""

    def __init__(self, items: asyncio.Queue[StepDone | None]) -> None:
        self._items = items
        self._loop = asyncio.get_running_loop()
        self._told = 0.0

    def step(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self._told < TELL_SECONDS:
            return
        self._told = now
        self._loop.call_soon_threadsafe(self._items.put_nowait, StepDone(done, total))


async def call_stream(
    call: Callable[[Watcher], Awaitable[Result]], watched: bool
) -> AsyncGenerator[CallItem[Result], None]:
    """Run `call` and yield what happens; ModelErrors come as `Failed`, anything else is raised.

    Without somebody who watches the steps they are no items.

    When the consumer goes away the call is cancelled, and has stopped by the time that this generator is closed.
    """
    items: asyncio.Queue[StepDone | None] = asyncio.Queue()
    task = asyncio.ensure_future(call(_Steps(items) if watched else Unwatched()))
    task.add_done_callback(lambda _: items.put_nowait(None))
    try:
        while (item := await items.get()) is not None:
            yield item
        try:
            yield Made(task.result())
        except ModelError as error:
            yield Failed(error)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def follow(stream: AsyncIterator[CallItem[Result]], watcher: Watcher) -> Result:
    """The result at the end of a stream, its steps told to `watcher`. Raises the ModelError that the call raised."""
    async for item in stream:
        if isinstance(item, StepDone):
            watcher.step(item.done, item.total)
        elif isinstance(item, Failed):
            raise item.error
        else:
            return item.result
    raise RuntimeError("a model call ended without a result")
