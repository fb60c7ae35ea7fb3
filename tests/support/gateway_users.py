"""Users of a gateway under test: real accounts behind a cheap hash, and clients that carry what they were given."""

from __future__ import annotations

from contextlib import contextmanager

import httpx
from pwdlib.hashers.argon2 import Argon2Hasher

from pipelines.store.account_tables import Role, Scope
from pipelines.store.accounts import Accounts
from pipelines.store.database import Database
from pipelines.store.logins import AttemptLimits, CredentialStatus, LoginAttempts, Logins
from serving.gateway.auth.login import Auth, Passwords
from serving.gateway.auth.tokens import SignedTokens, new_key

PASSWORD = "a long enough one"  # noqa: S105
SIGNING_KEY = b"0123456789abcdefghijklmnopqrstuv"
MANY = AttemptLimits(username_at_address=1000, address=1000)


def cheap_passwords() -> Passwords:
    """argon2id with the least work there is: tests log in often."""
    return Passwords(Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1))


def auth_on(database: Database, limits: AttemptLimits = MANY, origins: frozenset[str] = frozenset()) -> Auth:
    return Auth(
        accounts=Accounts(database),
        logins=Logins(database),
        attempts=LoginAttempts(database, limits),
        passwords=cheap_passwords(),
        tokens=SignedTokens(SIGNING_KEY),
        credential_status=CredentialStatus(database),
        origins=origins,
    )


async def new_user(
    auth: Auth, username: str, role: Role = "user", scopes: tuple[Scope, ...] = ("read", "write")
) -> str:
    """Adds a user with PASSWORD; returns an API key of theirs."""
    user = await auth.accounts.add_user(username, auth.passwords.hash(PASSWORD), role)
    return await _key(auth, user.id, scopes)


async def admin_key(auth: Auth) -> str:
    """A new API key of the user `admin`, who is added when there is none, as at the first start of a server."""
    known = await auth.accounts.password_of("admin")
    if known is None:
        return await new_user(auth, "admin", "admin")
    return await _key(auth, known[0].id, ("read", "write"))


async def _key(auth: Auth, user_id: str, scopes: tuple[Scope, ...]) -> str:
    key = new_key()
    await auth.accounts.add_key(user_id, key.id, key.secret_hash, "test", scopes)
    return key.text


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def log_in(server, username, password=PASSWORD):
    body = {"username": username, "password": password}
    return httpx.post(f"{server.url}/api/auth/login", json=body, timeout=60)


@contextmanager
def logged_in(server, username):
    """An HTTP client of a user, with a fresh access token; the user is added when there is none of that name."""
    if username not in {user.username for user in server.call(server.services.auth.accounts.users())}:
        server.call(new_user(server.services.auth, username))
    token = log_in(server, username).json()["access_token"]
    with httpx.Client(base_url=server.url, headers=bearer(token), timeout=60) as client:
        yield client
