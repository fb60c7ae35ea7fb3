"""Logging in: a username and a password, or a refresh token, for a new pair of tokens."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from dataclasses import dataclass

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from pipelines.errors import BadInput
from pipelines.store.account_tables import User
from pipelines.store.accounts import Accounts
from pipelines.store.logins import CredentialStatus, LoginAttempts, Logins
from serving.errors import QueueFull, Unauthenticated
from serving.gateway.auth.tokens import AccessTokens, hashed, new_token

LOGIN_DAYS = 30.0
"""A login ends after so many days, however often it was refreshed."""
MIN_CHARACTERS = 12
MAX_CHARACTERS = 1024
AT_ONCE = 2
WAITING = 32
"""Hashes that wait beyond those at work; more are refused."""


@dataclass(frozen=True)
class Auth:
    """What the gate and the routes of `/api/auth` need."""

    accounts: Accounts
    logins: Logins
    attempts: LoginAttempts
    passwords: Passwords
    tokens: AccessTokens
    credential_status: CredentialStatus
    metrics_public: bool = False
    """Whether `/metrics` answers everybody, for a network in which only the scraper reaches it."""


@dataclass(frozen=True)
class Tokens:
    """What a login and a refresh give."""

    user: User
    access: str
    refresh: str


async def log_in(auth: Auth, username: str, password: str, address: str) -> Tokens:
    """Tokens of a new login.

    Raises Unauthenticated, alike for an unknown user, a disabled one and a wrong password, after the same work (one
    verification); TooManyAttempts, QueueFull.
    """
    name, place = username.lower(), network(address)
    await auth.attempts.begin(name, place)
    known = await auth.accounts.password_of(name)
    right, newer = await auth.passwords.verify(password, None if known is None else known[1])
    if known is None or not right or known[0].disabled:
        raise Unauthenticated("wrong username or password")
    user = known[0]
    await auth.attempts.succeeded(name, place)
    if newer is not None:
        await auth.accounts.rehash_password(user.id, newer)
    refresh = new_token()
    login_id = await auth.logins.open(user.id, hashed(refresh), LOGIN_DAYS)
    return Tokens(user, auth.tokens.issue(user.id, login_id), refresh)


async def refresh(auth: Auth, token: str) -> Tokens:
    """New tokens for a refresh token, which is spent then. Raises Unauthenticated; one spent before ends its login."""
    successor = new_token()
    found = await auth.logins.rotate(hashed(token), hashed(successor))
    if found is None:
        raise Unauthenticated("the refresh token is not valid: log in again")
    login_id, user = found
    return Tokens(user, auth.tokens.issue(user.id, login_id), successor)


def network(address: str) -> str:
    """The network that attempts to log in are counted by: an IPv6 caller can vary its address freely within a /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))


class Passwords:
    """Hashes and verifies passwords (argon2id). One per process: it bounds the work of all callers together."""

    def __init__(self, hasher: Argon2Hasher | None = None) -> None:
        self._hash = PasswordHash((hasher or Argon2Hasher(),))
        self._nobodys = self._hash.hash(secrets.token_hex())
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._asking = 0

    def hash(self, password: str) -> str:
        """The hash of a new password. Raises BadInput when it is too short or too long. Slow: call it in a thread."""
        if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
            raise BadInput(f"a password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters (got {len(password)})")
        return self._hash.hash(password)

    async def verify(self, password: str, known_hash: str | None) -> tuple[bool, str | None]:
        """Whether `password` is the one behind `known_hash`, and a newer hash if that one has older settings.

        Without `known_hash` (no such user) the same work is done, and the password is never right. Raises QueueFull.
        """
        if self._asking >= AT_ONCE + WAITING:
            raise QueueFull("too many logins at once: try again in a moment", 1)
        self._asking += 1
        try:
            async with self._slots:
                right, newer = await asyncio.to_thread(
                    self._hash.verify_and_update, password, known_hash or self._nobodys
                )
        finally:
            self._asking -= 1
        return right and known_hash is not None, newer


def new_password() -> str:
    """A random password of 24 hexadecimal digits: 96 bits."""
    return secrets.token_hex(12)
