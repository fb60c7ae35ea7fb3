"""stored scores under the labels and protocols of today; one that was not finite has a reason instead"""

import math
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_LABELS = {"vbench_equal": "equal", "vbench_like": "like"}
_PROTOCOLS = {"short": "custom"}


def upgrade() -> None:
    _rename(_LABELS, _PROTOCOLS)


def downgrade() -> None:
    _rename({new: old for old, new in _LABELS.items()}, {new: old for old, new in _PROTOCOLS.items()})


def _rename(labels: dict[str, str], protocols: dict[str, str]) -> None:
    connection = op.get_bind()
    for table_name, place_name, pattern in (
        ("checkpoints", "step", "quality/%"),
        ("stage_outputs", "stage", "quality"),
    ):
        table = sa.table(table_name, sa.column("generation_id"), sa.column(place_name), sa.column("value", sa.JSON()))
        name = table.c[place_name]
        rows = connection.execute(sa.select(table.c.generation_id, name, table.c.value).where(name.like(pattern))).all()
        for generation_id, place, found in rows:
            scores = found.get("scores", ()) if isinstance(found, dict) else found or ()
            for score in scores:
                _rename_in(score, labels, protocols)
            this = (table.c.generation_id == generation_id, name == place)
            connection.execute(sa.update(table).where(*this).values(value=found))


def _rename_in(score: dict[str, Any], labels: dict[str, str], protocols: dict[str, str]) -> None:
    for field, names in (("fidelity", labels), ("protocol", protocols)):
        if score.get(field) in names:
            score[field] = names[score[field]]
    raw = score.get("raw")
    if (raw is None or not math.isfinite(raw)) and score.get("reason") is None:
        score |= {"raw": None, "fidelity": None, "reason": "not finite"}
