"""Scenes side by side: the same work for every scene, a limited number at a time, results in scene order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def each_scene(
    scenes: tuple[Item, ...], work: Callable[[Item], Awaitable[Result]], limit: int
) -> tuple[Result, ...]:
    """Run `work` for all scenes, at most `limit` at once. The first error stops the others and is raised."""
    places = asyncio.Semaphore(limit)

    async def one(scene: Item) -> Result:
        async with places:
            return await work(scene)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(scene)) for scene in scenes]
    except* Exception as errors:
        raise _first(errors) from None
    return tuple(task.result() for task in tasks)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
