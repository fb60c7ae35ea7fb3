"""What one user may have: generations in progress, and bytes stored. Checked inside the transaction that adds to it.

Counting and adding in one transaction, under the owner's lock, is what makes a quota hold against many
requests at once. Knows no HTTP; `problems.py` answers QuotaExceeded with 429.
"""

from __future__ import annotations

from pydantic import Field
from sqlalchemy import Connection, func, select, union

from models.interfaces import Plain
from pipelines.errors import QuotaExceeded
from pipelines.store.owner_lock import lock_owner
from pipelines.store.tables import artifacts, generations, owned_artifacts


class Quota(Plain):
    """Of each user."""

    generations: int = Field(ge=1)
    """That wait or run at the same time."""
    stored_bytes: int = Field(ge=1)
    """In artifacts, each hash once: of their generations, and recorded without one."""


def admit_generation(connection: Connection, user_id: str, quota: Quota | None) -> None:
    """Raises QuotaExceeded when one more generation, or whatever it will store, is too much. None: no quota."""
    if quota is None:
        return
    lock_owner(connection, user_id)
    alive = generations.c.status.in_(("pending", "processing"))
    query = select(func.count()).select_from(generations).where(generations.c.user_id == user_id, alive)
    count = connection.scalar(query) or 0
    if count >= quota.generations:
        raise QuotaExceeded("generations", count, quota.generations)
    _check_bytes(connection, user_id, quota, 1)


def admit_bytes(connection: Connection, user_id: str, size: int, quota: Quota | None) -> None:
    """Raises QuotaExceeded when `size` more bytes are too many. None: no quota."""
    if quota is not None:
        lock_owner(connection, user_id)
        _check_bytes(connection, user_id, quota, size)


def _check_bytes(connection: Connection, user_id: str, quota: Quota, size: int) -> None:
    of_generations = (
        select(artifacts.c.sha256, artifacts.c.size)
        .join(generations, generations.c.id == artifacts.c.generation_id)
        .where(generations.c.user_id == user_id)
    )
    loose = select(owned_artifacts.c.sha256, owned_artifacts.c.size).where(owned_artifacts.c.user_id == user_id)
    mine = union(of_generations, loose).subquery()
    used = int(connection.scalar(select(func.coalesce(func.sum(mine.c.size), 0))) or 0)
    if used + size > quota.stored_bytes:
        raise QuotaExceeded("bytes", used, quota.stored_bytes)
