"""every owner is a row of users, by foreign keys; owners that have no account get one that nobody can log in as"""

import sqlalchemy as sa
from alembic import op
from alembic.operations import BatchOperations

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

OWNED = ("generations", "generation_groups", "owned_artifacts", "request_keys")
UNKNOWN = " union ".join(
    f"select user_id from {table} where user_id not in (select id from users)"  # noqa: S608  (names of our own)
    for table in OWNED
)
NOBODY = (
    "insert into users (id, username, password_hash, role, disabled, created_at)"
    " select unknown.user_id, 'owner:' || unknown.user_id, '', 'user', true, current_timestamp"
)


def upgrade() -> None:
    op.execute(f"{NOBODY} from ({UNKNOWN}) as unknown")
    for table in OWNED:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.create_foreign_key(batch_op.f(f"fk_{table}_user_id"), "users", ["user_id"], ["id"])
            if table == "request_keys":
                _let_gone_requests_stay(batch_op)


def _let_gone_requests_stay(batch_op: BatchOperations) -> None:
    """What a request made can be deleted while its name is still remembered."""
    batch_op.add_column(sa.Column("gone_at", sa.DateTime(timezone=True), nullable=True))
    batch_op.create_index(batch_op.f("ix_request_keys_gone_at"), ["gone_at"], unique=False)
    for column, table in (("generation_id", "generations"), ("generation_group_id", "generation_groups")):
        name = batch_op.f(f"fk_request_keys_{column}")
        batch_op.drop_constraint(name, type_="foreignkey")
        batch_op.create_foreign_key(name, table, [column], ["id"], ondelete="SET NULL")


def downgrade() -> None:
    op.execute("delete from request_keys where gone_at is not null")
    with op.batch_alter_table("request_keys", schema=None) as batch_op:
        for column, table in (("generation_id", "generations"), ("generation_group_id", "generation_groups")):
            name = batch_op.f(f"fk_request_keys_{column}")
            batch_op.drop_constraint(name, type_="foreignkey")
            batch_op.create_foreign_key(name, table, [column], ["id"], ondelete="CASCADE")
        batch_op.drop_index(batch_op.f("ix_request_keys_gone_at"))
        batch_op.drop_column("gone_at")
    for table in OWNED:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_constraint(batch_op.f(f"fk_{table}_user_id"), type_="foreignkey")
    op.execute("delete from users where password_hash = ''")
