"""Random tokens that mean nothing by themselves: refresh tokens, tickets and API keys. The store has their hashes.

They hold 256 random bits, so that a plain sha256 protects them: there is no dictionary to try.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass

_API_KEY = re.compile(r"admint_([0-9a-f]{12})_([0-9a-f]{64})")
KEY_PREFIX = "admint_"


def new_token() -> str:
    """A refresh token or a ticket; fits into a URL as it is."""
    return secrets.token_urlsafe(32)


def hashed(token: str) -> str:
    """What the store keeps of it."""
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True)
class NewKey:
    """An API key at the only moment when it is known as a whole."""

    id: str
    secret_hash: str
    text: str


def new_key() -> NewKey:
    """`admint_<id>_<secret>`: the id may be shown and logged, the secret not."""
    key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
    return NewKey(key_id, hashed(secret), f"{KEY_PREFIX}{key_id}_{secret}")


def read_key(text: str) -> tuple[str, str] | None:
    """The id of an API key and the hash of its secret; None for what has not the form of one."""
    match = _API_KEY.fullmatch(text)
    return None if match is None else (match[1], hashed(match[2]))
