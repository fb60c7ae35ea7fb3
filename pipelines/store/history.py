"""What a generation has left behind so far: its log, stage outputs, takes, messages, checkpoints and metrics.

Reads only, and asks nobody whose generation it is: the caller has checked that before.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row, Select, func, or_, select

from pipelines.recipe import StageName
from pipelines.steps import Message
from pipelines.store.database import Database
from pipelines.store.metric_rows import current_metrics
from pipelines.store.records import Checkpoint, Event, Made, QualityMetric, Take
from pipelines.store.tables import checkpoints, currents, events, generations, messages, stage_outputs, takes


class History:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def made(self, generation_id: str) -> Made:
        """What it has made, for little more than the price of one read."""
        head = select(generations.c.last_seq).where(generations.c.id == generation_id)
        found = await self._database.fetch_each(
            head, _outputs(generation_id), _messages(generation_id), _takes(generation_id)
        )
        heads, outputs, said, taken = found
        return Made(
            last_seq=heads[0].last_seq if heads else 0,
            outputs={row.stage: row.value for row in outputs},
            messages=_messages_of(said),
            takes=_takes_of(taken),
        )

    async def outputs(self, generation_id: str) -> dict[StageName, Any]:
        """What each finished stage made, as JSON of its field of `RunState`."""
        return {row.stage: row.value for row in await self._database.fetch(_outputs(generation_id))}

    async def messages(self, generation_id: str) -> tuple[Message, ...]:
        return _messages_of(await self._database.fetch(_messages(generation_id)))

    async def takes(self, generation_id: str) -> tuple[Take, ...]:
        """All of them, oldest first."""
        return _takes_of(await self._database.fetch(_takes(generation_id)))

    async def quality_metrics(self, generation_id: str) -> tuple[QualityMetric, ...]:
        """What was measured of the generation as it is now, scene by scene, then of the finished video."""
        rows = await self._database.fetch(current_metrics(generation_id))
        return tuple(QualityMetric(**row._mapping) for row in rows)

    async def events(self, generation_id: str, after: int = 0) -> tuple[Event, ...]:
        query = (
            select(events).where(events.c.generation_id == generation_id, events.c.seq > after).order_by(events.c.seq)
        )
        return tuple(_event(row) for row in await self._database.fetch(query))

    async def milestones(self, generation_id: str) -> tuple[Event, ...]:
        """The log with only the newest of its progress events: enough to say how far it is, however long it ran."""
        mine, moves = events.c.generation_id == generation_id, events.c.kind == "step_progress"
        newest = select(func.max(events.c.seq)).where(mine, moves).scalar_subquery()
        query = select(events).where(mine, or_(~moves, events.c.seq == newest)).order_by(events.c.seq)
        return tuple(_event(row) for row in await self._database.fetch(query))

    async def checkpoints(self, generation_id: str) -> tuple[Checkpoint, ...]:
        query = (
            select(checkpoints)
            .where(checkpoints.c.generation_id == generation_id)
            .order_by(checkpoints.c.created_at, checkpoints.c.step)
        )
        return tuple(checkpoint_of(row) for row in await self._database.fetch(query))


def checkpoint_of(row: Row[Any]) -> Checkpoint:
    return Checkpoint(**{name: getattr(row, name) for name in Checkpoint.model_fields})


def _event(row: Row[Any]) -> Event:
    return Event(**{name: getattr(row, name) for name in Event.model_fields})


def _outputs(generation_id: str) -> Select[Any]:
    return select(stage_outputs).where(stage_outputs.c.generation_id == generation_id)


def _messages(generation_id: str) -> Select[Any]:
    return select(messages).where(messages.c.generation_id == generation_id).order_by(messages.c.id)


def _messages_of(rows: Iterable[Row[Any]]) -> tuple[Message, ...]:
    return tuple(Message(**{name: getattr(row, name) for name in Message.model_fields}) for row in rows)


def _takes(generation_id: str) -> Select[Any]:
    return (
        select(takes, currents.c.take_id.label("pointer"))
        .select_from(takes.outerjoin(currents, currents.c.take_id == takes.c.id))
        .where(takes.c.generation_id == generation_id)
        .order_by(takes.c.created_at, takes.c.step, takes.c.position)
    )


def _takes_of(rows: Iterable[Row[Any]]) -> tuple[Take, ...]:
    names = [name for name in Take.model_fields if name != "current"]
    return tuple(Take(**{name: getattr(row, name) for name in names}, current=row.pointer is not None) for row in rows)
