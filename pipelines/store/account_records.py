"""The rows of accounts as plain frozen data. None of them holds a password, a key or a hash of one."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from models.interfaces import Plain

Role = Literal["user", "admin"]
"""An admin may also read what concerns the whole server: its metrics. Nobody reads another's generations."""
Scope = Literal["read", "write"]
"""`read`: GET. `write`: everything else, WebSockets included."""


class Credential(Plain):
    """What somebody proved who they are with, by a name that is no secret: a login, or an API key."""

    kind: Literal["login", "key"]
    id: str


class User(Plain):
    """Somebody who may ask."""

    id: str
    username: str
    role: Role
    disabled: bool
    created_at: datetime


class ApiKey(Plain):
    """A key of a program. The secret part exists only with its holder."""

    id: str
    user_id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime
    revoked_at: datetime | None = None
