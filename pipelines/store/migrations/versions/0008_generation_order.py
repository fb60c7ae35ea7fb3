"""the queue and an owner's list are read in the order of an index, however many generations have ended"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_generations_status_created_at_id", "generations", ["status", "created_at", "id"])
    op.create_index("ix_generations_user_id_created_at_id", "generations", ["user_id", "created_at", "id"])
    op.drop_index("ix_generations_user_id", "generations")


def downgrade() -> None:
    op.create_index("ix_generations_user_id", "generations", ["user_id"])
    op.drop_index("ix_generations_user_id_created_at_id", "generations")
    op.drop_index("ix_generations_status_created_at_id", "generations")
