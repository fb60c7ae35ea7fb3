"""Forgetting a generation: its rows in one transaction, and which files nobody names any more.

Deleting under a worker's hands is safe for the rows: the worker finds nothing to publish to and stops. Removes no file
itself.
"""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import CompoundSelect, Connection, delete, select, union, update

from pipelines.store.database import Database, transaction
from pipelines.store.tables import artifacts, generation_groups, generations, owned_artifacts
from pipelines.store.transaction import locked


class Disposal:
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
        connection.execute(delete(generations).where(generations.c.id == generation_id))
        if row.generation_group_id is not None:
            _leave_group(connection, row.generation_group_id, generation_id)
        return hashes - frozenset(connection.execute(_named(hashes)).scalars())

    async def named(self, hashes: Collection[str]) -> frozenset[str]:
        """Those of `hashes` that some row names."""
        return frozenset(row.sha256 for row in await self._database.fetch(_named(hashes)))


def _named(hashes: Collection[str]) -> CompoundSelect[str]:
    of_generations = select(artifacts.c.sha256).where(artifacts.c.sha256.in_(hashes))
    loose = select(owned_artifacts.c.sha256).where(owned_artifacts.c.sha256.in_(hashes))
    return union(of_generations, loose)


def _leave_group(connection: Connection, group_id: str, generation_id: str) -> None:
    """A group without generations goes too; one whose winner is gone has none."""
    # Locked before its members are counted: of two that leave at once, the later one finds nobody there.
    connection.execute(select(generation_groups.c.id).where(generation_groups.c.id == group_id).with_for_update())
    members = select(generations.c.id).where(generations.c.generation_group_id == group_id).limit(1)
    if connection.execute(members).first() is None:
        connection.execute(delete(generation_groups).where(generation_groups.c.id == group_id))
        return
    lost = (generation_groups.c.id == group_id, generation_groups.c.winner_generation_id == generation_id)
    connection.execute(update(generation_groups).where(*lost).values(winner_generation_id=None))
