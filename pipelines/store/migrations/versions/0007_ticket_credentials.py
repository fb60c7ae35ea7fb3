"""what a ticket was issued for: a stream that it opens ends with that login or key"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("DELETE FROM tickets")  # they live for seconds
    op.add_column("tickets", sa.Column("credential", sa.String(length=60), nullable=False))


def downgrade() -> None:
    op.drop_column("tickets", "credential")
