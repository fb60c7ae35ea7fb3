"""The gate before all routes: every request but those to public addresses needs valid credentials.

It is the one place that knows who asks: every route takes the owner's id from here, and every store call takes it. It
looks at the connection before any route is chosen, so that a new route, a mounted application and an address that
does not exist are closed without doing anything. WebSockets are refused before they open, with the same answer.

    Authorization: Bearer <access token | admint_… key>      a program, or a page that keeps its token
    Cookie: admint_session_…                                 a browser that logged in with `session: "cookie"`
    ?ticket=…                                                 one WebSocket or event stream of a browser without cookie
    ?signature=…                                              one file, to whoever has the address
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from pipelines.errors import PipelineError
from pipelines.store.account_tables import Credential, Role, Scope
from serving.errors import Forbidden, ServingError, Unauthenticated
from serving.gateway.auth.cookies import cookie_of
from serving.gateway.auth.login import Auth
from serving.gateway.auth.open_streams import REFUSED_SOCKET, OpenStreams
from serving.gateway.auth.tokens import KEY_PREFIX, Claims, hashed, read_key
from serving.gateway.body_limit import BodyLimit
from serving.gateway.browsers import check_page
from serving.gateway.pages import PAGES
from serving.gateway.problems import problem_response

HEALTH = ("/healthz", "/health", "/api/health")
"""One answer under the names that load balancers and old clients ask for."""
PUBLIC = frozenset({*HEALTH, "/readyz", "/api/auth/login", "/api/auth/refresh", "/openapi.json", *PAGES})
"""Open to everybody. The API's description and its pages hold nothing that the source code does not."""
METRICS = "/metrics"
"""Tells how much everybody uses the server: for admins, unless the operator opens it."""
PUBLIC_BODY_BYTES = 16 * 1024
"""The largest body on a public address: unknown callers make the server hold no more."""
EVENT_STREAM = "text/event-stream"
FILE_ADDRESS = re.compile(r"/v1/artifacts/([0-9a-f]{64})")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_CALLER = "admint.caller"


@dataclass(frozen=True)
class Caller:
    """Somebody whose credentials were checked."""

    user_id: str
    username: str
    role: Role
    scopes: tuple[Scope, ...]
    credential: Credential | None
    """What a stream of theirs ends with; of a ticket, what it was issued for. None for a signed address: it opens one
    file and no stream."""
    login_id: str | None = None
    """The login that the access token or the cookie is of; None for API keys, tickets and signed addresses."""


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
        if known.credential is None:
            await self._app(scope, receive, send)
        else:
            await self._streams.serve(self._app, known.credential, scope, receive, send)

    async def _caller(self, scope: AsgiScope) -> Caller:
        """The caller by the connection's credentials. Raises Unauthenticated, StorageFailed."""
        connection = HTTPConnection(scope)
        ticket, signature = _take(scope, b"ticket="), _take(scope, b"signature=")
        if signature is not None and (file := FILE_ADDRESS.fullmatch(scope["path"])):
            return await self._file_holder(signature, file[1])
        scheme, _, token = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            token = token.strip()
            if token.startswith(KEY_PREFIX):
                return await self._program(token)
            return await self._person(self._auth.tokens.read(token))
        if ticket is not None and _takes_tickets(connection):
            return await self._ticket_holder(ticket)
        if cookie := cookie_of(connection, self._auth.tokens):
            known = await self._person(self._auth.tokens.read_session(cookie))
            if scope.get("method") not in SAFE_METHODS:  # a WebSocket has none
                check_page(connection, self._auth.origins)
            return known
        raise Unauthenticated(
            "this address needs `Authorization: Bearer TOKEN`, an access token of POST /api/auth/login or an API key, "
            "or the cookie of a login"
        )

    async def _person(self, claims: Claims) -> Caller:
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

    async def _file_holder(self, signature: str, sha256: str) -> Caller:
        """Who gave somebody the address of a file. What the file is to them is looked up by its route."""
        signed = self._auth.tokens.read_file(signature)
        user = await self._auth.accounts.active(signed.user_id)
        if user is None or signed.sha256 != sha256:
            raise Unauthenticated("this address is not valid: ask for a new one")
        return Caller(user.id, user.username, user.role, ("read",), None)

    async def _ticket_holder(self, ticket: str) -> Caller:
        found = await self._auth.logins.redeem_ticket(hashed(ticket))
        if found is None:
            raise Unauthenticated
        user, credential, scopes = found
        return Caller(user.id, user.username, user.role, scopes, credential)


def check_scope(caller: Caller, scope: AsgiScope) -> None:
    """Raises Forbidden when the caller's scopes or role do not allow this method and address."""
    needed = "read" if scope.get("method") in SAFE_METHODS else "write"
    if needed not in caller.scopes:
        raise Forbidden(f"these credentials have no scope {needed!r}: use a key that has")
    if scope["path"] == METRICS and caller.role != "admin":
        raise Forbidden("metrics are for admins: use an admin's key")


def _takes_tickets(connection: HTTPConnection) -> bool:
    if connection.scope["type"] == "websocket":
        return True
    return connection.scope["method"] == "GET" and EVENT_STREAM in connection.headers.get("accept", "")


def _take(scope: AsgiScope, name: bytes) -> str | None:
    """Take a secret out of the query: neither a route nor the server's log of addresses shall see one."""
    parts = scope.get("query_string", b"").split(b"&")
    found = [part for part in parts if part.startswith(name)]
    if not found:
        return None
    scope["query_string"] = b"&".join(part for part in parts if part not in found)
    return bytes(found[0]).removeprefix(name).decode("latin-1")


async def _refuse(error: Exception, scope: AsgiScope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": REFUSED_SOCKET})  # the server makes it 403: all it can say
        return
    await problem_response(error)(scope, receive, send)
