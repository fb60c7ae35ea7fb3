"""What a generation has left behind so far: its log, stage outputs, takes, messages, checkpoints and metrics.

Reads only, and asks nobody whose generation it is: the caller has checked that before.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, or_, select, update

from pipelines.recipe import StageName
from pipelines.records import Checkpoint, Event, Lease, Made, NewEvent, QualityMetric, Take
from pipelines.steps import Message, Step
from pipelines.store.database import Database, transaction
from pipelines.store.tables import (
    checkpoints,
    currents,
    events,
    generations,
    messages,
    quality_metrics,
    stage_outputs,
    takes,
)
from pipelines.store.transaction import append_events, fenced, now, point
from quality.score import Score


def insert_metrics(connection: Connection, generation_id: str, step: Step, scores: Sequence[Score]) -> None:
    """They are the current ones from now on."""
    if not scores:
        return
    connection.execute(insert(quality_metrics), [_row(generation_id, step, score) for score in scores])
    stand(connection, generation_id, step)


def stand(connection: Connection, generation_id: str, step: Step) -> None:
    """Make the metrics that `step` left when it ran with these inputs the current ones of its name."""
    of_step = (quality_metrics.c.generation_id == generation_id, quality_metrics.c.step == step.name)
    connection.execute(update(quality_metrics).where(*of_step).values(current=quality_metrics.c.key == step.key))


def retire(connection: Connection, generation_id: str) -> None:
    """None of the generation's metrics is a current one: what they measured is made anew."""
    connection.execute(
        update(quality_metrics).where(quality_metrics.c.generation_id == generation_id).values(current=False)
    )


def current_metrics(generation_id: str) -> Select[Any]:
    """By scene, then those of the finished video; in each the order of their names."""
    table = quality_metrics
    return (
        select(*(table.c[name] for name in QualityMetric.model_fields))
        .where(table.c.generation_id == generation_id, table.c.current.is_(True))
        .order_by(table.c.scene_number.nulls_last(), table.c.metric_name, table.c.id)
    )


def _row(generation_id: str, step: Step, score: Score) -> dict[str, Any]:
    metric = QualityMetric(
        id=str(uuid.uuid4()),
        generation_id=generation_id,
        scene_number=score.scene_number,
        metric_name=score.metric_id.rpartition(".")[2],
        metric_value=score.raw,
        reason=score.reason,
        model_name=score.backbone,
        created_at=now(),
    )
    return {**metric.model_dump(), "step": step.name, "key": step.key, "current": False}


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


class StageRows(History):
    @transaction
    def start_stage(self, connection: Connection, lease: Lease, stage: StageName, event: NewEvent) -> None:
        """Make `stage` the current one. Raises LeaseLost."""
        row = fenced(connection, lease)
        append_events(connection, row, (event,))
        connection.execute(
            update(generations)
            .where(generations.c.id == lease.generation_id)
            .values(current_stage=stage, current_step=stage)
        )

    @transaction
    def finish_stage(
        self, connection: Connection, lease: Lease, stage: StageName, output: Any, *events: NewEvent
    ) -> None:
        """Keep what `stage` made (JSON), in place of what it made before. Raises LeaseLost."""
        row = fenced(connection, lease)
        where = (stage_outputs.c.generation_id == lease.generation_id, stage_outputs.c.stage == stage)
        connection.execute(delete(stage_outputs).where(*where))
        connection.execute(
            insert(stage_outputs).values(generation_id=lease.generation_id, stage=stage, value=output, created_at=now())
        )
        if events:
            append_events(connection, row, events)

    @transaction
    def reuse_step(self, connection: Connection, lease: Lease, step: Step, event: NewEvent) -> None:
        """Say that `step` was finished before, and make the takes and metrics that it left then current again."""
        row = fenced(connection, lease)
        query = select(takes).where(
            takes.c.generation_id == lease.generation_id, takes.c.step == step.name, takes.c.key == step.key
        )
        for take in connection.execute(query).all():
            point(connection, lease.generation_id, take.kind, take.scene_number, take.id)
        stand(connection, lease.generation_id, step)
        append_events(connection, row, (event,))
