"""Who asks. The one place that knows: every route takes the owner's id from here, and every store call takes it.

The gate (`auth/gate.py`) puts the caller here before any route runs; a request without one reaches only public routes.
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.types import Scope as AsgiScope

from pipelines.store.account_tables import Credential, Role, Scope

_KEY = "admint.caller"


@dataclass(frozen=True)
class Caller:
    """Somebody whose credentials were checked."""

    user_id: str
    username: str
    role: Role
    scopes: tuple[Scope, ...]
    credential: Credential
    """What a stream of theirs ends with; of a ticket, what it was issued for."""
    login_id: str | None = None
    """The login that the access token is of; None for API keys and tickets."""


def admit(scope: AsgiScope, caller: Caller) -> None:
    """Make `caller` the one who asks in this request or on this WebSocket."""
    scope[_KEY] = caller


def caller(connection: HTTPConnection) -> Caller:
    """Of a request or a WebSocket. KeyError on a public route: nobody was asked there."""
    found: Caller = connection.scope[_KEY]
    return found


def owner(connection: HTTPConnection) -> str:
    """The id of the caller, whom all rows and artifacts of this request belong to."""
    return caller(connection).user_id
