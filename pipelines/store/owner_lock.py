"""One owner's additions one after the other: what is counted and then added to is counted by nobody else in between."""

from __future__ import annotations

from sqlalchemy import Connection, func, select


def lock_owner(connection: Connection, user_id: str) -> None:
    """Until the transaction ends. SQLite has one writer as it is.

    No row of the owner's is locked, because an owner may have none: `generations.user_id` refers to no table. Take it
    before any row lock, or two transactions can wait for each other.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(user_id, 0))))
