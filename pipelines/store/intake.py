"""Taking in a new generation or group, its artifacts and the client's name for the request, in one transaction.

So a request that is sent twice, also by a client that saw the first one fail half way, is carried out once. The caller
decides what names and fingerprints are made of. Beside it: groups of generations, and their winner.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from pipelines.errors import DecisionRefused, NotFound
from pipelines.records import ComparisonType, Group, Keys, NewGeneration
from pipelines.store.database import Database, transaction
from pipelines.store.ownership import Quota, admit_generation
from pipelines.store.queue import QueueLimit, admit_waiting
from pipelines.store.request_keys import known_request, made_by, named, note_request, request_keys
from pipelines.store.tables import generation_groups, generations
from pipelines.store.transaction import (
    check_parent,
    ensure_owner,
    insert_artifacts,
    insert_generation,
    now,
    stored_size,
)


@dataclass(frozen=True)
class Accepted:
    """The id of what a request made; `repeated` when an earlier request made it."""

    id: str
    repeated: bool


class Intake:
    """Takes in new generations, each request once."""

    def __init__(self, database: Database, quota: Quota | None = None, queue_limit: QueueLimit | None = None) -> None:
        """`quota` of each owner, `queue_limit` of all; None: no bound."""
        self._database = database
        self._quota = quota
        self._queue_limit = queue_limit

    async def generation(self, user_id: str, new: NewGeneration, keys: Keys = ()) -> Accepted:
        """A new row that waits for a worker, or the one that an earlier request with one of `keys` made.

        Raises QuotaExceeded, TooManyWaiting, KeyReused, Gone, NotFound for an unknown parent.
        """
        try:
            return await self._generation(user_id, new, keys)
        except IntegrityError:  # the same request arrived twice at once: the other one was first
            return await self._generation(user_id, new, keys)

    async def group(
        self, user_id: str, comparison_type: ComparisonType, new: tuple[NewGeneration, ...], keys: Keys = ()
    ) -> Accepted:
        """A group of waiting generations, all of them or none. Raises as `generation`."""
        try:
            return await self._group(user_id, comparison_type, new, keys)
        except IntegrityError:
            return await self._group(user_id, comparison_type, new, keys)

    async def known(self, user_id: str, keys: Keys) -> str | None:
        """What an earlier request with one of `keys` made. Raises KeyReused when it asked for something else, Gone."""
        return made_by(await self._database.fetch(named(user_id, keys)), keys) if keys else None

    async def find(self, user_id: str, name: str) -> str:
        """The generation that a request of this name made. Raises NotFound."""
        query = select(request_keys.c.generation_id).where(
            request_keys.c.user_id == user_id, request_keys.c.name == name, request_keys.c.generation_id.is_not(None)
        )
        found = await self._database.fetch_first(query)
        if found is None:
            raise NotFound(f"no generation {name.partition(':')[2]!r}")
        return str(found.generation_id)

    @transaction
    def _generation(self, connection: Connection, user_id: str, new: NewGeneration, keys: Keys) -> Accepted:
        known = known_request(connection, user_id, keys)
        if known is not None:
            return Accepted(known, repeated=True)
        generation_id = self._insert(connection, user_id, new, None)
        note_request(connection, user_id, keys, generation_id=generation_id)
        return Accepted(generation_id, repeated=False)

    @transaction
    def _group(
        self,
        connection: Connection,
        user_id: str,
        comparison_type: ComparisonType,
        new: tuple[NewGeneration, ...],
        keys: Keys,
    ) -> Accepted:
        known = known_request(connection, user_id, keys)
        if known is not None:
            return Accepted(known, repeated=True)
        ensure_owner(connection, user_id)
        group_id = str(uuid.uuid4())
        connection.execute(
            insert(generation_groups).values(
                id=group_id, user_id=user_id, comparison_type=comparison_type, created_at=now()
            )
        )
        for generation in new:
            self._insert(connection, user_id, generation, group_id)
        note_request(connection, user_id, keys, generation_group_id=group_id)
        return Accepted(group_id, repeated=False)

    def _insert(self, connection: Connection, user_id: str, new: NewGeneration, group_id: str | None) -> str:
        size = stored_size(new.brief.prompt, new.given) + sum(file.size for file in new.artifacts)
        admit_generation(connection, user_id, self._quota, size)
        admit_waiting(connection, user_id, self._queue_limit)
        check_parent(connection, user_id, new.parent_generation_id)
        generation_id = insert_generation(
            connection,
            user_id,
            new.brief,
            new.recipe,
            new.given,
            new.manifest,
            new.parent_generation_id,
            group_id,
        )
        insert_artifacts(connection, generation_id, new.artifacts)
        return generation_id


class GroupStore:
    """Groups of generations that are compared."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, user_id: str, group_id: str) -> Group:
        """One group. Raises NotFound, also for someone else's."""
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
        """Say which finished generation is the best; a later choice replaces it. Raises NotFound, DecisionRefused."""
        group = await self.get(user_id, group_id)
        if generation_id not in group.generation_ids:
            raise NotFound(f"no generation {generation_id!r} in group {group_id!r}")
        await self._set_winner(group_id, generation_id)
        return group.model_copy(update={"winner_generation_id": generation_id})

    @transaction
    def _set_winner(self, connection: Connection, group_id: str, generation_id: str) -> None:
        status = select(generations.c.status).where(generations.c.id == generation_id).with_for_update()
        found = connection.scalar(status)
        if found is None:  # deleted a moment ago
            raise NotFound(f"no generation {generation_id!r} in group {group_id!r}")
        if found != "completed":
            raise DecisionRefused(f"generation {generation_id!r} has not finished: choose one whose video can be seen")
        connection.execute(
            update(generation_groups)
            .where(generation_groups.c.id == group_id)
            .values(winner_generation_id=generation_id)
        )
