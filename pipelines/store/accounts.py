"""Users and their API keys. Passwords and keys are hashed by the caller: only hashes are stored.

Disabling a user and setting a password end every login of theirs in the same transaction.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from pipelines.errors import BadInput, NotFound
from pipelines.store.account_tables import ApiKey, Role, Scope, User, api_keys, logins, users
from pipelines.store.database import Database, transaction
from pipelines.store.transaction import lock_owner, now

MAX_KEYS = 50
"""API keys of one user that are not revoked."""
_ACCOUNT = users.c.password_hash != ""
"""Who can log in; the other rows are owners without an account (`transaction.ensure_owner`)."""
_KEY_HOLDER = (  # asked for every request: building the statement each time took three times as long as asking
    select(users, api_keys.c.name, api_keys.c.scopes, api_keys.c.created_at.label("key_created_at"))
    .join(api_keys, api_keys.c.user_id == users.c.id)
    .where(
        api_keys.c.id == bindparam("key_id"),
        # A hash of 256 random bits: comparing it in the database tells a guesser's clock nothing of use.
        api_keys.c.secret_hash == bindparam("secret_hash"),
        api_keys.c.revoked_at.is_(None),
        users.c.disabled.is_(False),
    )
)


class Accounts:
    """Rows of users and keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- users ---

    async def add_user(self, username: str, password_hash: str, role: Role = "user") -> User:
        """A new user. Raises BadInput when the name is taken."""
        try:
            return await self._database.write(lambda connection: _insert(connection, username, password_hash, role))
        except IntegrityError:
            raise BadInput(f"user {username!r} exists already: choose another name") from None

    async def add_first_user(self, username: str, password_hash: str, role: Role) -> User | None:
        """The new user; None when there is one already, also one that another process adds at this moment."""
        try:
            return await self._insert_first(username, password_hash, role)
        except IntegrityError:
            return None

    @transaction
    def _insert_first(self, connection: Connection, username: str, password_hash: str, role: Role) -> User | None:
        if connection.scalar(select(func.count()).select_from(users).where(_ACCOUNT)):
            return None
        return _insert(connection, username, password_hash, role)

    async def user(self, username: str) -> User:
        """The user of this name. Raises NotFound."""
        found = await self.password_of(username)
        if found is None:
            raise NotFound(f"no user {username!r}")
        return found[0]

    async def users(self) -> tuple[User, ...]:
        """All users, by name."""
        return tuple(
            user_of(row) for row in await self._database.fetch(select(users).where(_ACCOUNT).order_by(users.c.username))
        )

    async def password_of(self, username: str) -> tuple[User, str] | None:
        """The user, also a disabled one, and the hash of their password; None when there is no such user."""
        row = await self._database.fetch_first(select(users).where(users.c.username == username, _ACCOUNT))
        return None if row is None else (user_of(row), row.password_hash)

    async def active(self, user_id: str) -> User | None:
        """The user of this id; None when there is none, or they are disabled."""
        row = await self._database.fetch_first(select(users).where(users.c.id == user_id, users.c.disabled.is_(False)))
        return None if row is None else user_of(row)

    async def set_disabled(self, username: str, disabled: bool) -> None:
        """Disable or enable a user; every login of theirs ends. Raises NotFound."""
        await self._change(username, disabled=disabled)

    async def set_password(self, username: str, password_hash: str) -> None:
        """Set a password; every login of the user ends. Raises NotFound."""
        await self._change(username, password_hash=password_hash)

    @transaction
    def rehash_password(self, connection: Connection, user_id: str, password_hash: str) -> None:
        """Store the same password under newer settings of the hash: no login ends."""
        connection.execute(update(users).where(users.c.id == user_id).values(password_hash=password_hash))

    async def _change(self, username: str, **values: Any) -> None:
        await self._alter(await self.user(username), values)

    @transaction
    def _alter(self, connection: Connection, user: User, values: dict[str, Any]) -> None:
        connection.execute(update(users).where(users.c.id == user.id).values(**values))
        alive = (logins.c.user_id == user.id) & logins.c.ended_at.is_(None)
        connection.execute(update(logins).where(alive).values(ended_at=now()))

    # --- keys ---

    @transaction
    def add_key(
        self, connection: Connection, user_id: str, key_id: str, secret_hash: str, name: str, scopes: tuple[Scope, ...]
    ) -> ApiKey:
        """A new API key. Raises BadInput when the user has MAX_KEYS already."""
        key = ApiKey(id=key_id, user_id=user_id, name=name, scopes=scopes, created_at=now())
        lock_owner(connection, user_id)
        alive = (api_keys.c.user_id == user_id) & api_keys.c.revoked_at.is_(None)
        if (connection.scalar(select(func.count()).select_from(api_keys).where(alive)) or 0) >= MAX_KEYS:
            raise BadInput(f"there are {MAX_KEYS} keys already: revoke one first")
        row = {**key.model_dump(), "scopes": list(scopes), "secret_hash": secret_hash}
        connection.execute(insert(api_keys).values(**row))
        return key

    async def keys(self, user_id: str) -> tuple[ApiKey, ...]:
        """API keys of one user that are not revoked, oldest first."""
        query = (
            select(api_keys)
            .where(api_keys.c.user_id == user_id, api_keys.c.revoked_at.is_(None))
            .order_by(api_keys.c.created_at, api_keys.c.id)
        )
        return tuple(_key(row) for row in await self._database.fetch(query))

    @transaction
    def revoke_key(self, connection: Connection, user_id: str, key_id: str) -> None:
        """Revoke a key, from the next request on. Raises NotFound, also for someone else's key."""
        mine = (api_keys.c.id == key_id) & (api_keys.c.user_id == user_id) & api_keys.c.revoked_at.is_(None)
        changed = connection.execute(update(api_keys).where(mine).values(revoked_at=now()))
        if changed.rowcount == 0:
            raise NotFound(f"no key {key_id!r}")

    async def key_holder(self, key_id: str, secret_hash: str) -> tuple[User, ApiKey] | None:
        """User and key; None when the key is unknown or revoked, its secret another, or its user disabled."""
        row = await self._database.fetch_first(_KEY_HOLDER, key_id=key_id, secret_hash=secret_hash)
        if row is None:
            return None
        created: datetime = row.key_created_at
        key = ApiKey(id=key_id, user_id=row.id, name=row.name, scopes=tuple(row.scopes), created_at=created)
        return user_of(row), key


def _insert(connection: Connection, username: str, password_hash: str, role: Role) -> User:
    user = User(id=str(uuid.uuid4()), username=username, role=role, disabled=False, created_at=now())
    connection.execute(insert(users).values(**user.model_dump(), password_hash=password_hash))
    return user


def user_of(row: Row[Any]) -> User:
    """The user in a row that has all columns of `users`."""
    return User(**{name: getattr(row, name) for name in User.model_fields})


def _key(row: Row[Any]) -> ApiKey:
    return ApiKey(**{name: getattr(row, name) for name in ApiKey.model_fields})
