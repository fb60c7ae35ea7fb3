"""Ending generations on their owner's word: cancelled within one denoising step, or gone with their files.

Knows no route. A worker that does not hear of it in time finds no row to publish to.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from pipelines.store.records import Generation
from serving.gateway.ads import Ads
from serving.gateway.queue import tell
from serving.gateway.services import Services

STOP_SECONDS = 15.0
"""How long a deletion waits for a running worker to stop by itself."""
LOOK_SECONDS = 0.05


async def cancel(used: Services, user: str, generation_id: str) -> Generation:
    """As it is then: one that runs goes on until its next denoising step. Raises NotFound."""
    await used.store.cancel(user, generation_id)
    await tell(used.worker.cancel(generation_id))
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
