"""human direction: waiting for approval, what the owner decided, outputs by stage, and groups to compare"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BEFORE = "status in ('pending', 'processing', 'completed', 'failed', 'cancelled')"
AFTER = "status in ('pending', 'processing', 'awaiting_approval', 'completed', 'failed', 'cancelled')"


def upgrade() -> None:
    op.create_table(
        "generation_groups",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("user_id", sa.String(length=36), nullable=False),
        sa.Column("comparison_type", sa.String(length=16), nullable=False),
        sa.Column("winner_generation_id", sa.String(length=36), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "comparison_type in ('settings', 'prompt')", name=op.f("ck_generation_groups_comparison_type")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation_groups")),
    )
    with op.batch_alter_table("generation_groups", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_generation_groups_user_id"), ["user_id"], unique=False)

    with op.batch_alter_table("generations", schema=None) as batch_op:
        batch_op.alter_column("status", type_=sa.String(length=32), existing_nullable=False)
        batch_op.drop_constraint(batch_op.f("ck_generations_status"), type_="check")
        batch_op.create_check_constraint(batch_op.f("ck_generations_status"), AFTER)
        batch_op.add_column(sa.Column("current_stage", sa.String(length=16), nullable=True))
        batch_op.add_column(sa.Column("direction", sa.JSON(), nullable=False, server_default="{}"))
        batch_op.add_column(sa.Column("generation_group_id", sa.String(length=36), nullable=True))
        batch_op.add_column(sa.Column("parent_generation_id", sa.String(length=36), nullable=True))
        batch_op.create_foreign_key(
            batch_op.f("fk_generations_generation_group_id"),
            "generation_groups",
            ["generation_group_id"],
            ["id"],
            ondelete="SET NULL",
        )
        batch_op.create_foreign_key(
            batch_op.f("fk_generations_parent_generation_id"),
            "generations",
            ["parent_generation_id"],
            ["id"],
            ondelete="SET NULL",
        )
        batch_op.create_index(batch_op.f("ix_generations_generation_group_id"), ["generation_group_id"], unique=False)

    op.create_table(
        "stage_outputs",
        sa.Column("generation_id", sa.String(length=36), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["generation_id"],
            ["generations.id"],
            name=op.f("fk_stage_outputs_generation_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("generation_id", "stage", name=op.f("pk_stage_outputs")),
    )


def downgrade() -> None:
    op.drop_table("stage_outputs")
    with op.batch_alter_table("generations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_generations_generation_group_id"))
        batch_op.drop_constraint(batch_op.f("fk_generations_parent_generation_id"), type_="foreignkey")
        batch_op.drop_constraint(batch_op.f("fk_generations_generation_group_id"), type_="foreignkey")
        batch_op.drop_column("parent_generation_id")
        batch_op.drop_column("generation_group_id")
        batch_op.drop_column("direction")
        batch_op.drop_column("current_stage")
        batch_op.drop_constraint(batch_op.f("ck_generations_status"), type_="check")
        batch_op.create_check_constraint(batch_op.f("ck_generations_status"), BEFORE)
        batch_op.alter_column("status", type_=sa.String(length=16), existing_nullable=False)

    with op.batch_alter_table("generation_groups", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_generation_groups_user_id"))
    op.drop_table("generation_groups")
