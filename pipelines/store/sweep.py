"""Deleting generations, and collecting files that no row names: what a crash left behind, and half-written files.

A file is taken only when nobody put its bytes for the time that the caller gives, far longer than any step takes from
its file to its row. Any number of workers may sweep one folder at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Protocol

from sqlalchemy import CompoundSelect, Connection, delete, func, select, union, update

from models.interfaces import Plain
from pipelines.errors import Busy, NotFound, StorageFailed
from pipelines.store.account_tables import users
from pipelines.store.database import Database, transaction
from pipelines.store.request_keys import forget_gone, let_go
from pipelines.store.tables import artifacts, generation_groups, generations, owned_artifacts
from pipelines.store.transaction import locked

GRACE = timedelta(days=1)
SWEEP_SECONDS = 3600.0
AT_ONCE = 500
"""Hashes in one query."""
logger = logging.getLogger(__name__)


class Usage(Plain):
    """What one owner has stored."""

    owner: str
    """The user's name; `owner:ID` for one that has no account."""
    generations: int
    generation_bytes: int
    """Of the files of their generations, each once."""
    row_bytes: int
    """Of the rows of their generations."""
    single_files: int
    single_bytes: int
    """Of the files of single calls."""


class Disposal:
    """Deletes generations, and says which files are still named by a row."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @transaction
    def forget(self, connection: Connection, user_id: str, generation_id: str) -> frozenset[str]:
        """Delete a generation and all that is recorded for it; its group too, when it was the last one there.

        Returns the hashes of the files that no row of any owner names any more. Raises NotFound.
        """
        row = locked(connection, generation_id, user_id)
        query = select(artifacts.c.sha256).where(artifacts.c.generation_id == generation_id)
        hashes = frozenset(connection.execute(query).scalars())
        let_go(connection, generation_id=generation_id)
        connection.execute(delete(generations).where(generations.c.id == generation_id))
        if row.generation_group_id is not None:
            _leave_group(connection, row.generation_group_id, generation_id)
        return hashes - frozenset(connection.execute(_named(hashes)).scalars())

    @transaction
    def forget_file(self, connection: Connection, user_id: str, sha256: str) -> bool:
        """Delete a file that the user made or sent in a single call; whether no row of any owner names it any more.

        Raises NotFound, also for someone else's; Busy while one of the user's generations has it.
        """
        mine = (owned_artifacts.c.user_id == user_id, owned_artifacts.c.sha256 == sha256)
        deleted = connection.execute(delete(owned_artifacts).where(*mine)).rowcount
        of_generation = (
            select(generations.c.id)
            .join(artifacts, artifacts.c.generation_id == generations.c.id)
            .where(generations.c.user_id == user_id, artifacts.c.sha256 == sha256)
        )
        if not deleted and (found := connection.scalar(of_generation.limit(1))) is not None:
            raise Busy(f"artifact {sha256!r} is part of generation {found!r}: delete that")
        if not deleted:
            raise NotFound(f"no artifact {sha256!r}")
        return not connection.execute(_named({sha256})).scalars().all()

    async def single_files_before(self, before: datetime) -> tuple[tuple[str, str], ...]:
        """Owner and hash of the files of single calls that were made or sent before `before`."""
        table = owned_artifacts.c
        query = select(table.user_id, table.sha256).where(table.created_at < before).order_by(table.created_at)
        return tuple((row.user_id, row.sha256) for row in await self._database.fetch(query))

    async def ended_before(self, before: datetime) -> tuple[tuple[str, str], ...]:
        """Owner and id of the generations that were completed, failed or cancelled before `before`."""
        table = generations.c
        ended = table.status.in_(("completed", "failed", "cancelled"))
        query = select(table.user_id, table.id).where(ended, table.completed_at < before).order_by(table.completed_at)
        return tuple((row.user_id, row.id) for row in await self._database.fetch(query))

    @transaction
    def forget_requests(self, connection: Connection) -> None:
        """Forget the names of requests whose results were deleted long enough ago."""
        forget_gone(connection)

    async def named(self, hashes: Collection[str]) -> frozenset[str]:
        """The hashes among `hashes` that some row names."""
        return frozenset(row.sha256 for row in await self._database.fetch(_named(hashes)))

    async def named_by(self) -> dict[str, tuple[str, ...]]:
        """Every file that some row names, with the generations that have it; none for a file of a single call."""
        of_generations = select(artifacts.c.sha256, artifacts.c.generation_id).order_by(artifacts.c.generation_id)
        found: dict[str, tuple[str, ...]] = {}
        for row in await self._database.fetch(of_generations):
            found[row.sha256] = (*found.get(row.sha256, ()), row.generation_id)
        for row in await self._database.fetch(select(owned_artifacts.c.sha256)):
            found.setdefault(row.sha256, ())
        return found

    async def usage(self) -> tuple[Usage, ...]:
        """What each owner has stored, the largest first."""
        files = (
            select(generations.c.user_id, artifacts.c.sha256, artifacts.c.size)
            .join(generations, generations.c.id == artifacts.c.generation_id)
            .distinct()
            .subquery()
        )
        of_generations = select(files.c.user_id, func.sum(files.c.size).label("size")).group_by(files.c.user_id)
        rows = select(
            generations.c.user_id, func.count().label("number"), func.sum(generations.c.row_bytes).label("size")
        ).group_by(generations.c.user_id)
        table = owned_artifacts.c
        single = select(table.user_id, func.count().label("number"), func.sum(table.size).label("size"))
        queries = (select(users.c.id, users.c.username), of_generations, rows, single.group_by(table.user_id))
        names, by_files, by_rows, by_single = await self._database.fetch_each(*queries)
        bytes_of = {row.user_id: int(row.size) for row in by_files}
        rows_of = {row.user_id: (int(row.number), int(row.size)) for row in by_rows}
        single_of = {row.user_id: (int(row.number), int(row.size)) for row in by_single}
        found = [
            Usage(
                owner=row.username,
                generations=rows_of.get(row.id, (0, 0))[0],
                generation_bytes=bytes_of.get(row.id, 0),
                row_bytes=rows_of.get(row.id, (0, 0))[1],
                single_files=single_of.get(row.id, (0, 0))[0],
                single_bytes=single_of.get(row.id, (0, 0))[1],
            )
            for row in names
        ]
        return tuple(sorted(found, key=lambda one: -(one.generation_bytes + one.row_bytes + one.single_bytes)))


def _named(hashes: Collection[str]) -> CompoundSelect[str]:
    of_generations = select(artifacts.c.sha256).where(artifacts.c.sha256.in_(hashes))
    loose = select(owned_artifacts.c.sha256).where(owned_artifacts.c.sha256.in_(hashes))
    return union(of_generations, loose)


def _leave_group(connection: Connection, group_id: str, generation_id: str) -> None:
    """Delete a group without generations; a group whose winner is gone has none any more."""
    # Locked before its members are counted: of two that leave at once, the later one finds nobody there.
    connection.execute(select(generation_groups.c.id).where(generation_groups.c.id == group_id).with_for_update())
    members = select(generations.c.id).where(generations.c.generation_group_id == group_id).limit(1)
    if connection.execute(members).first() is None:
        let_go(connection, generation_group_id=group_id)
        connection.execute(delete(generation_groups).where(generation_groups.c.id == group_id))
        return
    lost = (generation_groups.c.id == group_id, generation_groups.c.winner_generation_id == generation_id)
    connection.execute(update(generation_groups).where(*lost).values(winner_generation_id=None))


class Folder(Protocol):
    """The artifact folder as it is swept (`pipelines.store.artifacts`)."""

    def prefixes(self) -> tuple[str, ...]: ...
    def older_than(self, prefix: str, unused_since: datetime) -> tuple[str, ...]: ...
    def remove(self, sha256: str, unused_since: datetime) -> bool: ...


class Rows(Protocol):
    """Rows that name files (`Disposal`)."""

    async def named(self, hashes: Collection[str]) -> frozenset[str]: ...


class Retention(Plain):
    """How long things stay that nobody deletes; None: for ever."""

    single_files: timedelta | None = None
    """Pictures and latents of single calls."""
    ended_generations: timedelta | None = None
    """Generations that are completed, failed or cancelled."""


async def keep_swept(folder: Folder, rows: Disposal, retention: Retention) -> None:
    """Sweep now and every SWEEP_SECONDS, until cancelled. A sweep that fails is tried again at the next turn."""
    while True:
        try:
            await _retire(rows, retention)
            removed = await sweep(folder, rows, datetime.now(UTC) - GRACE)
            if removed:
                logger.info("%d artifact files that no generation names were removed", removed)
        except StorageFailed as error:
            logger.warning("the artifact folder was not swept: %s", error)
        await asyncio.sleep(SWEEP_SECONDS)


async def _retire(rows: Disposal, retention: Retention) -> None:
    """Forget what is too old: the sweep takes its files."""
    now = datetime.now(UTC)
    await rows.forget_requests()
    if retention.single_files is not None:
        old = await rows.single_files_before(now - retention.single_files)
        for user_id, sha256 in old:
            await rows.forget_file(user_id, sha256)
        if old:
            logger.info("%d files of single calls have expired", len(old))
    if retention.ended_generations is not None:
        ended = await rows.ended_before(now - retention.ended_generations)
        for user_id, generation_id in ended:
            await rows.forget(user_id, generation_id)
        if ended:
            logger.info("%d ended generations have expired", len(ended))


async def sweep(folder: Folder, rows: Rows, unused_since: datetime, dry_run: bool = False) -> int:
    """Remove what no row names and nobody put since `unused_since`; how many files. Raises StorageFailed.

    `dry_run`: they are only counted.
    """
    removed = 0
    for prefix in await asyncio.to_thread(folder.prefixes):
        aged = await asyncio.to_thread(folder.older_than, prefix, unused_since)
        for start in range(0, len(aged), AT_ONCE):
            some = aged[start : start + AT_ONCE]
            for sha256 in frozenset(some) - await rows.named(some):
                removed += 1 if dry_run else await asyncio.to_thread(folder.remove, sha256, unused_since)
    return removed
