"""Which token goes with a request: a key of the environment or of a file, else what `admint login` left.

An access token that is no longer good is traded for its successor once, by whichever command holds the lock; the others
find the new one in the file. A token is sent to the server that it is kept for, and never shown.
"""

from __future__ import annotations

from typing import Protocol

from configs.settings import Settings
from serving.client.credentials import Credentials, Login, credentials_file, read_private
from serving.client.login import refreshed
from serving.client.refusals import how_to_log_in
from serving.errors import Unauthenticated


class Access(Protocol):
    """Hands out tokens for one server. Blocks: call it in a thread."""

    def token(self) -> str:
        """The one to try."""
        ...

    def renewed(self, refused: str) -> str | None:
        """A newer one than `refused`; None: there is none, log in again. Raises Unreachable, StorageFailed."""
        ...


class Key:
    """An API key. It is good until it is revoked."""

    def __init__(self, text: str) -> None:
        self._text = text

    def token(self) -> str:
        return self._text

    def renewed(self, refused: str) -> str | None:
        return None


class Session:
    """The tokens of a login."""

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
            raise Unauthenticated(f"nobody is logged in: {how_to_log_in(self._server)}")
        return login


def access_to(server: str) -> Access:
    """`ADMINT_API_KEY`, else the file that `ADMINT_API_KEY_FILE` names, else the login. Raises Unauthenticated when
    there is none of them, UnsafeCredentials.
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
    return Key(login.api_key) if login.api_key is not None else Session(server, credentials)
