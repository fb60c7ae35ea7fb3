"""What this server signs (JSON Web Tokens): access tokens, the cookie of a browser, and addresses of files.

A signature alone admits nobody: the login that a token names is looked up with every request, so that logging out,
disabling a user or setting a password ends it at once. A signed address names a user and a file, and is good for as
long as the user has the file and is not disabled.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import Any

import jwt

from serving.errors import Expired, Unauthenticated

ALGORITHM = "HS256"
ISSUER = "admint"
LIFE_SECONDS = 15 * 60
LEEWAY_SECONDS = 30
"""Clocks of a cluster's nodes may differ by so much."""
REQUIRED = ("sub", "sid", "iss", "iat", "exp", "jti")
SESSION, FILE = "session", "file"
"""Audiences: none of these tokens passes for another, and an access token has none."""


@dataclass(frozen=True)
class Claims:
    """Whom an access token or a cookie is for."""

    user_id: str
    login_id: str


@dataclass(frozen=True)
class SignedFile:
    """The file that a signed address opens, and whose it is."""

    user_id: str
    sha256: str


class SignedTokens:
    """Issues and reads tokens under one signing key."""

    def __init__(self, key: bytes) -> None:
        """`key`: the server's signing key (`serving.server.first_start.signing_key`)."""
        self._key = key
        self.server = hashlib.sha256(b"admint server " + key).hexdigest()[:8]
        """Tells this server's cookie from that of another one on the same host: cookies do not know ports."""

    def issue(self, user_id: str, login_id: str) -> str:
        """An access token that is good for LIFE_SECONDS."""
        issued = int(time.time())
        return self._signed(sub=user_id, sid=login_id, iat=issued, exp=issued + LIFE_SECONDS, jti=str(uuid.uuid4()))

    def read(self, token: str) -> Claims:
        """The user and the login of an access token.

        Raises Expired for one that is too old, Unauthenticated for whatever else is not wholly right.
        """
        return _claims(self._read(token, REQUIRED, None))

    def issue_session(self, user_id: str, login_id: str, seconds: float) -> str:
        """The value of a browser's cookie, which stands for the login and changes never. `seconds`: the login's life.

        It has no time of issue: a clock that is set back would make all cookies tokens of the future.
        """
        return self._signed(sub=user_id, sid=login_id, exp=int(time.time() + seconds), aud=SESSION)

    def read_session(self, cookie: str) -> Claims:
        """The user and the login of a cookie. Raises Expired, Unauthenticated."""
        return _claims(self._read(cookie, ("sub", "sid", "iss", "exp", "aud"), SESSION))

    def sign_file(self, user_id: str, sha256: str, expires_at: int) -> str:
        """What opens the file of a user to who has no credentials. `expires_at`: Unix seconds."""
        return self._signed(sub=user_id, file=sha256, exp=expires_at, aud=FILE)

    def read_file(self, signature: str) -> SignedFile:
        """The file of a signed address. Raises Expired, Unauthenticated."""
        claims = self._read(signature, ("sub", "file", "iss", "exp", "aud"), FILE)
        return SignedFile(claims["sub"], str(claims["file"]))

    def _signed(self, **claims: Any) -> str:
        return jwt.encode({"iss": ISSUER, **claims}, self._key, ALGORITHM)

    def _read(self, token: str, required: tuple[str, ...], audience: str | None) -> dict[str, Any]:
        """The claims of a token. The algorithm is ours, never the token's."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=audience,
                leeway=LEEWAY_SECONDS,
                options={"require": list(required)},
            )
        except jwt.ExpiredSignatureError:
            raise Expired(*_TOO_OLD[audience]) from None
        except jwt.InvalidTokenError:
            raise Unauthenticated from None
        return claims


_TOO_OLD = {
    None: ("the access token has expired: get a new one with the refresh token", "token_expired"),
    SESSION: ("this login has expired: log in again", "token_expired"),
    FILE: ("this address has expired: ask for a new one", "address_expired"),
}


def _claims(claims: dict[str, Any]) -> Claims:
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
