"""The tables of users and of what they prove themselves with: logins, refresh tokens, API keys, tickets; failed logins.

Secrets are stored as hashes only. A row of `users` whose password hash is empty is no account: it stands for an owner
that cannot log in, such as the command line of this machine, so that everything stored has an owner in this table.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args

from sqlalchemy import JSON, Boolean, CheckConstraint, Column, ForeignKey, Index, Integer, String, Table

from models.interfaces import Plain
from pipelines.store.tables import UtcDateTime, metadata

Role = Literal["user", "admin"]
"""An admin may also read the metrics of the whole server. No user reads another's generations."""
Scope = Literal["read", "write"]
"""`read`: GET. `write`: everything else, WebSockets included."""


class Credential(Plain):
    """What a request was authenticated with, a login or an API key, by an id that is no secret."""

    kind: Literal["login", "key"]
    id: str


class User(Plain):
    """An account."""

    id: str
    username: str
    role: Role
    disabled: bool
    created_at: datetime


class ApiKey(Plain):
    """An API key. Its secret part exists only with its holder."""

    id: str
    user_id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    revoked_at: datetime | None = None


def _user_id() -> Column[str]:
    return Column("user_id", String(36), ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True)


_roles = ", ".join(f"'{role}'" for role in get_args(Role))

users = Table(
    "users",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("username", String(64), nullable=False, unique=True),
    Column("password_hash", String(200), nullable=False),
    Column("role", String(16), nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    CheckConstraint(f"role in ({_roles})", name="role"),
)

logins = Table(
    "logins",
    metadata,
    Column("id", String(36), primary_key=True),
    _user_id(),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
)

refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("login_id", String(36), ForeignKey("logins.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("spent_at", UtcDateTime),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    _user_id(),
    Column("name", String(100), nullable=False),
    Column("secret_hash", String(64), nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
)

tickets = Table(
    "tickets",
    metadata,
    Column("hash", String(64), primary_key=True),
    _user_id(),
    Column("scopes", JSON, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("credential", String(60), nullable=False),  # `login:ID` or `key:ID`, of whom it was issued to
)

login_attempts = Table(
    "login_attempts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("username_hash", String(64), nullable=False),
    Column("address", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Index("ix_login_attempts_username_hash_created_at", "username_hash", "created_at"),
    Index("ix_login_attempts_address_created_at", "address", "created_at"),
)
