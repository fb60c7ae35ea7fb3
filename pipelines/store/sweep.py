"""Collecting files that no row names: what a crash left between a rename and its commit, and half-written files.

A file is taken only when nobody put its bytes for the time that the caller gives, far longer than any step takes from
its file to its row. Any number of workers may sweep one folder at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Protocol

from pipelines.errors import StorageFailed

GRACE = timedelta(days=1)
SWEEP_SECONDS = 3600.0
AT_ONCE = 500
"""Hashes in one query."""
logger = logging.getLogger(__name__)


class Folder(Protocol):
    """The artifact folder as it is swept (`pipelines.store.artifacts`)."""

    def shelves(self) -> tuple[str, ...]: ...
    def aged(self, shelf: str, unused_since: datetime) -> tuple[str, ...]: ...
    def remove(self, sha256: str, unused_since: datetime) -> bool: ...


class Rows(Protocol):
    """Who knows what is named (`pipelines.store.disposal`)."""

    async def named(self, hashes: Collection[str]) -> frozenset[str]: ...


async def sweep(folder: Folder, rows: Rows, unused_since: datetime) -> int:
    """Remove what no row names and nobody put since `unused_since`; how many files. Raises StorageFailed."""
    removed = 0
    for shelf in await asyncio.to_thread(folder.shelves):
        aged = await asyncio.to_thread(folder.aged, shelf, unused_since)
        for start in range(0, len(aged), AT_ONCE):
            some = aged[start : start + AT_ONCE]
            for sha256 in frozenset(some) - await rows.named(some):
                removed += await asyncio.to_thread(folder.remove, sha256, unused_since)
    return removed


async def keep_swept(folder: Folder, rows: Rows) -> None:
    """Sweep now and every SWEEP_SECONDS, until cancelled. A sweep that fails is tried again at the next turn."""
    while True:
        try:
            removed = await sweep(folder, rows, datetime.now(UTC) - GRACE)
            if removed:
                logger.info("%d artifact files that no generation names were removed", removed)
        except StorageFailed as error:
            logger.warning("the artifact folder was not swept: %s", error)
        await asyncio.sleep(SWEEP_SECONDS)
