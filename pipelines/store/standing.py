"""Whether credentials still hold: what was good when a stream opened may have ended since. Reads only."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select

from pipelines.store.account_records import Credential
from pipelines.store.account_tables import api_keys, logins, users
from pipelines.store.database import Database
from pipelines.store.transaction import now


class Standing:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def ended(self, credentials: Collection[Credential]) -> frozenset[Credential]:
        """Those of them that are worth nothing any more: logged out, revoked, run out, or of a disabled user."""
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
