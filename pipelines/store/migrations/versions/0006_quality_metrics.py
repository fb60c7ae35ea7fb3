"""quality metrics as rows; those of finished steps are taken from their checkpoints"""

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    metrics = op.create_table(
        "quality_metrics",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("generation_id", sa.String(length=36), nullable=False),
        sa.Column("scene_number", sa.Integer(), nullable=True),
        sa.Column("metric_name", sa.String(length=100), nullable=False),
        sa.Column("metric_value", sa.Float(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("model_name", sa.String(length=200), nullable=True),
        sa.Column("step", sa.String(length=200), nullable=False),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "(metric_value is null) <> (reason is null)", name=op.f("ck_quality_metrics_value_or_reason")
        ),
        sa.ForeignKeyConstraint(
            ["generation_id"],
            ["generations.id"],
            name=op.f("fk_quality_metrics_generation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quality_metrics")),
    )
    op.create_index("ix_quality_metrics_generation_id_step", "quality_metrics", ["generation_id", "step"])
    _take_over(metrics)


def _take_over(metrics: sa.Table) -> None:
    checkpoints = sa.table(
        "checkpoints",
        sa.column("generation_id"),
        sa.column("step"),
        sa.column("key"),
        sa.column("value", sa.JSON()),
        sa.column("created_at", sa.DateTime(timezone=True)),
    )
    connection = op.get_bind()
    scored = sa.select(checkpoints).where(checkpoints.c.step.like("quality/%")).order_by(checkpoints.c.created_at)
    for row in connection.execute(scored).all():
        of_step = (metrics.c.generation_id == row.generation_id, metrics.c.step == row.step)
        connection.execute(sa.update(metrics).where(*of_step).values(current=False))
        new = [
            {
                "id": str(uuid.uuid4()),
                "generation_id": row.generation_id,
                "scene_number": score.get("scene_number"),
                "metric_name": score["metric_id"].rpartition(".")[2],
                "metric_value": score["raw"],
                "reason": score["reason"],
                "model_name": score.get("backbone"),
                "step": row.step,
                "key": row.key,
                "current": True,
                "created_at": row.created_at,
            }
            for score in row.value.get("scores", ())
        ]
        if new:
            connection.execute(sa.insert(metrics), new)


def downgrade() -> None:
    op.drop_table("quality_metrics")
