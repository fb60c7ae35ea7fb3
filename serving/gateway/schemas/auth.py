"""Bodies and answers of `/api/auth`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints

from models.interfaces import Plain
from pipelines.store.account_records import ApiKey, Role, Scope, User
from serving.gateway.auth.access_tokens import LIFE_SECONDS
from serving.gateway.auth.login import Tokens
from serving.gateway.auth.passwords import MAX_CHARACTERS

MAX_TOKEN = 4096


class LoginRequest(Plain):
    """`POST /api/auth/login`."""

    username: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    password: Annotated[SecretStr, Field(min_length=1, max_length=MAX_CHARACTERS)]


class RefreshRequest(Plain):
    """`POST /api/auth/refresh`."""

    refresh_token: Annotated[SecretStr, Field(min_length=1, max_length=MAX_TOKEN)]


class UserObject(Plain):
    id: str
    username: str
    role: Role


class TokenResponse(Plain):
    """Of a login and a refresh."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  (the name of the scheme)
    expires_in: int = LIFE_SECONDS
    """Seconds of life of the access token."""
    refresh_token: str
    """Good once, for `POST /api/auth/refresh`; the answer has the next one."""
    user: UserObject


class TicketResponse(Plain):
    ticket: str
    """For `?ticket=` of one WebSocket or event stream."""
    expires_in: int


class KeyRequest(Plain):
    """`POST /api/auth/keys`."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
    """What it is for."""
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=2)] = ("read", "write")


class KeyObject(Plain):
    id: str
    name: str
    scopes: tuple[Scope, ...]
    created_at: datetime


class NewKeyObject(KeyObject):
    key: str
    """The whole key, shown this once."""


class KeyList(Plain):
    items: list[KeyObject]


def token_response(tokens: Tokens) -> TokenResponse:
    return TokenResponse(access_token=tokens.access, refresh_token=tokens.refresh, user=user_object(tokens.user))


def user_object(user: User) -> UserObject:
    return UserObject(id=user.id, username=user.username, role=user.role)


def key_object(key: ApiKey) -> KeyObject:
    return KeyObject(id=key.id, name=key.name, scopes=key.scopes, created_at=key.created_at)
