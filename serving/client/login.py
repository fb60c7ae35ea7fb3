"""Credentials for servers: logging in, renewing tokens, and the file of this machine that keeps them."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import httpx
from pydantic import Field, ValidationError

from configs.settings import Settings
from models.interfaces import Plain
from pipelines.store.artifacts import storage_failure
from serving.client.errors import how_to_log_in, refusal
from serving.errors import Unauthenticated, Unreachable, UnsafeCredentials

TIMEOUT_SECONDS = 30.0


def access_to(server: str) -> Access:
    """The credentials for `server`: `ADMINT_API_KEY`, else the file that `ADMINT_API_KEY_FILE` names, else the login.

    Raises Unauthenticated when there is none of them, UnsafeCredentials.
    """
    settings = Settings()
    if settings.api_key is not None:
        return Key(settings.api_key.get_secret_value().strip())
    if settings.api_key_file is not None:
        return Key(read_private(settings.api_key_file.expanduser()).strip())
    credentials = Credentials(credentials_file())
    login = credentials.read().servers.get(server)
    if login is None:
        raise Unauthenticated(f"no login and no key for {server}: {how_to_log_in(server)}, or set ADMINT_API_KEY")
    return Key(login.api_key) if login.api_key is not None else LoginTokens(server, credentials)


class Access(Protocol):
    """Gives out the tokens for one server. Its methods block: call them in a thread."""

    def token(self) -> str:
        """The token to try."""
        ...

    def renewed(self, refused: str) -> str | None:
        """A newer one than `refused`; None: there is none, log in again. Raises Unreachable, StorageFailed."""
        ...


class Key:
    """An API key, valid until it is revoked."""

    def __init__(self, text: str) -> None:
        self._text = text

    def token(self) -> str:
        return self._text

    def renewed(self, refused: str) -> str | None:
        return None


class LoginTokens:
    """The tokens of a login, renewed when the server refuses the access token."""

    def __init__(self, server: str, credentials: Credentials) -> None:
        self._server = server
        self._credentials = credentials

    def token(self) -> str:
        return self._login().access_token or ""

    def renewed(self, refused: str) -> str | None:
        with self._credentials.locked():
            login = self._login()
            if login.access_token != refused:
                return login.access_token
            newer = refreshed(self._server, login)
            if newer is None:
                self._credentials.forget(self._server)
                return None
            self._credentials.keep(self._server, newer)
            return newer.access_token

    def _login(self) -> Login:
        login = self._credentials.read().servers.get(self._server)
        if login is None:
            raise Unauthenticated(f"no login for {self._server}: {how_to_log_in(self._server)}")
        return login


class PasswordLogin:
    """The tokens of a login that only this process knows, made by username and password when they are first needed."""

    def __init__(self, server: str, username: str, password: str) -> None:
        self._server = server
        self._username = username
        self._password = password
        self._lock = threading.Lock()
        self._login: Login | None = None

    @property
    def logged_in(self) -> bool:
        return self._login is not None

    def token(self) -> str:
        with self._lock:
            if self._login is None:
                self._login = password_login(self._server, self._username, self._password)
            return self._login.access_token or ""

    def renewed(self, refused: str) -> str | None:
        with self._lock:
            if self._login is None or self._login.access_token == refused:
                newer = None if self._login is None else refreshed(self._server, self._login)
                self._login = newer or password_login(self._server, self._username, self._password)
            return self._login.access_token


def password_login(server: str, username: str, password: str) -> Login:
    """A new login by username and password. Raises Unauthenticated, Unreachable, ServingError (too many attempts)."""
    answer = _ask("POST", f"{server}/api/auth/login", json={"username": username, "password": password})
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise Unauthenticated(f"{server}: wrong username or password")
    return _tokens(server, answer)


def refreshed(server: str, login: Login) -> Login | None:
    """The next pair of tokens, for a refresh token that is spent then; None when the login is over.

    Raises as `password_login`.
    """
    answer = _ask("POST", f"{server}/api/auth/refresh", json={"refresh_token": login.refresh_token})
    return None if answer.status_code == httpx.codes.UNAUTHORIZED else _tokens(server, answer)


def key_login(server: str, key: str) -> Login:
    """Credentials of an API key that `server` accepts. Raises as `password_login`."""
    answer = _ask("GET", f"{server}/v1/models", headers={"Authorization": f"Bearer {key}"})
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise Unauthenticated(f"{server} does not know this API key: copy it whole, or make one with admint users key")
    if answer.is_error:
        raise refusal(server, answer)
    return Login(api_key=key)


def _tokens(server: str, answer: httpx.Response) -> Login:
    if answer.is_error:
        raise refusal(server, answer)
    found = answer.json()
    return Login(
        username=found["user"]["username"], access_token=found["access_token"], refresh_token=found["refresh_token"]
    )


def _ask(method: str, url: str, **content: Any) -> httpx.Response:
    try:
        return httpx.request(method, url, timeout=TIMEOUT_SECONDS, **content)
    except httpx.TransportError as error:
        raise Unreachable(f"no connection to {url.partition('/api')[0]}: {error or type(error).__name__}") from error


class Login(Plain):
    """The credentials for one server: both tokens of a login, or an API key."""

    username: str | None = None
    access_token: str | None = Field(default=None, repr=False)
    refresh_token: str | None = Field(default=None, repr=False)
    """Valid once; its successor is written before anything else is done."""
    api_key: str | None = Field(default=None, repr=False)


class SavedLogins(Plain):
    """The content of the credentials file."""

    latest: str | None = None
    """The server of the last login: what commands without `--server` use."""
    servers: dict[str, Login] = Field(default_factory=dict)


class Credentials:
    """The credentials file. Every method reads it again: another command may have written it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> SavedLogins:
        """All logins of this machine; none without a file. Raises UnsafeCredentials, StorageFailed."""
        if not self.path.exists():
            return SavedLogins()
        try:
            return SavedLogins.model_validate_json(read_private(self.path))
        except ValidationError:  # its message would quote the tokens
            raise UnsafeCredentials(
                f"{str(self.path)!r} is damaged: delete it, then log in again with admint login"
            ) from None

    def keep(self, server: str, login: Login) -> None:
        """Replace the login for `server`; call it under the lock. Raises UnsafeCredentials, StorageFailed."""
        known = self.read()
        self._write(SavedLogins(latest=known.latest, servers={**known.servers, server: login}))

    def begin(self, server: str, login: Login) -> None:
        """Keep a new login, and make its server the one that commands without `--server` use. Raises as `keep`."""
        with self.locked():
            self._write(SavedLogins(latest=server, servers={**self.read().servers, server: login}))

    def forget(self, server: str) -> None:
        """Remove the login for `server`, if there is one; call it under the lock. Raises as `keep`."""
        known = self.read()
        rest = {name: login for name, login in known.servers.items() if name != server}
        self._write(SavedLogins(latest=None if known.latest == server else known.latest, servers=rest))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the file against other commands. Blocks until it is free."""
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

    def _write(self, logins: SavedLogins) -> None:
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


def credentials_file() -> Path:
    """The path `$XDG_CONFIG_HOME/admint/credentials.json`; under `~/.config` without the variable."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "admint" / "credentials.json"


def read_private(path: Path) -> str:
    """The text of a file with a secret. Raises UnsafeCredentials when others may read it, StorageFailed."""
    try:
        with path.open() as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise UnsafeCredentials(
                    f"{str(path)!r} can be read by others (mode {mode:o}): run chmod 600 on it, and if others use this "
                    "machine, log in again with admint login"
                )
            return file.read()
    except OSError as error:
        raise UnsafeCredentials(f"cannot read {str(path)!r}: {error.strerror}") from None
