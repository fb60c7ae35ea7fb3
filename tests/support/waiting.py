"""Waits that end: each has a deadline, and says what it waited for when that is over."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

PATIENCE_SECONDS = 300.0
"""Enough on a machine that has much else to do; a wait that takes this long is a hang."""
PAUSE_SECONDS = 0.02
"""Between two looks of a poll."""

Found = TypeVar("Found")
What = str | Callable[[], str]
"""What is waited for, as it follows "waited 300 s for"; a function is asked when it is too late."""


def too_late(what: What, seconds: float) -> AssertionError:
    """The failure of a wait that took longer than `seconds`."""
    return AssertionError(f"waited {seconds:g} s for {what if isinstance(what, str) else what()}")


def until(
    condition: Callable[[], Found], what: What, seconds: float = PATIENCE_SECONDS, pause: float = PAUSE_SECONDS
) -> Found:
    """The first true value of `condition`, which is asked every `pause` seconds. AssertionError when it is too late."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise too_late(what, seconds)
        time.sleep(pause)
    return found


async def until_async(
    condition: Callable[[], Awaitable[Found]],
    what: What,
    seconds: float = PATIENCE_SECONDS,
    pause: float = PAUSE_SECONDS,
) -> Found:
    """As `until`, for a condition that is awaited."""
    deadline = time.monotonic() + seconds
    while not (found := await condition()):
        if time.monotonic() > deadline:
            raise too_late(what, seconds)
        await asyncio.sleep(pause)
    return found


async def within(awaitable: Awaitable[Found], what: What, seconds: float = PATIENCE_SECONDS) -> Found:
    """The result of `awaitable`. AssertionError, and `awaitable` cancelled, when it is too late."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await awaitable
    except TimeoutError:
        if limit.expired():
            raise too_late(what, seconds) from None
        raise


async def for_ever() -> None:
    """What never comes, until whoever waits for it is cancelled."""
    await asyncio.get_running_loop().create_future()


def happened(event: threading.Event, what: What, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for `event` to be set. AssertionError when it is too late."""
    if not event.wait(seconds):
        raise too_late(what, seconds)


def ended(thread: threading.Thread, what: What, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for `thread` to end. AssertionError when it is too late."""
    thread.join(seconds)
    if thread.is_alive():
        raise too_late(what, seconds)
