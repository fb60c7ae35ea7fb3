"""The queue of stored generations as the gateway meets it: is there room, and telling the worker what rows say."""

from __future__ import annotations

import logging
from collections.abc import Awaitable

from serving.errors import QueueFull
from serving.gateway.services import Services

logger = logging.getLogger(__name__)


async def check_queue(used: Services) -> None:
    """Raises QueueFull when as many generations wait as may."""
    waiting, limit = await used.store.count_waiting(), used.limits.waiting_generations
    if waiting >= limit:
        raise QueueFull(f"{waiting} generations wait already: try again later", used.limits.retry_after_seconds)


async def tell(call: Awaitable[None]) -> None:
    """Tell the worker what the rows say already: when it cannot be reached, it finds out by itself a little later."""
    try:
        await call
    except Exception:  # whatever the transport raises, the order stands
        logger.warning("the worker could not be told", exc_info=True)
