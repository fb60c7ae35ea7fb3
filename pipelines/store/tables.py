"""The tables, one schema for SQLite and PostgreSQL. The database holds the invariants: keys, states, sequence.

Status moves (enforced in `generations.py`, values enforced here):

    pending ──claim──> processing ──> completed | failed | cancelled
       ^                   │
       ├──── release ──────┤          (interrupted; `failed` and `cancelled` are claimed again by a resume)
       └── awaiting_approval          (the owner approves or directs; then it is `pending` again)

The contract's Generation, GenerationGroup, QualityMetric and User are here under its names. What follows from other
columns is no column; `serving/gateway/generations/views.py` shows it under the contract's name and meaning:

    title, prompt, duration, aspect_ratio, coherence_settings, seed_value     of `brief`
    framework, use_llm                                                       of `recipe` and `brief`
    model                                                                    of `manifest`
    num_scenes                                                               of `brief`, `recipe` and `manifest`
    video_path, video_url, thumbnail_url, temp_clip_paths, num_clips         of `takes` and `stage_outputs`
    llm_specification, scene_plan                                            of `stage_outputs` (story, scenes)
    llm_conversation_history                                                 the rows of `messages`
    generation_time_seconds                                                  `completed_at` less `created_at`
    cost                                                                     seconds of its steps, at the price in
                                                                             `manifest`; null where none was set

For reports in SQL the view `generation_contract` (migration 0012) shows all of them as columns.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, get_args

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from pipelines.records import GenerationStatus

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime. SQLite stores it naive, so the zone is put back; PostgreSQL answers in its own zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        aware: datetime = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        return aware


def owner_id(primary_key: bool = False, index: bool = False) -> Column[str]:
    """The column that names an owner: an account, or a row of `users` that nobody can log in as (`ensure_owner`)."""
    return Column("user_id", String(36), ForeignKey("users.id"), nullable=False, primary_key=primary_key, index=index)


def _generation_id() -> Column[str]:
    return Column("generation_id", String(36), ForeignKey("generations.id", ondelete="CASCADE"), primary_key=True)


generation_groups = Table(
    "generation_groups",
    metadata,
    Column("id", String(36), primary_key=True),
    owner_id(index=True),
    Column("comparison_type", String(16), nullable=False),
    Column("winner_generation_id", String(36)),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("comparison_type in ('settings', 'prompt')", name="comparison_type"),
)

_statuses = ", ".join(f"'{status}'" for status in get_args(GenerationStatus))

generations = Table(
    "generations",
    metadata,
    Column("id", String(36), primary_key=True),
    owner_id(),
    Column("brief", JSON, nullable=False),
    Column("recipe", JSON, nullable=False),
    Column("given", JSON, nullable=False),
    Column("manifest", JSON, nullable=False),
    Column("direction", JSON, nullable=False, server_default="{}"),
    Column("status", String(32), nullable=False),
    Column("progress", Integer, nullable=False),
    Column("current_stage", String(16)),
    Column("current_step", String(200)),
    Column("error_message", Text),
    Column("cancellation_requested", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("completed_at", UtcDateTime),
    Column("lease_owner", String(200)),
    Column("lease_expires_at", UtcDateTime),
    Column("fence", Integer, nullable=False),
    Column("lost_workers", Integer, nullable=False, server_default="0"),  # in a row, since a step was finished
    Column("last_seq", Integer, nullable=False),
    Column("row_bytes", BigInteger, nullable=False, server_default="0"),  # of this row and of all that belong to it
    Column("step_seconds", Float, nullable=False, server_default="0"),  # that its finished steps ran
    Column("claimed_at", UtcDateTime),  # when a worker took it last
    Column("generation_group_id", String(36), ForeignKey("generation_groups.id", ondelete="SET NULL"), index=True),
    Column("parent_generation_id", String(36), ForeignKey("generations.id", ondelete="SET NULL")),
    CheckConstraint(f"status in ({_statuses})", name="status"),
    CheckConstraint("progress between 0 and 100", name="progress"),
    Index("ix_generations_status_created_at_id", "status", "created_at", "id"),  # the queue
    Index("ix_generations_user_id_created_at_id", "user_id", "created_at", "id"),  # an owner's list
    Index("ix_generations_user_id_claimed_at", "user_id", "claimed_at"),  # whose turn it is
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _generation_id(),
    Column("step", String(200), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("value", JSON, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

stage_outputs = Table(
    "stage_outputs",
    metadata,
    _generation_id(),
    Column("stage", String(16), primary_key=True),
    Column("value", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    _generation_id(),
    Column("sha256", String(64), primary_key=True),
    Column("media_type", String(100), nullable=False),
    Column("size", Integer, nullable=False),
)

owned_artifacts = Table(
    "owned_artifacts",
    metadata,
    owner_id(primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("media_type", String(100), nullable=False),
    Column("size", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

takes = Table(
    "takes",
    metadata,
    Column("id", String(36), primary_key=True),
    Column(
        "generation_id",
        String(36),
        ForeignKey("generations.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("kind", String(16), nullable=False),
    Column("scene_number", Integer),
    Column("artifact", String(64), nullable=False),
    Column("provenance", JSON, nullable=False),
    Column("step", String(200), nullable=False),
    Column("key", String(64), nullable=False),
    Column("position", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("generation_id", "step", "key", "position"),
)

currents = Table(
    "currents",
    metadata,
    _generation_id(),
    Column("kind", String(16), primary_key=True),
    Column("scene_number", Integer, primary_key=True, autoincrement=False),  # 0: the whole generation
    Column("take_id", String(36), ForeignKey("takes.id", ondelete="CASCADE"), nullable=False),
)

quality_metrics = Table(
    "quality_metrics",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("generation_id", String(36), ForeignKey("generations.id", ondelete="CASCADE"), nullable=False),
    Column("scene_number", Integer),
    Column("metric_name", String(100), nullable=False),
    Column("metric_value", Float),
    Column("reason", Text),
    Column("model_name", String(200)),
    Column("step", String(200), nullable=False),
    Column("key", String(64), nullable=False),
    Column("current", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint("(metric_value is null) <> (reason is null)", name="value_or_reason"),
    Index("ix_quality_metrics_generation_id_step", "generation_id", "step"),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("generation_id", String(36), ForeignKey("generations.id", ondelete="CASCADE"), nullable=False),
    Column("step", String(200), nullable=False),
    Column("role", String(32), nullable=False),
    Column("iteration", Integer, nullable=False),
    Column("scene_number", Integer),
    Column("content", Text, nullable=False),
    Column("score", Float),
    Column("timestamp", UtcDateTime, nullable=False),
    Index("ix_messages_generation_id_id", "generation_id", "id"),
)

events = Table(
    "events",
    metadata,
    _generation_id(),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("severity", String(8), nullable=False),
    Column("step", String(200)),
    Column("scene_number", Integer),
    Column("message", Text, nullable=False),
    Column("data", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)
