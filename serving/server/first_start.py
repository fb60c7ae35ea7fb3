"""The first start of a server: its first admin, and the key that signs access tokens.

The key comes from the environment; without one a server whose store is on this machine makes a random key, in a file
that only its owner can read. Whoever knows the key can act as any user, so a weak key stops the start.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from configs.settings import Settings, server_secret, shared_database
from pipelines.store.accounts import Accounts
from pipelines.store.artifacts import storage_failure
from serving.errors import UnsafeSecret
from serving.gateway.auth.login import Passwords, new_password
from serving.gateway.auth.tokens import new_key

USERNAME = "admin"
KEY_NAME = "first key"
FIRST_FILE = "first-admin"
"""In `server` under ADMINT_HOME."""
MIN_BYTES = 32
MIN_DISTINCT = 8
"""Characters: 32 random hexadecimal digits have fewer than this once in ten million times."""
PLACEHOLDERS = (
    "changeme", "change-me", "change_me", "change this", "change-this", "change_this", "secret", "password", "qwerty",
    "placeholder", "example", "default", "insecure", "your-", "your_", "admint", "development", "lorem",
)  # fmt: skip
REMEDY = "set ADMINT_SECRET to a random one, as `openssl rand -hex 32` prints it"


async def create_first_admin(accounts: Accounts, passwords: Passwords) -> FirstAdmin | None:
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
    return FirstAdmin(admin.username, password, key.text)


@dataclass(frozen=True)
class FirstAdmin:
    """Credentials of the first admin, to be shown now: the store keeps only hashes."""

    username: str
    password: str
    api_key: str

    def lines(self) -> tuple[str, ...]:
        """The lines to print on a terminal."""
        return ("first start: this password and this API key are shown now and never again", *self._credentials())

    def kept(self) -> str:
        """The line for a log, which others read and which is kept: the credentials go into a file of their owner's.

        Raises StorageFailed.
        """
        path = Settings().home.expanduser() / "server" / FIRST_FILE
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            _write_secret(path, "\n".join(self._credentials()) + "\n")
        except OSError as error:
            raise storage_failure(path, error) from error
        return f"first start: password and API key of {self.username!r} are in {path}: read it, then delete it"

    def _credentials(self) -> tuple[str, ...]:
        return (
            f"  username  {self.username}",
            f"  password  {self.password}",
            f"  API key   {self.api_key}",
        )


def signing_key() -> bytes:
    """The signing key of this server, as its environment says. Raises UnsafeSecret, StorageFailed.

    Without ADMINT_SECRET it is the file `server/secret` under ADMINT_HOME, created at first use; but only where the
    store is there too (no ADMINT_DATABASE), because processes elsewhere would each make another.
    """
    secret = server_secret()
    if secret is not None:
        return check(secret, "ADMINT_SECRET")
    if shared_database() is not None:
        raise UnsafeSecret(f"ADMINT_SECRET is missing, and ADMINT_DATABASE is shared by several processes: {REMEDY}")
    return _key_in_file(Settings().home.expanduser() / "server" / "secret")


def check(secret: str, source: str) -> bytes:
    """`secret` as a key. Raises UnsafeSecret, naming `source` and never the secret."""
    key = secret.encode()
    if len(key) < MIN_BYTES:
        raise UnsafeSecret(f"{source} has {len(key)} bytes, and needs at least {MIN_BYTES}: {REMEDY}")
    if any(word in secret.lower() for word in PLACEHOLDERS) or len(set(secret)) < MIN_DISTINCT or _repeats(secret):
        raise UnsafeSecret(f"{source} is a placeholder or follows a pattern: {REMEDY}")
    return key


def _repeats(text: str) -> bool:
    """Whether `text` is one piece over and over, the last one perhaps cut."""
    return any(text == (text[:size] * len(text))[: len(text)] for size in range(1, len(text) // 2 + 1))


def _key_in_file(path: Path) -> bytes:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        with path.open() as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read().strip()
    except OSError as error:
        raise storage_failure(path, error) from error
    if mode & 0o077:
        raise UnsafeSecret(f"{str(path)!r} can be read by others (mode {mode:o}): delete it, and a new one is made")
    return check(content, str(path))


def _create(path: Path) -> None:
    """Write a file aside and link it: two processes that start together end with one whole file. Raises OSError."""
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        _write_secret(aside, secrets.token_hex(32) + "\n")
        with suppress(FileExistsError):
            os.link(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _write_secret(path: Path, content: str) -> None:
    """Write a new file that only its owner can read. Raises OSError, also when there is one."""
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
