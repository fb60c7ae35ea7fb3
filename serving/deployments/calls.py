"""One model call as a stream of plain items: its steps as they are done, then the result or the error.

A stream, because a handle then carries progress out and cancellation in: closing it stops the call at its next step.
Errors travel as data, so that both sides see the very class that was raised.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ray.exceptions import ObjectLostError, RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from models.errors import ModelError
from models.interfaces import Unwatched, Watcher
from pipelines.runtime.traces import span, traceparent
from serving.errors import NotReady, QueueFull

Value = TypeVar("Value")
STEP_SECONDS = 0.25
"""Steps that follow faster are not all sent: an item costs both processes 1 ms of CPU, which slows quick steps down,
and the pipeline writes progress no more often (`pipelines.runtime.engine.HEARTBEAT_SECONDS`).
"""
ATTEMPTS = 5
BROADCAST_SECONDS = 5.0
ALIVE_SECONDS = 3.0
"""A replica that lives answers in milliseconds, on a busy machine in a second."""
LOST = (RayActorError, ObjectLostError, ReplicaUnavailableError)
"""The replica died, or what it made died with it."""


@dataclass(frozen=True)
class Call:
    """What goes with the request of a call."""

    watched: bool
    """Whether somebody hears of its steps."""
    traceparent: str | None = None
    """The caller's span; None: nothing is traced."""


@dataclass(frozen=True)
class StepDone:
    done: int
    total: int


@dataclass(frozen=True)
class Result(Generic[Value]):
    value: Value


@dataclass(frozen=True)
class Failed:
    error: ModelError


CallItem = StepDone | Result[Value] | Failed


class _Steps:
    """The watcher of a call in another thread: sends the first step, the last, and the newest every STEP_SECONDS."""

    def __init__(self, items: asyncio.Queue[StepDone | None]) -> None:
        self._items = items
        self._loop = asyncio.get_running_loop()
        self._sent = 0.0

    def step(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self._sent < STEP_SECONDS:
            return
        self._sent = now
        self._loop.call_soon_threadsafe(self._items.put_nowait, StepDone(done, total))


async def call_stream(work: Callable[[Watcher], Awaitable[Value]], call: Call) -> AsyncGenerator[CallItem[Value], None]:
    """Run `work` and yield its steps if they are watched, then its result or the ModelError as `Failed`.

    Other errors are raised.

    When the consumer goes away the call is cancelled, and has stopped by the time that this generator is closed.
    """
    items: asyncio.Queue[StepDone | None] = asyncio.Queue()
    task = asyncio.create_task(_in_span(work, _Steps(items) if call.watched else Unwatched(), call.traceparent))
    task.add_done_callback(lambda _: items.put_nowait(None))
    try:
        while (item := await items.get()) is not None:
            yield item
        try:
            yield Result(task.result())
        except ModelError as error:
            yield Failed(error)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def _in_span(work: Callable[[Watcher], Awaitable[Value]], watcher: Watcher, parent: str | None) -> Value:
    """In the task of the work: a span that a generator opens would be closed in whichever task drops it."""
    if parent is None:
        return await work(watcher)
    with span("replica", parent):
        return await work(watcher)


async def follow(stream: AsyncIterator[CallItem[Value]], watcher: Watcher) -> Value:
    """The result at the end of a stream; its steps go to `watcher`. Raises the ModelError that the call raised."""
    async for item in stream:
        if isinstance(item, StepDone):
            watcher.step(item.done, item.total)
        elif isinstance(item, Failed):
            raise item.error
        else:
            return item.value
    raise RuntimeError("a model call ended without a result")


async def call_replica(handle: DeploymentHandle[Any], method: str, watcher: Watcher, *arguments: Any) -> Any:
    """The result of a replica's `method`, which yields CallItems; another replica is asked when one is lost.

    The method takes `arguments` and a Call.

    Cancelling the task stops the call at its next step. Raises what the call raised, QueueFull, NotReady.
    """
    call = Call(watched=not isinstance(watcher, Unwatched), traceparent=traceparent())
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await follow(stream(handle, method, *arguments, call), watcher)
        except LOST as error:
            if attempt == ATTEMPTS:
                raise NotReady(f"{handle.deployment_name} lost {ATTEMPTS} replicas during one call") from error
    raise AssertionError("unreachable")


async def stream(handle: DeploymentHandle[Any], method: str, *arguments: Any) -> AsyncGenerator[Any, None]:
    """Items of a streaming method. Closing it, or cancelling its consumer, cancels the call on the replica."""
    response: DeploymentResponseGenerator[CallItem[Any]] = handle.options(method_name=method, stream=True).remote(
        *arguments
    )
    finished = False
    try:
        async for item in response:
            yield item
        finished = True
    except BackPressureError as error:
        message = f"too many calls wait for {handle.deployment_name} already: try again later"
        raise QueueFull(message, round(error.retry_after_s or 1)) from None
    except DeploymentUnavailableError as error:
        raise NotReady(f"{handle.deployment_name} cannot serve: {error}") from None
    finally:
        if not finished:
            response.cancel()


async def alive(handle: DeploymentHandle[Any], method: str) -> bool:
    """Whether a replica answers `method` within ALIVE_SECONDS."""
    try:
        async with asyncio.timeout(ALIVE_SECONDS):
            answers = await handle.broadcast(method).results_async(return_exceptions=True)
    except (TimeoutError, DeploymentUnavailableError, *LOST):
        return False
    return any(not isinstance(answer, BaseException) for answer in answers)


async def broadcast(handle: DeploymentHandle[Any], method: str, *arguments: Any) -> list[Any]:
    """The answers of all live replicas; those that fail or answer late are left out."""
    response = handle.broadcast(method, *arguments)
    try:
        answers = await response.results_async(timeout_s=BROADCAST_SECONDS, return_exceptions=True)
    except DeploymentUnavailableError:
        return []
    return [answer for answer in answers if not isinstance(answer, BaseException)]
