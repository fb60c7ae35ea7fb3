"""Logging in: a username and a password for tokens or a browser's cookie; a refresh token for the next pair."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from pipelines.errors import BadInput
from pipelines.store.account_tables import User
from pipelines.store.accounts import Accounts
from pipelines.store.logins import CredentialStatus, LoginAttempts, Logins
from serving.errors import QueueFull, Unauthenticated
from serving.gateway.auth.tokens import SignedTokens, hashed, new_token

LOGIN_DAYS = 30.0
"""A login ends after so many days, however often it was refreshed."""
DAY = 24 * 3600
PAUSE_SECONDS = 0.25
"""A wrong password from an address with many of them keeps that address waiting for so long."""
WAITING_AT_ADDRESS = 8
"""Logins from one address that wait for their turn; more are refused."""
REMEMBERED = 10_000
"""Pairs of name and address that a gateway remembers as right."""
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
    tokens: SignedTokens
    credential_status: CredentialStatus
    metrics_public: bool = False
    """Whether `/metrics` answers everybody, for a network in which only the scraper reaches it."""
    origins: frozenset[str] = frozenset()
    """Pages of these origins may use the API from a browser (`serving.gateway.browsers`)."""
    turns: Turns = field(default_factory=lambda: Turns())


@dataclass(frozen=True)
class Tokens:
    """What a login and a refresh give."""

    user: User
    access: str
    refresh: str


@dataclass(frozen=True)
class Session:
    """A login of a browser: its cookie is all that it has."""

    user: User
    cookie: str


async def log_in(auth: Auth, username: str, password: str, address: str) -> Tokens:
    """Tokens of a new login. Raises what `_proven` does."""
    user, refresh = await _proven(auth, username, password, address), new_token()
    login_id = await auth.logins.open(user.id, hashed(refresh), LOGIN_DAYS)
    return Tokens(user, auth.tokens.issue(user.id, login_id), refresh)


async def log_in_browser(auth: Auth, username: str, password: str, address: str) -> Session:
    """A new login whose cookie stands for it until it ends: tabs share it, and nothing is rotated under them.

    Raises what `_proven` does.
    """
    user = await _proven(auth, username, password, address)
    login_id = await auth.logins.open(user.id, None, LOGIN_DAYS)
    return Session(user, auth.tokens.issue_session(user.id, login_id, LOGIN_DAYS * DAY))


async def _proven(auth: Auth, username: str, password: str, address: str) -> User:
    """The user whose password this is.

    Raises Unauthenticated, alike for an unknown user, a disabled one and a wrong password, after the same work (one
    verification); TooManyAttempts, for this name at this address alone; QueueFull.
    """
    name, place = username.lower(), network(address)
    await auth.attempts.check(name, place)
    async with auth.turns.take(name, place):
        await auth.attempts.check(name, place)  # again: those before this one in the queue may have failed
        known = await auth.accounts.password_of(name)
        right, newer = await auth.passwords.verify(password, None if known is None else known[1])
        if known is None or not right or known[0].disabled:
            if await auth.attempts.failed(name, place):
                await asyncio.sleep(PAUSE_SECONDS)
            raise Unauthenticated("wrong username or password")
        auth.turns.proven(name, place)
    user = known[0]
    await auth.attempts.succeeded(name, place)
    if newer is not None:
        await auth.accounts.rehash_password(user.id, newer)
    return user


class Turns:
    """Lets logins from one address be tried one after the other: no address takes the time of all others.

    Who has logged in from an address before does not stand in its queue.
    """

    def __init__(self) -> None:
        self._queues: dict[tuple[str, ...], _Queue] = {}
        self._proven: OrderedDict[tuple[str, str], None] = OrderedDict()

    @asynccontextmanager
    async def take(self, name: str, place: str) -> AsyncGenerator[None]:
        """The turn of a login. Raises QueueFull when too many wait for theirs at this address."""
        key = (name, place) if (name, place) in self._proven else (place,)
        queue = self._queues.setdefault(key, _Queue())
        if queue.length >= WAITING_AT_ADDRESS:
            raise QueueFull("too many logins at once from this address: try again in a moment", 1)
        queue.length += 1
        try:
            async with queue.turn:
                yield
        finally:
            queue.length -= 1
            if not queue.length:
                del self._queues[key]

    def proven(self, name: str, place: str) -> None:
        """Remember that `name` gave the right password at this address."""
        self._proven[name, place] = None
        self._proven.move_to_end((name, place))
        if len(self._proven) > REMEMBERED:
            self._proven.popitem(last=False)


@dataclass
class _Queue:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    length: int = 0


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
        return str(parsed)
    if parsed.ipv4_mapped is not None:  # a socket for both kinds of addresses shows those of the older kind so
        return str(parsed.ipv4_mapped)
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
