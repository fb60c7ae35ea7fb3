"""Alembic's entry: runs migrations on the connection that `pipelines.store.database` hands over."""

from alembic import context

from pipelines.store import account_tables, request_keys  # noqa: F401  (their tables join the metadata)
from pipelines.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
