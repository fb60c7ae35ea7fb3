"""Which artifacts are whose: those of a user's generations, and those recorded without one (single pictures, uploads).

The artifact folder knows only hashes; whoever serves a file by its hash asks here first. Knows no file.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, insert, select, union_all
from sqlalchemy.exc import IntegrityError

from pipelines.errors import NotFound
from pipelines.steps import StoredArtifact
from pipelines.store.database import Database, transaction
from pipelines.store.quotas import Quota, admit_bytes
from pipelines.store.tables import artifacts, generations, owned_artifacts
from pipelines.store.transaction import now


class OwnedArtifacts:
    """Rows only; the bytes are in the artifact store, under the same hash."""

    def __init__(self, database: Database, quota: Quota | None = None) -> None:
        """`quota` of each owner; None: no bound."""
        self._database = database
        self._quota = quota

    @transaction
    def check_room(self, connection: Connection, user_id: str, size: int) -> None:
        """Ask before `size` bytes are written to the artifact store. Raises QuotaExceeded."""
        admit_bytes(connection, user_id, size, self._quota)

    async def record(self, user_id: str, stored: StoredArtifact) -> None:
        """Say that `stored` belongs to the user. Saying it twice changes nothing. Raises QuotaExceeded."""
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
        """Raises NotFound, also for someone else's artifact."""
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
