"""The queue of stored generations as the gateway meets it: is there room, and telling the worker what rows say."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable
from datetime import UTC, datetime

from pipelines.records import Generation
from serving.errors import QueueFull
from serving.gateway.services import Ads, Services

logger = logging.getLogger(__name__)


async def check_queue(used: Services) -> None:
    """Raises QueueFull when as many generations wait as may."""
    waiting, limit = await used.store.count_waiting(), used.limits.waiting_generations
    if waiting >= limit:
        raise QueueFull(f"{waiting} generations wait already: try again later", used.limits.retry_after_seconds)


async def notify(call: Awaitable[None]) -> None:
    """Await a call of the worker notifier. When it fails, the worker finds the row by itself a little later."""
    try:
        await call
    except Exception:  # whatever the transport raises, the order stands
        logger.warning("the workers could not be notified", exc_info=True)


STOP_SECONDS = 15.0
"""How long a deletion waits for a running worker to stop by itself."""
LOOK_SECONDS = 0.05


async def cancel(used: Services, user: str, generation_id: str) -> Generation:
    """As it is then: one that runs goes on until its next denoising step. Raises NotFound."""
    await used.store.cancel(user, generation_id)
    await notify(used.notifier.cancel(generation_id))
    return await used.store.get(user, generation_id)


async def remove(used: Services, user: str, generation_id: str) -> None:
    """Cancel it if it runs, then delete its rows, and its files as far as no other row names them. Raises NotFound."""
    generation = await cancel(used, user, generation_id)
    until = time.monotonic() + STOP_SECONDS
    while generation.status == "processing" and time.monotonic() < until:
        await asyncio.sleep(LOOK_SECONDS)
        generation = await used.store.get(user, generation_id)
    unnamed = await used.ads.disposal.forget(user, generation_id)
    await remove_unnamed(used.ads, unnamed, generation.completed_at or datetime.now(UTC))


async def remove_unnamed(ads: Ads, hashes: frozenset[str], unused_since: datetime) -> None:
    """The files of those that no row names, and whose bytes nobody put after `unused_since`: a row may follow."""
    if not hashes:
        return
    for sha256 in hashes - await ads.disposal.named(hashes):
        await asyncio.to_thread(ads.files.remove, sha256, unused_since)
