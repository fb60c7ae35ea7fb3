"""The cookie of a browser: it stands for a login, and pages can neither read it nor have it sent for them.

HttpOnly, SameSite=Strict, on TLS Secure, and only below the address at which this server is reached.
"""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.responses import Response

from serving.gateway.auth.login import DAY, LOGIN_DAYS
from serving.gateway.auth.tokens import SignedTokens

NAME = "admint_session"


def cookie_of(connection: HTTPConnection, tokens: SignedTokens) -> str | None:
    """The value of this server's cookie, if the browser sends one."""
    return connection.cookies.get(_name(tokens))


def set_cookie(response: Response, connection: HTTPConnection, tokens: SignedTokens, value: str) -> None:
    """Let the browser keep `value`, and send it with every request to this server."""
    _set(response, connection, tokens, value, int(LOGIN_DAYS * DAY))


def clear_cookie(response: Response, connection: HTTPConnection, tokens: SignedTokens) -> None:
    """Let the browser forget its cookie."""
    _set(response, connection, tokens, "", 0)


def _set(response: Response, connection: HTTPConnection, tokens: SignedTokens, value: str, seconds: int) -> None:
    response.set_cookie(
        _name(tokens),
        value,
        max_age=seconds,
        path=connection.scope.get("root_path") or "/",
        secure=connection.scope.get("scheme") == "https",
        httponly=True,
        samesite="strict",
    )


def _name(tokens: SignedTokens) -> str:
    """Cookies do not know ports: two servers on one host have cookies of different names."""
    return f"{NAME}_{tokens.server}"
