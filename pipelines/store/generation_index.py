"""What a server shows of many generations: pages of an owner's list, and where the event logs that are followed stand.

Reads only. Every list is one owner's; `heads` and `log` are for ids that the caller has checked before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, func, select

from pipelines.records import Event, Generation, GenerationStatus
from pipelines.store.database import Database
from pipelines.store.tables import events, generations
from pipelines.store.transaction import generation_of

Head = tuple[int, GenerationStatus]
"""The `seq` of the newest event, and the status."""


class GenerationIndex:
    """Lists of generations, and the logs of those that are followed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        user_id: str,
        limit: int,
        offset: int,
        statuses: tuple[GenerationStatus, ...] = (),
        recipes: tuple[str, ...] = (),
        text: str | None = None,
    ) -> tuple[tuple[Generation, ...], int]:
        """At most `limit` generations of the owner from `offset` on, newest first, and how many there are.

        Empty filters: all. `text` is looked for in the prompt, whatever its case.
        """
        mine = [generations.c.user_id == user_id, *_filters(statuses, recipes, text)]
        rows = (
            select(generations)
            .where(*mine)
            .order_by(generations.c.created_at.desc(), generations.c.id.desc())
            .limit(limit)
            .offset(offset)
        )
        total = select(func.count()).select_from(generations).where(*mine)
        found, counted = await self._database.fetch_each(rows, total)
        return tuple(generation_of(row) for row in found), int(counted[0][0])

    async def change_counter(self) -> str:
        """Another value than before when any log may have grown since; costs less than looking at one."""
        return await self._database.change_counter()

    async def heads(self, generation_ids: Sequence[str]) -> dict[str, Head]:
        """Where the logs of these generations stand, and their status; unknown ids are left out."""
        query = select(generations.c.id, generations.c.last_seq, generations.c.status).where(
            generations.c.id.in_(generation_ids)
        )
        return {row.id: (row.last_seq, row.status) for row in await self._database.fetch(query)}

    async def log(self, generation_id: str, after: int, limit: int) -> tuple[Event, ...]:
        """At most `limit` events past the `seq` `after`, in order."""
        query = (
            select(events)
            .where(events.c.generation_id == generation_id, events.c.seq > after)
            .order_by(events.c.seq)
            .limit(limit)
        )
        rows = await self._database.fetch(query)
        return tuple(Event(**{name: getattr(row, name) for name in Event.model_fields}) for row in rows)


def _filters(
    statuses: tuple[GenerationStatus, ...], recipes: tuple[str, ...], text: str | None
) -> list[ColumnElement[bool]]:
    filters: list[ColumnElement[bool]] = []
    if statuses:
        filters.append(generations.c.status.in_(statuses))
    if recipes:
        filters.append(generations.c.recipe["name"].as_string().in_(recipes))
    if text:
        prompt: ColumnElement[Any] = generations.c.brief["prompt"].as_string()
        filters.append(func.lower(prompt).contains(text.lower(), autoescape=True))
    return filters
