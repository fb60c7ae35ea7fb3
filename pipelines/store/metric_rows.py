"""Rows of quality metrics: what the steps that score left behind, in the same transaction as their checkpoints.

A step that runs again with other inputs leaves rows of its own; those of its newest or reused run are the current ones.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, insert, select, update

from pipelines.steps import Step
from pipelines.store.records import QualityMetric
from pipelines.store.tables import quality_metrics
from pipelines.store.transaction import now
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
