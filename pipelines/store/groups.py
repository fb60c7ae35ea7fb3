"""Rows of groups: generations that were made to be compared, and which of them won."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from pipelines.errors import BadInput, NotFound
from pipelines.store.database import Database, transaction
from pipelines.store.records import Group
from pipelines.store.tables import generation_groups, generations


class GroupStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, user_id: str, group_id: str) -> Group:
        """Raises NotFound, also for someone else's group."""
        mine = (generation_groups.c.id == group_id, generation_groups.c.user_id == user_id)
        members = (
            select(generations.c.id)
            .where(generations.c.generation_group_id == group_id)
            .order_by(generations.c.created_at, generations.c.id)
        )
        found, rows = await self._database.fetch_each(select(generation_groups).where(*mine), members)
        if not found:
            raise NotFound(f"no group {group_id!r}")
        row, ids = found[0], tuple(row.id for row in rows)
        winner = row.winner_generation_id if row.winner_generation_id in ids else None  # it may have been deleted
        return Group(**{**row._mapping, "winner_generation_id": winner}, generation_ids=ids)

    async def choose_winner(self, user_id: str, group_id: str, generation_id: str) -> Group:
        """Say which finished generation is the best; a later choice replaces it. Raises NotFound, BadInput."""
        group = await self.get(user_id, group_id)
        if generation_id not in group.generation_ids:
            raise NotFound(f"no generation {generation_id!r} in group {group_id!r}")
        await self._crown(group_id, generation_id)
        return group.model_copy(update={"winner_generation_id": generation_id})

    @transaction
    def _crown(self, connection: Connection, group_id: str, generation_id: str) -> None:
        status = select(generations.c.status).where(generations.c.id == generation_id).with_for_update()
        found = connection.scalar(status)
        if found is None:  # deleted a moment ago
            raise NotFound(f"no generation {generation_id!r} in group {group_id!r}")
        if found != "completed":
            raise BadInput(f"generation {generation_id!r} has not finished: choose one whose video can be seen")
        connection.execute(
            update(generation_groups)
            .where(generation_groups.c.id == group_id)
            .values(winner_generation_id=generation_id)
        )
