"""The file with what `admint login` was given: per server a pair of tokens or an API key, for its owner's eyes only.

One file of mode 600 under `$XDG_CONFIG_HOME/admint`; one that others can read is refused, never quietly repaired.
Writes are whole or not at all, and a lock file keeps two commands from spending one refresh token twice. Knows no HTTP.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field, ValidationError

from models.interfaces import Plain
from pipelines.store.artifacts import storage_failure
from serving.errors import UnsafeCredentials


class Login(Plain):
    """What one server knows its user by: either both tokens, or a key."""

    username: str | None = None
    access_token: str | None = Field(default=None, repr=False)
    refresh_token: str | None = Field(default=None, repr=False)
    """Good once; its successor is written before anything else is done."""
    api_key: str | None = Field(default=None, repr=False)


class Logins(Plain):
    """The content of the file."""

    latest: str | None = None
    """The server of the last login: what commands use that are told no server."""
    servers: dict[str, Login] = Field(default_factory=dict)


def credentials_file() -> Path:
    """`$XDG_CONFIG_HOME/admint/credentials.json`; `~/.config` without the variable."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "admint" / "credentials.json"


class Credentials:
    """The file. Every method reads it anew: another command may have written it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Logins:
        """Empty without a file. Raises UnsafeCredentials, StorageFailed."""
        if not self.path.exists():
            return Logins()
        try:
            return Logins.model_validate_json(read_private(self.path))
        except ValidationError:  # its message would quote the tokens
            raise UnsafeCredentials(
                f"{str(self.path)!r} is damaged: delete it, then log in again with admint login"
            ) from None

    def keep(self, server: str, login: Login) -> None:
        """Under the lock. Raises UnsafeCredentials, StorageFailed."""
        known = self.read()
        self._write(Logins(latest=known.latest, servers={**known.servers, server: login}))

    def begin(self, server: str, login: Login) -> None:
        """Keep a new login, and make its server the one that commands use without being told. As `keep`."""
        with self.locked():
            self._write(Logins(latest=server, servers={**self.read().servers, server: login}))

    def forget(self, server: str) -> None:
        """As `keep`, also when nothing is known of `server`."""
        known = self.read()
        rest = {name: login for name, login in known.servers.items() if name != server}
        self._write(Logins(latest=None if known.latest == server else known.latest, servers=rest))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """No other command changes the file meanwhile. Blocks."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise storage_failure(self.path, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, logins: Logins) -> None:
        text = logins.model_dump_json(indent=2, exclude_none=True)
        try:
            descriptor, aside = tempfile.mkstemp(dir=self.path.parent, prefix=".credentials-")  # of mode 600
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(text + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(aside, self.path)
            except BaseException:
                Path(aside).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise storage_failure(self.path, error) from error


def read_private(path: Path) -> str:
    """The text of a file with a secret. Raises UnsafeCredentials when others may read it, StorageFailed."""
    try:
        with path.open() as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise UnsafeCredentials(
                    f"{str(path)!r} can be read by others (mode {mode:o}): run chmod 600 on it, and if others use this "
                    "machine, log in anew with admint login"
                )
            return file.read()
    except OSError as error:
        raise UnsafeCredentials(f"cannot read {str(path)!r}: {error.strerror}") from None
