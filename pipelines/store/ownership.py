"""Owners of artifacts, and the quota per user.

A user owns the artifacts of their generations, and those recorded without one (single pictures, kept latents). The
artifact folder knows only hashes: before a file is served by its hash, its owner is looked up here.

The quota counts all that a user makes the server keep: files, each hash once, and the rows of their generations, which
count themselves (`generations.row_bytes`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field
from sqlalchemy import ColumnElement, Connection, Select, func, insert, select, tuple_, union, union_all, update
from sqlalchemy.exc import IntegrityError

from models.interfaces import Plain
from pipelines.errors import NotFound, QuotaExceeded
from pipelines.steps import StoredArtifact
from pipelines.store.database import Database, transaction
from pipelines.store.tables import artifacts, generations, owned_artifacts
from pipelines.store.transaction import ensure_owner, lock_owner, now


class Quota(Plain):
    """Quota per user."""

    generations: int = Field(ge=1)
    """Generations that wait for a worker, run or wait for approval at the same time."""
    stored_bytes: int = Field(ge=1)
    """Bytes in artifacts, each hash once, and in the rows of their generations."""
    stored_generations: int = Field(default=10_000, ge=1)
    """Generations in all, ended ones included."""


IN_PROGRESS = ("pending", "processing", "awaiting_approval")
"""What counts against `Quota.generations`."""


def admit_generation(connection: Connection, user_id: str, quota: Quota | None, size: int) -> None:
    """Raises QuotaExceeded when one more generation, which begins with `size` bytes, is too much. None: no quota."""
    if quota is None:
        return
    admit_start(connection, user_id, quota)
    stored = _count(connection, user_id)
    if stored >= quota.stored_generations:
        raise QuotaExceeded("stored_generations", stored, quota.stored_generations)
    _check_bytes(connection, user_id, quota, size)


def admit_start(connection: Connection, user_id: str, quota: Quota | None) -> None:
    """Raises QuotaExceeded when as many generations of the user are in progress as may be. None: no quota."""
    if quota is None:
        return
    lock_owner(connection, user_id)
    count = _count(connection, user_id, generations.c.status.in_(IN_PROGRESS))
    if count >= quota.generations:
        raise QuotaExceeded("generations", count, quota.generations)


def admit_bytes(connection: Connection, user_id: str, size: int, quota: Quota | None) -> None:
    """Raises QuotaExceeded when `size` more bytes are too many. None: no quota."""
    if quota is not None:
        lock_owner(connection, user_id)
        _check_bytes(connection, user_id, quota, size)


def _count(connection: Connection, user_id: str, *where: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(generations).where(generations.c.user_id == user_id, *where)
    return connection.scalar(query) or 0


def _check_bytes(connection: Connection, user_id: str, quota: Quota, size: int) -> None:
    used = used_bytes(connection, user_id)
    if used + size > quota.stored_bytes:
        raise QuotaExceeded("bytes", used, quota.stored_bytes)


def used_bytes(connection: Connection, user_id: str) -> int:
    """Bytes that the user's files and rows take, each file once."""
    of_generations = (
        select(artifacts.c.sha256, artifacts.c.size)
        .join(generations, generations.c.id == artifacts.c.generation_id)
        .where(generations.c.user_id == user_id)
    )
    loose = select(owned_artifacts.c.sha256, owned_artifacts.c.size).where(owned_artifacts.c.user_id == user_id)
    mine = union(of_generations, loose).subquery()
    files = connection.scalar(select(func.coalesce(func.sum(mine.c.size), 0)))
    row_bytes = select(func.coalesce(func.sum(generations.c.row_bytes), 0)).where(generations.c.user_id == user_id)
    return int(files or 0) + int(connection.scalar(row_bytes) or 0)


class OwnedArtifact(StoredArtifact):
    """A file that its owner has without a generation."""

    created_at: datetime
    """When it was made or sent, the last time."""


class OwnedArtifacts:
    """Rows about artifacts; the bytes are in the artifact store, under the same hash."""

    def __init__(self, database: Database, quota: Quota | None = None) -> None:
        """`quota` of each owner; None: no bound."""
        self._database = database
        self._quota = quota

    @transaction
    def check_room(self, connection: Connection, user_id: str, size: int) -> None:
        """Check the quota before `size` bytes are written to the artifact store. Raises QuotaExceeded."""
        admit_bytes(connection, user_id, size, self._quota)

    async def record(self, user_id: str, *stored: StoredArtifact) -> None:
        """Record that files belong to the user, all or none; one recorded before is only as young again.

        Raises QuotaExceeded.
        """
        try:
            await self._record(user_id, stored)
        except IntegrityError:  # another request recorded the same bytes in between
            await self._record(user_id, stored)

    @transaction
    def _record(self, connection: Connection, user_id: str, stored: tuple[StoredArtifact, ...]) -> None:
        mine, files = owned_artifacts.c.user_id == user_id, {each.sha256: each for each in stored}
        again = update(owned_artifacts).where(mine, owned_artifacts.c.sha256.in_(files)).values(created_at=now())
        known = connection.execute(again.returning(owned_artifacts.c.sha256)).scalars().all()
        new = [each for sha256, each in files.items() if sha256 not in known]
        if not new:
            return
        admit_bytes(connection, user_id, sum(each.size for each in new), self._quota)
        ensure_owner(connection, user_id)
        rows = [{"user_id": user_id, "created_at": now(), **each.model_dump()} for each in new]
        connection.execute(insert(owned_artifacts), rows)

    async def page(self, user_id: str, after: str | None, limit: int) -> tuple[OwnedArtifact, ...]:
        """At most `limit` files that were recorded without a generation, newest first, past the one `after`.

        Raises NotFound when `after` is unknown.
        """
        table = owned_artifacts.c
        query = select(owned_artifacts).where(table.user_id == user_id)
        if after is not None:
            last = await self._database.fetch_first(_loose(user_id, after).add_columns(table.created_at))
            if last is None:
                raise NotFound(f"no artifact {after!r}")
            query = query.where(tuple_(table.created_at, table.sha256) < tuple_(last.created_at, last.sha256))
        query = query.order_by(table.created_at.desc(), table.sha256.desc()).limit(limit)
        names = OwnedArtifact.model_fields
        return tuple(
            OwnedArtifact(**{name: getattr(row, name) for name in names}) for row in await self._database.fetch(query)
        )

    async def find(self, user_id: str, sha256: str) -> StoredArtifact:
        """An artifact of the user. Raises NotFound, also for someone else's."""
        row = await self._database.fetch_first(union_all(_loose(user_id, sha256), _of_generations(user_id, sha256)))
        if row is None:
            raise NotFound(f"no artifact {sha256!r}")
        return StoredArtifact(sha256=row.sha256, media_type=row.media_type, size=row.size)


def _loose(user_id: str, sha256: str) -> Select[Any]:
    table = owned_artifacts
    mine = (table.c.user_id == user_id, table.c.sha256 == sha256)
    return select(table.c.sha256, table.c.media_type, table.c.size).where(*mine)


def _of_generations(user_id: str, sha256: str) -> Select[Any]:
    return (
        select(artifacts.c.sha256, artifacts.c.media_type, artifacts.c.size)
        .join(generations, generations.c.id == artifacts.c.generation_id)
        .where(generations.c.user_id == user_id, artifacts.c.sha256 == sha256)
    )
