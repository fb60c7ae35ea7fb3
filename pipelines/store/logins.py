"""Logins with their refresh tokens, single-use tickets, which credentials have ended, and the limit on failed logins.

    open ──> token 1 ──rotate──> token 2 ──rotate──> …      a spent token that comes again ends the whole login

Tokens and tickets are stored as hashes. A lost answer to `rotate` costs its owner a new login: there is no grace
period, because within one a thief and the owner cannot be told apart.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Collection
from datetime import datetime, timedelta

from pydantic import Field
from sqlalchemy import ColumnElement, Connection, bindparam, delete, insert, select, update

from models.interfaces import Plain
from pipelines.errors import TooManyAttempts
from pipelines.store.account_tables import (
    Credential,
    Scope,
    User,
    api_keys,
    login_attempts,
    logins,
    refresh_tokens,
    tickets,
    users,
)
from pipelines.store.accounts import user_of
from pipelines.store.database import Database, transaction
from pipelines.store.transaction import delete_stale, now

logger = logging.getLogger(__name__)
_HOLDER = (
    select(users)
    .join(logins, logins.c.user_id == users.c.id)
    .where(
        logins.c.id == bindparam("login_id"),
        logins.c.ended_at.is_(None),
        logins.c.expires_at > bindparam("time"),
        users.c.disabled.is_(False),
    )
)
"""The user who is logged in, if one is."""


class Logins:
    """Rows of logins and tickets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @transaction
    def open(self, connection: Connection, user_id: str, token_hash: str | None, days: float) -> str:
        """A new login with its first refresh token; returns its id. `days`: its life, however often it is rotated.

        None for a login that has no refresh token: a browser's, whose cookie stands for the login itself.
        """
        login_id, time = str(uuid.uuid4()), now()
        over = (logins.c.user_id == user_id) & (logins.c.expires_at < time)
        connection.execute(delete_stale(logins.c.id, over))
        connection.execute(
            insert(logins).values(id=login_id, user_id=user_id, created_at=time, expires_at=time + timedelta(days=days))
        )
        if token_hash is not None:
            connection.execute(insert(refresh_tokens).values(hash=token_hash, login_id=login_id))
        return login_id

    async def rotate(self, token_hash: str, next_hash: str) -> tuple[str, User] | None:
        """Spend a refresh token for its successor. Returns the login's id and its user.

        None when the token is unknown, or its login is over, or its user disabled. A token that was spent before ends
        its login: two hold it, and one of them is a thief.
        """
        known = select(refresh_tokens.c.login_id).where(refresh_tokens.c.hash == token_hash)
        if await self._database.fetch_first(known) is None:  # strangers' guesses cost the one writer nothing
            return None
        return await self._rotate(token_hash, next_hash)

    @transaction
    def _rotate(self, connection: Connection, token_hash: str, next_hash: str) -> tuple[str, User] | None:
        spent = update(refresh_tokens).where(refresh_tokens.c.hash == token_hash, refresh_tokens.c.spent_at.is_(None))
        # The login is locked before its token, in the order in which a login that is deleted takes its tokens along.
        login = (
            select(logins.c.id)
            .join(refresh_tokens, refresh_tokens.c.login_id == logins.c.id)
            .where(refresh_tokens.c.hash == token_hash)
            .with_for_update(of=logins)
        )
        login_id = connection.scalar(login)
        if login_id is None:
            return None
        if connection.execute(spent.values(spent_at=now())).rowcount == 0:
            logger.warning("login %s ends: a refresh token that was spent came again", login_id)
            _end(connection, login_id)
            return None
        holder = connection.execute(_HOLDER, {"login_id": login_id, "time": now()}).first()
        if holder is None:
            return None
        connection.execute(insert(refresh_tokens).values(hash=next_hash, login_id=login_id))
        return login_id, user_of(holder)

    @transaction
    def end(self, connection: Connection, login_id: str) -> None:
        """Log out: the login's refresh and access tokens are invalid from now on. Ending it twice changes nothing."""
        _end(connection, login_id)

    async def holder(self, login_id: str) -> User | None:
        """Who is logged in; None when the login is unknown or over, or its user disabled."""
        row = await self._database.fetch_first(_HOLDER, login_id=login_id, time=now())
        return None if row is None else user_of(row)

    # --- tickets ---

    @transaction
    def issue_ticket(
        self,
        connection: Connection,
        user_id: str,
        credential: Credential,
        scopes: tuple[Scope, ...],
        ticket_hash: str,
        seconds: float,
    ) -> None:
        """A ticket that is good once, within `seconds`; what it opens lasts as long as `credential`."""
        time = now()
        connection.execute(delete_stale(tickets.c.hash, tickets.c.expires_at < time))
        connection.execute(
            insert(tickets).values(
                hash=ticket_hash,
                user_id=user_id,
                scopes=list(scopes),
                expires_at=time + timedelta(seconds=seconds),
                credential=f"{credential.kind}:{credential.id}",
            )
        )

    async def redeem_ticket(self, ticket_hash: str) -> tuple[User, Credential, tuple[Scope, ...]] | None:
        """Use a ticket up: user, credential, scopes; None when it is unknown, used or too old, or its user disabled."""
        if await self._database.fetch_first(select(tickets.c.hash).where(tickets.c.hash == ticket_hash)) is None:
            return None
        return await self._redeem(ticket_hash)

    @transaction
    def _redeem(self, connection: Connection, ticket_hash: str) -> tuple[User, Credential, tuple[Scope, ...]] | None:
        query = (
            select(users, tickets.c.scopes, tickets.c.credential)
            .join(tickets, tickets.c.user_id == users.c.id)
            .where(tickets.c.hash == ticket_hash, tickets.c.expires_at > now(), users.c.disabled.is_(False))
        )
        row = connection.execute(query).first()
        taken = connection.execute(delete(tickets).where(tickets.c.hash == ticket_hash))
        # Of two that come at once, one takes the row away.
        if row is None or taken.rowcount == 0:
            return None
        kind, _, name = row.credential.partition(":")
        return user_of(row), Credential(kind=kind, id=name), tuple(row.scopes)


def _end(connection: Connection, login_id: str) -> None:
    alive = (logins.c.id == login_id) & logins.c.ended_at.is_(None)
    connection.execute(update(logins).where(alive).values(ended_at=now()))


class CredentialStatus:
    """Asks which credentials have ended, for streams that stay open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ended(self, credentials: Collection[Credential]) -> frozenset[Credential]:
        """The credentials that are no longer valid: logged out, revoked, expired, or of a disabled user."""
        named = {kind: [each.id for each in credentials if each.kind == kind] for kind in ("login", "key")}
        good_logins = (
            select(logins.c.id)
            .join(users, users.c.id == logins.c.user_id)
            .where(logins.c.id.in_(named["login"]), logins.c.ended_at.is_(None), logins.c.expires_at > now())
            .where(users.c.disabled.is_(False))
        )
        good_keys = (
            select(api_keys.c.id)
            .join(users, users.c.id == api_keys.c.user_id)
            .where(api_keys.c.id.in_(named["key"]), api_keys.c.revoked_at.is_(None), users.c.disabled.is_(False))
        )
        logged_in, keys = await self._database.fetch_each(good_logins, good_keys)
        good = {Credential(kind="login", id=row.id) for row in logged_in}
        return frozenset(credentials) - good - {Credential(kind="key", id=row.id) for row in keys}


class AttemptLimits(Plain):
    """Failed logins within `window_seconds`."""

    window_seconds: float = Field(default=900.0, gt=0)
    username_at_address: int = Field(default=5, ge=1)
    """Failures of one name from one address; more are refused, unseen, until the oldest leaves the window."""
    address: int = Field(default=20, ge=1)
    """Failures from one address, whatever the names; more are answered slowly, and none of them is refused for it."""


class LoginAttempts:
    """Failed logins, by the pair of name and address. Only the pair is ever refused.

    A stranger can therefore lock out nobody: neither a user everywhere, by that one's name, nor the others at an
    address, by made-up names. An attempt that is refused writes nothing.
    """

    def __init__(self, database: Database, limits: AttemptLimits | None = None) -> None:
        self._database = database
        self._limits = limits or AttemptLimits()

    async def check(self, username: str, address: str) -> None:
        """Raises TooManyAttempts when this name has failed at this address as often as it may. Only reads."""
        time, limit = now(), self._limits.username_at_address
        recent = _at_address(_hash(username), address) & (login_attempts.c.created_at > self._start(time))
        newest = select(login_attempts.c.created_at).where(recent).order_by(login_attempts.c.created_at.desc())
        (rows,) = await self._database.fetch_each(newest.limit(limit))
        if len(rows) < limit:
            return
        free = rows[-1].created_at + timedelta(seconds=self._limits.window_seconds)
        raise TooManyAttempts(max(1, int((free - time).total_seconds()) + 1))

    async def failed(self, username: str, address: str) -> bool:
        """Count a failure; whether the address has more of them now than it is answered at once."""
        time = now()
        await self._insert(_hash(username), address, time)
        recent = (login_attempts.c.address == address) & (login_attempts.c.created_at > self._start(time))
        newest = select(login_attempts.c.id).where(recent).limit(self._limits.address + 1)
        (rows,) = await self._database.fetch_each(newest)
        return len(rows) > self._limits.address

    async def succeeded(self, username: str, address: str) -> None:
        """Forget what was counted for this name at this address."""
        if await self._database.fetch_first(select(login_attempts.c.id).where(_at_address(_hash(username), address))):
            await self._forget(_at_address(_hash(username), address))

    async def forget(self, username: str) -> None:
        """Forget what was counted for this name everywhere, as when its password is set."""
        await self._forget(login_attempts.c.username_hash == _hash(username))

    def _start(self, time: datetime) -> datetime:
        return time - timedelta(seconds=self._limits.window_seconds)

    @transaction
    def _insert(self, connection: Connection, name: str, address: str, time: datetime) -> None:
        """Record a failure, and delete those that have left the window."""
        connection.execute(delete_stale(login_attempts.c.id, login_attempts.c.created_at < self._start(time)))
        connection.execute(insert(login_attempts).values(username_hash=name, address=address, created_at=time))

    @transaction
    def _forget(self, connection: Connection, where: ColumnElement[bool]) -> None:
        connection.execute(delete_stale(login_attempts.c.id, where))


def _at_address(name: str, address: str) -> ColumnElement[bool]:
    return (login_attempts.c.username_hash == name) & (login_attempts.c.address == address)


def _hash(username: str) -> str:
    """Hash of a username: people type passwords into that field, and no table may show them."""
    return hashlib.sha256(username.encode()).hexdigest()
