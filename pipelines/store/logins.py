"""Logins: each a family of refresh tokens that replace one another, and the tickets that stand in for a header.

    open ──> token 1 ──rotate──> token 2 ──rotate──> …      a spent token that comes again ends the whole login

Tokens and tickets are hashes here. A lost answer to `rotate` costs its owner a new login: there is no grace period,
because within one a thief and the owner cannot be told apart.
"""

from __future__ import annotations

import logging
import uuid
from datetime import timedelta

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from pipelines.store.account_records import Credential, Scope, User
from pipelines.store.account_tables import logins, refresh_tokens, tickets, users
from pipelines.store.accounts import user_of
from pipelines.store.database import Database, transaction
from pipelines.store.stale_rows import delete_stale
from pipelines.store.transaction import now

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
    def open(self, connection: Connection, user_id: str, token_hash: str, days: float) -> str:
        """A new login with its first refresh token; returns its id. `days`: its life, however often it is rotated."""
        login_id, time = str(uuid.uuid4()), now()
        over = (logins.c.user_id == user_id) & (logins.c.expires_at < time)
        connection.execute(delete_stale(logins.c.id, over))
        connection.execute(
            insert(logins).values(id=login_id, user_id=user_id, created_at=time, expires_at=time + timedelta(days=days))
        )
        connection.execute(insert(refresh_tokens).values(hash=token_hash, login_id=login_id))
        return login_id

    @transaction
    def rotate(self, connection: Connection, token_hash: str, next_hash: str) -> tuple[str, User] | None:
        """Spend a refresh token for its successor. Returns the login's id and its user.

        None when the token is unknown, or its login is over, or its user disabled. A token that was spent before ends
        its login: two hold it, and one of them is a thief.
        """
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
        """Its refresh and access tokens are worth nothing from now on. Ending it twice changes nothing."""
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

    @transaction
    def redeem_ticket(
        self, connection: Connection, ticket_hash: str
    ) -> tuple[User, Credential, tuple[Scope, ...]] | None:
        """Whose ticket it is, and it is gone; None when it is unknown, used or too old, or its user disabled."""
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
