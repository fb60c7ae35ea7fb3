"""A synchronous call ends with its caller: hanging up cancels the model call, which frees its device within a step."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from serving.gateway.problems import Problem

Result = TypeVar("Result")


async def while_connected(request: Request, call: Coroutine[Any, Any, Result]) -> Result:
    """The result of `call`, which is cancelled, and waited for, when the caller disconnects first.

    The body must have been read. Raises Problem `client_closed_request`, which nobody reads but the log.
    """
    work = asyncio.ensure_future(call)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            raise Problem("client_closed_request", "the caller hung up")
        return work.result()
    finally:
        for task in (work, gone):
            task.cancel()
        await asyncio.wait({work, gone})
        _look_at(work)
        _look_at(gone)


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _look_at(task: asyncio.Future[Any]) -> None:
    """Its error is known or of no interest: keep it from being reported as lost."""
    if not task.cancelled():
        task.exception()
