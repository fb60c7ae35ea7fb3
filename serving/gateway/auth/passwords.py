"""Passwords: argon2id, a few at a time, and the same work whether or not there is such a user.

One hash takes 64 MiB and four threads (pwdlib's defaults, above OWASP's minimum): without a bound, a hundred logins at
once would take 6 GB. Knows no table and no route.
"""

from __future__ import annotations

import asyncio
import secrets

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from pipelines.errors import BadInput
from serving.errors import QueueFull

MIN_CHARACTERS = 12
MAX_CHARACTERS = 1024
AT_ONCE = 2
WAITING = 32
"""Hashes that wait beyond those at work; more are refused."""


class Passwords:
    """Hashes and verifies. One per process: its bound is for all callers together."""

    def __init__(self, hasher: Argon2Hasher | None = None) -> None:
        self._hash = PasswordHash((hasher or Argon2Hasher(),))
        self._nobodys = self._hash.hash(secrets.token_hex())
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._asking = 0

    def hash(self, password: str) -> str:
        """Of a new password. Raises BadInput when it is too short or too long. Takes its time: call it in a thread."""
        if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
            raise BadInput(f"a password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters (got {len(password)})")
        return self._hash.hash(password)

    async def verify(self, password: str, known_hash: str | None) -> tuple[bool, str | None]:
        """Whether it is the password behind `known_hash`, and a newer hash if that one is of older settings.

        None (no such user) does the work of a verification and is never right. Raises QueueFull.
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
    """A random one of 24 hexadecimal digits: 96 bits."""
    return secrets.token_hex(12)
