"""How often somebody may guess: failed logins of the last minutes, counted in the database, so that all processes of a
server and all its restarts share one count. Knows no password and no user.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from pydantic import Field
from sqlalchemy import ColumnElement, Connection, insert, select

from models.interfaces import Plain
from pipelines.errors import TooManyAttempts
from pipelines.store.account_tables import login_attempts
from pipelines.store.database import Database, transaction
from pipelines.store.stale_rows import delete_stale
from pipelines.store.transaction import now

Bounds = tuple[tuple[ColumnElement[bool], int], ...]
"""Which attempts, and how many of them may be."""


class AttemptLimits(Plain):
    """Failed logins within `window_seconds`."""

    window_seconds: float = Field(default=900.0, gt=0)
    username_at_address: int = Field(default=5, ge=1)
    """For one name from one address."""
    address: int = Field(default=20, ge=1)
    """From one address, whatever the names."""
    username: int = Field(default=100, ge=1)
    """For one name from everywhere. High, so that a stranger cannot lock a user out with a handful of requests."""


class LoginAttempts:
    """Rows of attempts; one that turns out right is taken back."""

    def __init__(self, database: Database, limits: AttemptLimits | None = None) -> None:
        self._database = database
        self._limits = limits or AttemptLimits()

    async def begin(self, username: str, address: str) -> None:
        """Count an attempt as failed, before the password is looked at. Raises TooManyAttempts.

        It is written first and counted then: of many at once no more than the limit pass, on any database.
        """
        name, time = _hash(username), now()
        start = time - timedelta(seconds=self._limits.window_seconds)
        inserted = await self._insert(name, address, time, start)
        if wait := await self._wait(self._bounds(name, address), time):
            await self._forget(login_attempts.c.id == inserted)
            raise TooManyAttempts(wait)

    async def succeeded(self, username: str, address: str) -> None:
        """Forget what was counted for this name at this address."""
        await self._forget(_at_address(_hash(username), address))

    async def forget(self, username: str) -> None:
        """Forget what was counted for this name everywhere, as when its password is set anew."""
        await self._forget(login_attempts.c.username_hash == _hash(username))

    @transaction
    def _insert(self, connection: Connection, name: str, address: str, time: datetime, start: datetime) -> int:
        """The id of the new row; those from before `start` go."""
        connection.execute(delete_stale(login_attempts.c.id, login_attempts.c.created_at < start))
        new = insert(login_attempts).values(username_hash=name, address=address, created_at=time)
        return int(connection.execute(new.returning(login_attempts.c.id)).scalar_one())

    @transaction
    def _forget(self, connection: Connection, where: ColumnElement[bool]) -> None:
        connection.execute(delete_stale(login_attempts.c.id, where))

    def _bounds(self, name: str, address: str) -> Bounds:
        return (
            (_at_address(name, address), self._limits.username_at_address),
            (login_attempts.c.address == address, self._limits.address),
            (login_attempts.c.username_hash == name, self._limits.username),
        )

    async def _wait(self, bounds: Bounds, time: datetime) -> int:
        """Seconds until fewer attempts than each limit are left in the window; 0 when this one may go on."""
        newest = select(login_attempts.c.created_at).order_by(login_attempts.c.created_at.desc())
        found = await self._database.fetch_each(*(newest.where(where).limit(limit + 1) for where, limit in bounds))
        # The oldest of the `limit` attempts before this one: when it leaves the window, there is room again.
        oldest = [rows[limit].created_at for rows, (_, limit) in zip(found, bounds, strict=True) if len(rows) > limit]
        if not oldest:
            return 0
        free = max(oldest) + timedelta(seconds=self._limits.window_seconds)
        return max(1, int((free - time).total_seconds()) + 1)


def _at_address(name: str, address: str) -> ColumnElement[bool]:
    return (login_attempts.c.username_hash == name) & (login_attempts.c.address == address)


def _hash(username: str) -> str:
    """People type passwords into the field for names: what stands here must not show them."""
    return hashlib.sha256(username.encode()).hexdigest()
