"""Logging in, and staying so: a user and a password, or a refresh token, for a new pair of tokens. Knows no HTTP."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from pipelines.store.account_records import User
from serving.errors import Unauthenticated
from serving.gateway.auth.auth import Auth
from serving.gateway.auth.opaque_tokens import hashed, new_token

LOGIN_DAYS = 30.0
"""However often it is refreshed, a login then ends."""


@dataclass(frozen=True)
class Tokens:
    user: User
    access: str
    refresh: str


async def log_in(auth: Auth, username: str, password: str, address: str) -> Tokens:
    """Raises Unauthenticated, alike for an unknown user, a disabled one and a wrong password; TooManyAttempts;
    QueueFull. The same work is done for all three: one verification, no more and no less.
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
        await auth.accounts.strengthen(user.id, newer)
    refresh = new_token()
    login_id = await auth.logins.open(user.id, hashed(refresh), LOGIN_DAYS)
    return Tokens(user, auth.tokens.issue(user.id, login_id), refresh)


async def refresh(auth: Auth, token: str) -> Tokens:
    """The refresh token is spent. Raises Unauthenticated; a token that was spent before ends the login besides."""
    successor = new_token()
    found = await auth.logins.rotate(hashed(token), hashed(successor))
    if found is None:
        raise Unauthenticated("the refresh token is not valid: log in again")
    login_id, user = found
    return Tokens(user, auth.tokens.issue(user.id, login_id), successor)


def network(address: str) -> str:
    """What one caller can vary freely counts as one: an IPv6 address is its /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))
