"""The table of names that clients gave to their requests, so that a request sent twice is carried out once.

A row says which generation or group came of the request, and by the fingerprint what was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Column, Connection, ForeignKey, Row, Select, String, Table, delete, insert, select, update

from pipelines.errors import Gone, KeyReused
from pipelines.records import Keys
from pipelines.store.tables import UtcDateTime, metadata, owner_id
from pipelines.store.transaction import now

MAX_NAME = 300
REMEMBERED = timedelta(days=1)
"""So long after its result was deleted a request is still known: sent again, it makes nothing anew."""

request_keys = Table(
    "request_keys",
    metadata,
    owner_id(primary_key=True),
    Column("name", String(MAX_NAME), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("generation_id", String(36), ForeignKey("generations.id", ondelete="SET NULL"), index=True),
    Column("generation_group_id", String(36), ForeignKey("generation_groups.id", ondelete="SET NULL"), index=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("gone_at", UtcDateTime, index=True),  # when what it made was deleted
)


def known_request(connection: Connection, user_id: str, keys: Keys) -> str | None:
    """What an earlier request with one of `keys` made or changed.

    Raises KeyReused when it asked for something else, Gone when that was deleted less than REMEMBERED ago.
    """
    return made_by(connection.execute(named(user_id, keys)).all(), keys) if keys else None


def note_request(
    connection: Connection,
    user_id: str,
    keys: Keys,
    generation_id: str | None = None,
    generation_group_id: str | None = None,
) -> None:
    """Keep the names of a request in the transaction that carries it out."""
    names = [key.name for key in keys]
    mine = (request_keys.c.user_id == user_id, request_keys.c.name.in_(names), request_keys.c.gone_at.is_not(None))
    if names:
        connection.execute(delete(request_keys).where(*mine))  # remembered long enough, or `known_request` had raised
    rows = [
        {
            "user_id": user_id,
            "name": key.name,
            "fingerprint": key.fingerprint,
            "generation_id": generation_id,
            "generation_group_id": generation_group_id,
            "created_at": now(),
        }
        for key in sorted(keys, key=lambda key: key.name)  # one order, or two requests wait for each other
    ]
    if rows:
        connection.execute(insert(request_keys), rows)


def named(user_id: str, keys: Keys) -> Select[Any]:
    """Query for the requests that had one of these names."""
    names = [key.name for key in keys]
    return select(request_keys).where(request_keys.c.user_id == user_id, request_keys.c.name.in_(names))


def made_by(rows: Sequence[Row[Any]], keys: Keys) -> str | None:
    """What the first of `keys` that is known made. Raises KeyReused when it asked for something else, Gone."""
    known = {row.name: row for row in rows}
    for key in keys:
        row = known.get(key.name)
        if row is None:
            continue
        if row.gone_at is not None and row.gone_at < now() - REMEMBERED:
            continue
        if row.fingerprint != key.fingerprint:
            raise KeyReused(f"{key.name.partition(':')[2]!r} named an earlier request with another body: use a new one")
        made = row.generation_id or row.generation_group_id
        if made is None:
            raise Gone(f"what the request named {key.name.partition(':')[2]!r} made was deleted: use a new name")
        return str(made)
    return None


def let_go(connection: Connection, generation_id: str | None = None, generation_group_id: str | None = None) -> None:
    """Note, before it is deleted, that what requests made will be gone; their names stay for REMEMBERED."""
    table = request_keys.c
    made = table.generation_id == generation_id if generation_id else table.generation_group_id == generation_group_id
    gone = {"generation_id": None, "generation_group_id": None, "gone_at": now()}
    connection.execute(update(request_keys).where(made).values(**gone))


def forget_gone(connection: Connection) -> None:
    """Delete the names of requests whose results were deleted longer than REMEMBERED ago."""
    connection.execute(delete(request_keys).where(request_keys.c.gone_at < now() - REMEMBERED))
