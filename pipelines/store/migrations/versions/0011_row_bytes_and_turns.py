"""what a generation's rows take, how long its steps ran, and when a worker took it last"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TEXTS = {
    "stage_outputs": ("value",),
    "checkpoints": ("value",),
    "takes": ("provenance",),
    "messages": ("content",),
    "events": ("message", "data"),
}
"""What belongs to a generation and grows with it."""


def _lengths(*columns: str) -> str:
    return " + ".join(f"length(cast({column} as text))" for column in columns)


def upgrade() -> None:
    op.add_column("generations", sa.Column("row_bytes", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("generations", sa.Column("step_seconds", sa.Float(), nullable=False, server_default="0"))
    op.add_column("generations", sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("ix_generations_user_id_claimed_at", "generations", ["user_id", "claimed_at"])
    of_generation = "generation_id = generations.id"
    parts = [
        f"coalesce((select sum(100 + {_lengths(*columns)}) from {table} where {of_generation}), 0)"  # noqa: S608
        for table, columns in _TEXTS.items()
    ]
    own = _lengths("brief", "recipe", "given", "manifest", "direction")
    op.execute(f"update generations set row_bytes = 100 + {own} + {' + '.join(parts)}")  # noqa: S608
    op.execute(
        "update generations set step_seconds = coalesce("
        "(select sum(seconds) from checkpoints where checkpoints.generation_id = generations.id), 0)"
    )


def downgrade() -> None:
    op.drop_index("ix_generations_user_id_claimed_at", "generations")
    for column in ("claimed_at", "step_seconds", "row_bytes"):
        op.drop_column("generations", column)
