"""The gate before all routes: every request but those to public addresses needs valid credentials.

It is the one place that knows who asks: every route takes the owner's id from here, and every store call takes it. It
looks at the connection before any route is chosen, so that a new route, a mounted application and an address that
does not exist are closed without doing anything. WebSockets are refused before they open, with the same answer.

    Authorization: Bearer <access token | admint_… key>      or, for browsers, ?ticket=… on WebSockets and event streams
"""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from pipelines.errors import PipelineError
from pipelines.store.account_tables import Credential, Role, Scope
from serving.errors import Forbidden, ServingError, Unauthenticated
from serving.gateway.auth.login import Auth
from serving.gateway.auth.open_streams import REFUSED_SOCKET, OpenStreams
from serving.gateway.auth.tokens import KEY_PREFIX, hashed, read_key
from serving.gateway.body_limit import BodyLimit
from serving.gateway.problems import problem_response

PUBLIC = frozenset({"/healthz", "/readyz", "/api/auth/login", "/api/auth/refresh", "/docs", "/openapi.json"})
"""Open to everybody. The API's description holds nothing that the source code does not."""
METRICS = "/metrics"
"""Tells how much everybody uses the server: for admins, unless the operator opens it."""
PUBLIC_BODY_BYTES = 16 * 1024
"""The largest body on a public address: unknown callers make the server hold no more."""
EVENT_STREAM = "text/event-stream"
_CALLER = "admint.caller"


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


def caller(connection: HTTPConnection) -> Caller:
    """The caller of a request or WebSocket. KeyError on a public route, where credentials are not looked at."""
    found: Caller = connection.scope[_CALLER]
    return found


def owner(connection: HTTPConnection) -> str:
    """The id of the caller, whom all rows and artifacts of this request belong to."""
    return caller(connection).user_id


def asking(scope: AsgiScope) -> str:
    """The id of the caller; empty on a public route."""
    return scope[_CALLER].user_id if _CALLER in scope else ""


class Gate:
    """Middleware that admits only known callers, and notes in the scope who it is."""

    def __init__(self, app: ASGIApp, auth: Auth) -> None:
        self._app = app
        self._public_app = BodyLimit(app, json_bytes=PUBLIC_BODY_BYTES, form_bytes=PUBLIC_BODY_BYTES)
        self._auth = auth
        self._streams = OpenStreams(auth.credential_status)
        self._public = PUBLIC | {METRICS} if auth.metrics_public else PUBLIC

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] in self._public):
            await self._public_app(scope, receive, send)
            return
        try:
            known = await self._caller(scope)
            check_scope(known, scope)
        except (ServingError, PipelineError) as error:
            await _refuse(error, scope, receive, send)
            return
        scope[_CALLER] = known
        await self._streams.serve(self._app, known.credential, scope, receive, send)

    async def _caller(self, scope: AsgiScope) -> Caller:
        """The caller by the connection's credentials. Raises Unauthenticated, StorageFailed."""
        connection = HTTPConnection(scope)
        ticket = _take_ticket(scope)
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            token = token.strip()
            return await (self._program(token) if token.startswith(KEY_PREFIX) else self._person(token))
        if ticket is not None and _takes_tickets(connection):
            return await self._ticket_holder(ticket)
        raise Unauthenticated(
            "this address needs `Authorization: Bearer TOKEN`: an access token of POST /api/auth/login, or an API key"
        )

    async def _person(self, token: str) -> Caller:
        claims = self._auth.tokens.read(token)
        user = await self._auth.logins.holder(claims.login_id)
        if user is None or user.id != claims.user_id:
            raise Unauthenticated
        login = Credential(kind="login", id=claims.login_id)
        return Caller(user.id, user.username, user.role, ("read", "write"), login, claims.login_id)

    async def _program(self, text: str) -> Caller:
        key = read_key(text)
        found = None if key is None else await self._auth.accounts.key_holder(*key)
        if found is None:
            raise Unauthenticated
        user, known = found
        return Caller(user.id, user.username, user.role, known.scopes, Credential(kind="key", id=known.id))

    async def _ticket_holder(self, ticket: str) -> Caller:
        found = await self._auth.logins.redeem_ticket(hashed(ticket))
        if found is None:
            raise Unauthenticated
        user, credential, scopes = found
        return Caller(user.id, user.username, user.role, scopes, credential)


def check_scope(caller: Caller, scope: AsgiScope) -> None:
    """Raises Forbidden when the caller's scopes or role do not allow this method and address."""
    needed = "read" if scope.get("method") in ("GET", "HEAD", "OPTIONS") else "write"
    if needed not in caller.scopes:
        raise Forbidden(f"these credentials have no scope {needed!r}: use a key that has")
    if scope["path"] == METRICS and caller.role != "admin":
        raise Forbidden("metrics are for admins: use an admin's key")


def _takes_tickets(connection: HTTPConnection) -> bool:
    if connection.scope["type"] == "websocket":
        return True
    return connection.scope["method"] == "GET" and EVENT_STREAM in connection.headers.get("accept", "")


def _take_ticket(scope: AsgiScope) -> str | None:
    """Take the ticket out of the query: neither a route nor the server's log of addresses shall see one."""
    parts = scope.get("query_string", b"").split(b"&")
    tickets = [part for part in parts if part.startswith(b"ticket=")]
    if not tickets:
        return None
    scope["query_string"] = b"&".join(part for part in parts if part not in tickets)
    return bytes(tickets[0]).removeprefix(b"ticket=").decode("latin-1")


async def _refuse(error: Exception, scope: AsgiScope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": REFUSED_SOCKET})  # the server makes it 403: all it can say
        return
    await problem_response(error)(scope, receive, send)
