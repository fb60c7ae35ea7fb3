"""What a running stage writes: that it began, what it made, and which takes a reused step makes current.

Every write is one transaction under the lease's fence, as in `sql.py`, whose store these rows are part of.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from pipelines.recipe import StageName
from pipelines.steps import Step
from pipelines.store.database import transaction
from pipelines.store.history import History
from pipelines.store.metric_rows import stand
from pipelines.store.records import Lease, NewEvent
from pipelines.store.tables import generations, stage_outputs, takes
from pipelines.store.transaction import append_events, fenced, now, point


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
