"""What a running stage writes: that it began, what it made, and which takes a reused step makes current.

Every write is one transaction under the lease's fence, as in `sql.py`, whose store these rows are part of.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, insert, select, update

from pipelines.recipe import StageName
from pipelines.steps import Step
from pipelines.store.database import Database, unbroken
from pipelines.store.metric_rows import current_metrics, stand
from pipelines.store.records import Lease, NewEvent, QualityMetric
from pipelines.store.tables import generations, stage_outputs, takes
from pipelines.store.transaction import append_events, fenced, now, point


class StageRows:
    def __init__(self, database: Database) -> None:
        self._database = database

    @unbroken
    async def start_stage(self, lease: Lease, stage: StageName, event: NewEvent) -> None:
        """Make `stage` the current one. Raises LeaseLost."""
        async with self._database.write() as connection:
            row = await fenced(connection, lease)
            await append_events(connection, row, (event,))
            await connection.execute(
                update(generations)
                .where(generations.c.id == lease.generation_id)
                .values(current_stage=stage, current_step=stage)
            )

    @unbroken
    async def finish_stage(self, lease: Lease, stage: StageName, output: Any, *events: NewEvent) -> None:
        """Keep what `stage` made (JSON), in place of what it made before. Raises LeaseLost."""
        async with self._database.write() as connection:
            row = await fenced(connection, lease)
            where = (stage_outputs.c.generation_id == lease.generation_id, stage_outputs.c.stage == stage)
            await connection.execute(delete(stage_outputs).where(*where))
            await connection.execute(
                insert(stage_outputs).values(
                    generation_id=lease.generation_id, stage=stage, value=output, created_at=now()
                )
            )
            if events:
                await append_events(connection, row, events)

    @unbroken
    async def reuse_step(self, lease: Lease, step: Step, event: NewEvent) -> None:
        """Say that `step` was finished before, and make the takes and metrics that it left then current again."""
        async with self._database.write() as connection:
            row = await fenced(connection, lease)
            query = select(takes).where(
                takes.c.generation_id == lease.generation_id, takes.c.step == step.name, takes.c.key == step.key
            )
            for take in (await connection.execute(query)).all():
                await point(connection, lease.generation_id, take.kind, take.scene_number, take.id)
            await stand(connection, lease.generation_id, step)
            await append_events(connection, row, (event,))

    async def outputs(self, generation_id: str) -> dict[StageName, Any]:
        """What each finished stage made, as JSON of its field of `RunState`."""
        query = select(stage_outputs).where(stage_outputs.c.generation_id == generation_id)
        return {row.stage: row.value for row in await self._database.fetch(query)}

    async def quality_metrics(self, generation_id: str) -> tuple[QualityMetric, ...]:
        """What was measured of the generation as it is now, scene by scene, then of the finished video."""
        rows = await self._database.fetch(current_metrics(generation_id))
        return tuple(QualityMetric(**row._mapping) for row in rows)
