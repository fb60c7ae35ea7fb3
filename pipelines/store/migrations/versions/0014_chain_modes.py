"""stored orders say `chain` where they said `chain_last_frame`"""

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _rewrite(_with_chain)


def downgrade() -> None:
    _rewrite(_with_flag)


def _rewrite(change: Callable[[dict[str, Any]], None]) -> None:
    connection = op.get_bind()
    table = sa.table("generations", sa.column("id"), sa.column("brief", sa.JSON()), sa.column("recipe", sa.JSON()))
    for row in connection.execute(sa.select(table.c.id, table.c.brief, table.c.recipe)).all():
        for order in (row.brief, row.recipe):
            if "coherence" in order:
                change(order["coherence"])
        values = {"brief": row.brief, "recipe": row.recipe}
        connection.execute(sa.update(table).where(table.c.id == row.id).values(**values))


def _with_chain(coherence: dict[str, Any]) -> None:
    if "chain_last_frame" in coherence:
        coherence["chain"] = "last_frame" if coherence.pop("chain_last_frame") else "none"


def _with_flag(coherence: dict[str, Any]) -> None:
    if "chain" in coherence:
        coherence["chain_last_frame"] = coherence.pop("chain") == "last_frame"
