"""Calling a model behind a handle: progress out, cancel in, another replica when one is lost.

A model call changes nothing outside its replica and its noise comes from integers, so running it again elsewhere gives
the same result. Knows no kind of model.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from ray.exceptions import ObjectLostError, RayActorError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from models.interfaces import Unwatched, Watcher
from serving.deployments.call_stream import CallItem, follow
from serving.errors import NotReady, QueueFull

LOST = (RayActorError, ObjectLostError, ReplicaUnavailableError)
"""The replica died, or what it made died with it."""
ATTEMPTS = 5
BROADCAST_SECONDS = 5.0


async def call_replica(handle: DeploymentHandle[Any], method: str, watcher: Watcher, *arguments: Any) -> Any:
    """The result of `method`, a stream of CallItems, on any replica; on another one when that is lost.

    The method takes `arguments`, and whether somebody watches the steps.

    Cancelling the task stops the call at its next step. Raises what the call raised, QueueFull, NotReady.
    """
    watched = not isinstance(watcher, Unwatched)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await follow(stream(handle, method, *arguments, watched), watcher)
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


async def broadcast(handle: DeploymentHandle[Any], method: str, *arguments: Any) -> list[Any]:
    """What every live replica answers; those that fail or answer late are left out."""
    response = handle.broadcast(method, *arguments)
    answers = await response.results_async(timeout_s=BROADCAST_SECONDS, return_exceptions=True)
    return [answer for answer in answers if not isinstance(answer, BaseException)]
