"""Access tokens: JSON Web Tokens that live for minutes and name a user and a login. Knows no table.

A signature alone admits nobody: the login that a token names is looked up with every request, so that logging out,
disabling a user or setting a password ends it at once.
"""

from __future__ import annotations

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
    user_id: str
    login_id: str


class AccessTokens:
    """Issues and reads tokens under one key."""

    def __init__(self, key: bytes) -> None:
        """`key`: what `serving.signing_key` returned."""
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
        """Raises Unauthenticated for whatever is not wholly right; the algorithm is ours, never the token's."""
        try:
            claims = jwt.decode(
                token, self._key, algorithms=[ALGORITHM], issuer=ISSUER, options={"require": list(REQUIRED)}
            )
        except jwt.InvalidTokenError:
            raise Unauthenticated from None
        if not isinstance(claims["sid"], str):
            raise Unauthenticated
        return Claims(claims["sub"], claims["sid"])
