"""Owners of artifacts, and the quota per user.

A user owns the artifacts of their generations, and those recorded without one (single pictures, uploads). The artifact
folder knows only hashes: before a file is served by its hash, its owner is looked up here.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field
from sqlalchemy import Connection, Select, func, insert, select, union, union_all
from sqlalchemy.exc import IntegrityError

from models.interfaces import Plain
from pipelines.errors import NotFound, QuotaExceeded
from pipelines.steps import StoredArtifact
from pipelines.store.database import Database, transaction
from pipelines.store.tables import artifacts, generations, owned_artifacts
from pipelines.store.transaction import lock_owner, now


class Quota(Plain):
    """Quota per user."""

    generations: int = Field(ge=1)
    """Generations that wait or run at the same time."""
    stored_bytes: int = Field(ge=1)
    """Bytes in artifacts, each hash once: of their generations, and recorded without one."""


def admit_generation(connection: Connection, user_id: str, quota: Quota | None) -> None:
    """Raises QuotaExceeded when one more generation, or whatever it will store, is too much. None: no quota."""
    if quota is None:
        return
    lock_owner(connection, user_id)
    alive = generations.c.status.in_(("pending", "processing"))
    query = select(func.count()).select_from(generations).where(generations.c.user_id == user_id, alive)
    count = connection.scalar(query) or 0
    if count >= quota.generations:
        raise QuotaExceeded("generations", count, quota.generations)
    _check_bytes(connection, user_id, quota, 1)


def admit_bytes(connection: Connection, user_id: str, size: int, quota: Quota | None) -> None:
    """Raises QuotaExceeded when `size` more bytes are too many. None: no quota."""
    if quota is not None:
        lock_owner(connection, user_id)
        _check_bytes(connection, user_id, quota, size)


def _check_bytes(connection: Connection, user_id: str, quota: Quota, size: int) -> None:
    of_generations = (
        select(artifacts.c.sha256, artifacts.c.size)
        .join(generations, generations.c.id == artifacts.c.generation_id)
        .where(generations.c.user_id == user_id)
    )
    loose = select(owned_artifacts.c.sha256, owned_artifacts.c.size).where(owned_artifacts.c.user_id == user_id)
    mine = union(of_generations, loose).subquery()
    used = int(connection.scalar(select(func.coalesce(func.sum(mine.c.size), 0))) or 0)
    if used + size > quota.stored_bytes:
        raise QuotaExceeded("bytes", used, quota.stored_bytes)


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

    async def record(self, user_id: str, stored: StoredArtifact) -> None:
        """Record that `stored` belongs to the user; twice changes nothing. Raises QuotaExceeded."""
        if await self._database.fetch_first(_loose(user_id, stored.sha256)) is not None:
            return
        try:
            await self._insert(user_id, stored)
        except IntegrityError:  # another request recorded the same bytes in between
            return

    @transaction
    def _insert(self, connection: Connection, user_id: str, stored: StoredArtifact) -> None:
        admit_bytes(connection, user_id, stored.size, self._quota)
        connection.execute(insert(owned_artifacts).values(user_id=user_id, created_at=now(), **stored.model_dump()))

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
