"""The first account of a new server: one admin with a random password and one API key, told once and kept nowhere."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from pipelines.store.accounts import Accounts
from serving.gateway.auth.opaque_tokens import new_key
from serving.gateway.auth.passwords import Passwords, new_password

USERNAME = "admin"
KEY_NAME = "first key"


@dataclass(frozen=True)
class Bootstrapped:
    """What must be shown now: afterwards only hashes are left."""

    username: str
    password: str
    api_key: str

    def lines(self) -> tuple[str, ...]:
        """For the terminal of whoever starts the server."""
        return (
            "first start: this password and this API key are shown now and never again",
            f"  username  {self.username}",
            f"  password  {self.password}",
            f"  API key   {self.api_key}",
        )


async def bootstrap(accounts: Accounts, passwords: Passwords) -> Bootstrapped | None:
    """Make the first admin when there is no user at all; None when there is one, or another process was first."""
    if await accounts.users():
        return None
    password = new_password()
    password_hash = await asyncio.to_thread(passwords.hash, password)
    admin = await accounts.add_first_user(USERNAME, password_hash, "admin")
    if admin is None:
        return None
    key = new_key()
    await accounts.add_key(admin.id, key.id, key.secret_hash, KEY_NAME, ("read", "write"))
    return Bootstrapped(admin.username, password, key.text)
