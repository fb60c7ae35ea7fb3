"""Access tokens (JSON Web Tokens that live for minutes and name a user and a login), and the text of API keys.

A signature alone admits nobody: the login that a token names is looked up with every request, so that logging out,
disabling a user or setting a password ends it at once.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
import uuid
from dataclasses import dataclass

import jwt

from serving.errors import Unauthenticated

ALGORITHM = "HS256"
ISSUER = "admint"
LIFE_SECONDS = 15 * 60
REQUIRED = ("sub", "sid", "iss", "iat", "exp", "jti")


@dataclass(frozen=True)
class Claims:
    """Whom an access token is for."""

    user_id: str
    login_id: str


class AccessTokens:
    """Issues and reads access tokens under one signing key."""

    def __init__(self, key: bytes) -> None:
        """`key`: the server's signing key (`serving.server.first_start.signing_key`)."""
        self._key = key

    def issue(self, user_id: str, login_id: str) -> str:
        """A token that is good for LIFE_SECONDS."""
        issued = int(time.time())
        claims = {
            "sub": user_id,
            "sid": login_id,
            "iss": ISSUER,
            "iat": issued,
            "exp": issued + LIFE_SECONDS,
            "jti": str(uuid.uuid4()),
        }
        return jwt.encode(claims, self._key, ALGORITHM)

    def read(self, token: str) -> Claims:
        """The user and the login of a token. Raises Unauthenticated for whatever is not wholly right.

        The algorithm is ours, never the token's.
        """
        try:
            claims = jwt.decode(
                token, self._key, algorithms=[ALGORITHM], issuer=ISSUER, options={"require": list(REQUIRED)}
            )
        except jwt.InvalidTokenError:
            raise Unauthenticated from None
        if not isinstance(claims["sid"], str):
            raise Unauthenticated
        return Claims(claims["sub"], claims["sid"])


_API_KEY = re.compile(r"admint_([0-9a-f]{12})_([0-9a-f]{64})")
KEY_PREFIX = "admint_"


def new_token() -> str:
    """A refresh token or a ticket; fits into a URL as it is."""
    return secrets.token_urlsafe(32)


def hashed(token: str) -> str:
    """sha256 of a secret: all that the store keeps of it."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True)
class NewKey:
    """An API key at the only moment when it is known as a whole."""

    id: str
    secret_hash: str
    text: str


def new_key() -> NewKey:
    """A random key, `admint_<id>_<secret>`: the id may be shown and logged, the secret not."""
    key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    return NewKey(key_id, hashed(secret), f"{KEY_PREFIX}{key_id}_{secret}")


def read_key(text: str) -> tuple[str, str] | None:
    """The id of an API key and the hash of its secret; None for a text that is not formed like one."""
    match = _API_KEY.fullmatch(text)
    return None if match is None else (match[1], hashed(match[2]))
