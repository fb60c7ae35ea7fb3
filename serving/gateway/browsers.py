"""What the pages of a browser may do here: which origins may ask, and what every answer tells a browser to refuse.

A page of this server's own origin may do everything. One of another origin may when the operator names the origin
(ADMINT_CORS_ORIGINS). No page may show this server in a frame.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import Forbidden
from serving.gateway.problems import Problem, problem_response

METHODS = ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE")
ASKED_HEADERS = ("Authorization", "Idempotency-Key", "If-None-Match", "If-Range", "Last-Event-ID", "Prefer", "Range",
                 "X-Request-ID")  # fmt: skip
"""Beside these a page may send whatever begins with `X-Stainless-`: OpenAI's client for browsers does."""
TOLD_HEADERS = ("Accept-Ranges", "Content-Disposition", "Content-Range", "ETag", "Idempotency-Replayed", "Location",
                "Preference-Applied", "Retry-After", "WWW-Authenticate", "X-Request-ID", "X-Should-Retry")  # fmt: skip
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Of an answer that is no page: whatever a browser takes it for, it runs nothing and loads nothing."""
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",  # a signed address is told to nobody
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
}
"""Of every answer, where the route does not say otherwise."""


def check_page(connection: HTTPConnection, origins: Collection[str]) -> None:
    """Raises Forbidden unless a request that came with a cookie came from a page that may send it.

    Browsers add the cookie by themselves. `Sec-Fetch-Site`, which pages cannot set, says where the request comes from;
    browsers leave it out on plain HTTP to another machine, where `Origin` has to tell.
    """
    origin, site = connection.headers.get("origin"), connection.headers.get("sec-fetch-site")
    if origin in origins:
        return
    if site == "same-origin" or (site is None and origin is not None and origin == own_origin(connection)):
        return
    raise Forbidden(
        f"a cookie is not enough for this from another origin (got Origin {str(origin)[:80]!r}, Sec-Fetch-Site "
        f"{str(site)[:20]!r}): ask from a page of this server, name the origin in ADMINT_CORS_ORIGINS, or send a token"
    )


def is_foreign_page(connection: HTTPConnection, origins: Collection[str]) -> bool:
    """Whether a browser says that the request comes from a page of another origin, which the operator does not name."""
    origin, site = connection.headers.get("origin"), connection.headers.get("sec-fetch-site")
    if origin in origins or site == "same-origin":
        return False
    return site in ("cross-site", "same-site") or (origin is not None and origin != own_origin(connection))


def own_origin(connection: HTTPConnection) -> str:
    """The origin at which the caller reaches this server."""
    url = connection.base_url
    scheme = url.scheme.replace("ws", "http", 1)
    default = {"http": ":80", "https": ":443"}.get(scheme, "")
    return f"{scheme}://{url.netloc.removesuffix(default)}".lower()


class Cors(CORSMiddleware):
    """Middleware: answers preflights before anybody looks for credentials, and tells browsers who may read answers."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=ASKED_HEADERS,
            allow_credentials=True,
            allow_private_network=True,  # a page of the internet may ask a server at home, when its origin is named
            expose_headers=TOLD_HEADERS,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        asked = request_headers.get("access-control-request-headers", "").lower().split(",")
        extra = [name.strip() for name in asked if name.strip().startswith("x-stainless-")]
        plain = [name.strip() for name in asked if name.strip() and name.strip() not in extra]
        answer = super().preflight_response(_with(request_headers, plain))
        if answer.status_code != 200:
            text = f"origin {request_headers['origin'][:80]!r} may not send this request: see ADMINT_CORS_ORIGINS"
            return problem_response(Problem("forbidden", text, headers={"Vary": "Origin"}))
        if extra:
            answer.headers["Access-Control-Allow-Headers"] += ", " + ", ".join(extra)
        return answer


def _with(headers: Headers, asked: Collection[str]) -> Headers:
    """The headers of a preflight that asks for these alone."""
    changed = headers.mutablecopy()
    if asked:
        changed["access-control-request-headers"] = ", ".join(asked)
    else:
        del changed["access-control-request-headers"]
    return changed


class SafeAnswers:
    """Middleware: gives every answer the HEADERS that its route does not set."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def safe(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                message.setdefault("headers", [])
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, safe)
