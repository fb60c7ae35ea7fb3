"""What a server gives for a username and a password, for a refresh token, and what it says to a key. Keeps nothing."""

from __future__ import annotations

from typing import Any

import httpx

from serving.client.credentials import Login
from serving.client.refusals import refusal
from serving.errors import Unauthenticated, Unreachable

TIMEOUT_SECONDS = 30.0


def log_in(server: str, username: str, password: str) -> Login:
    """Raises Unauthenticated, Unreachable, ServingError (too many attempts)."""
    answer = _ask("POST", f"{server}/api/auth/login", json={"username": username, "password": password})
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise Unauthenticated(f"{server}: wrong username or password")
    return _tokens(server, answer)


def refreshed(server: str, login: Login) -> Login | None:
    """The next pair of tokens; None when the login is over. The old refresh token is spent. Raises as `log_in`."""
    answer = _ask("POST", f"{server}/api/auth/refresh", json={"refresh_token": login.refresh_token})
    return None if answer.status_code == httpx.codes.UNAUTHORIZED else _tokens(server, answer)


def with_key(server: str, key: str) -> Login:
    """Raises as `log_in` when the server does not know the key."""
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
