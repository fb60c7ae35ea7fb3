"""The table of names that clients gave to their requests, so that a request sent twice is carried out once.

A row says which generation or group came of the request, and by the fingerprint what was asked. Knows no HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Column, ForeignKey, String, Table

from pipelines.store.tables import UtcDateTime, metadata

MAX_NAME = 300

request_keys = Table(
    "request_keys",
    metadata,
    Column("user_id", String(36), primary_key=True),
    Column("name", String(MAX_NAME), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("generation_id", String(36), ForeignKey("generations.id", ondelete="CASCADE"), index=True),
    Column("generation_group_id", String(36), ForeignKey("generation_groups.id", ondelete="CASCADE"), index=True),
    Column("created_at", UtcDateTime, nullable=False),
)


@dataclass(frozen=True)
class RequestKey:
    """What a client calls a request, and the sha256 of all that it asks."""

    name: str
    fingerprint: str
