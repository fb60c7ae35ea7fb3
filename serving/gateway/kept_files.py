"""Files that a request brings into the artifact store: there while its rows are written, gone again if they are not.

Knows no route and no decoder: what comes here was checked and written anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from pipelines.steps import StoredArtifact
from serving.gateway.removal import remove_unnamed
from serving.gateway.services import Services


@asynccontextmanager
async def kept_files(
    used: Services, user: str, files: Collection[bytes], media_type: str
) -> AsyncIterator[tuple[StoredArtifact, ...]]:
    """`files` in the store, for the block to write the rows that name them. Raises QuotaExceeded before any is written.

    When the block fails, those that no row names are removed: a refused request leaves nothing behind.
    """
    if not files:
        yield ()
        return
    await used.owners.check_room(user, sum(len(data) for data in files))
    stored: list[StoredArtifact] = []
    try:
        for data in files:
            stored.append(await asyncio.to_thread(used.artifacts.put, data, media_type))
        yield tuple(stored)
    except BaseException:
        hashes = frozenset(each.sha256 for each in stored)
        await asyncio.shield(remove_unnamed(used.ads, hashes, datetime.now(UTC)))
        raise
    for data in files:  # another request may have failed with the very same bytes in between, and taken them away
        await asyncio.to_thread(used.artifacts.put, data, media_type)
