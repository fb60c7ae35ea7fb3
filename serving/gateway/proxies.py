"""Behind a reverse proxy: who really asks, and at which address this server is reached.

`X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix` are believed when they come from a proxy that the operator names
(ADMINT_TRUSTED_PROXIES), and taken out of every other request. Whatever addresses answers hold is made here.
"""

from __future__ import annotations

import ipaddress
import re
from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

OWN_PATHS = ("api", "v1", "ws")
"""A root path may not begin like our own addresses: nobody could tell whether a proxy has taken it away already."""
ROOT_PATH = re.compile(rf"(?!/(?:{'|'.join(OWN_PATHS)})(?:/|$))(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+")
MAX_ROOT_PATH = 200
_HOST = re.compile(r"[A-Za-z0-9._-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")
_root_path: ContextVar[str] = ContextVar("root_path", default="")


@dataclass(frozen=True)
class Proxies:
    """What stands between callers and this server."""

    trusted: tuple[str, ...] = ()
    """Addresses and networks of proxies, such as `10.0.0.5` and `172.16.0.0/12`."""
    root_path: str = ""
    """What the addresses of this server begin with outside, such as `/admint`."""


NO_PROXIES = Proxies()


def address(path: str) -> str:
    """The path at which the caller of this request finds `path` of this server."""
    return _root_path.get() + path


def artifact_url(sha256: str) -> str:
    """The path at which the caller of this request finds an artifact."""
    return address(f"/v1/artifacts/{sha256}")


def absolute_address(connection: HTTPConnection, path: str) -> str:
    """The whole address of `path`, as the caller of this request reaches this server."""
    return str(connection.base_url).rstrip("/") + path


class ReverseProxies:
    """Middleware: puts the caller's own address, scheme, host and root path into the scope."""

    def __init__(self, app: ASGIApp, proxies: Proxies) -> None:
        self._app = app
        self._networks = [ipaddress.ip_network(each) for each in proxies.trusted]
        # uvicorn reads -For and -Proto; it is asked only about requests that come from a trusted proxy.
        self._forwarded = ProxyHeadersMiddleware(self._at_root, list(proxies.trusted))  # type: ignore[arg-type]
        self._root_path = proxies.root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        root_path = self._root_path
        if scope.get("client"):
            scope["client"] = (_plain(scope["client"][0]), scope["client"][1])
        if self._trusts(scope):
            root_path = _forwarded_root_path(scope) or root_path
            _forward_host(scope)
        else:
            scope["headers"] = [pair for pair in scope["headers"] if not pair[0].startswith(b"x-forwarded-")]
        if root_path:
            scope["root_path"] = root_path
            scope["path"] = _below(scope["path"], root_path)
        await self._forwarded(scope, receive, send)  # type: ignore[arg-type]

    async def _at_root(self, scope: Scope, receive: Receive, send: Send) -> None:
        token = _root_path.set(scope.get("root_path", ""))
        try:
            await self._app(scope, receive, send)
        finally:
            _root_path.reset(token)

    def _trusts(self, scope: Scope) -> bool:
        try:
            peer = ipaddress.ip_address((scope.get("client") or ("", 0))[0])
        except ValueError:
            return False
        return any(peer in network for network in self._networks)


def _plain(host: str) -> str:
    """An IPv4 address as such: a socket for both kinds of addresses shows it as `::ffff:10.0.0.5`."""
    try:
        mapped = getattr(ipaddress.ip_address(host), "ipv4_mapped", None)
    except ValueError:
        return host
    return host if mapped is None else str(mapped)


def _below(path: str, root_path: str) -> str:
    """The path inside this server: some proxies take the root path away, others leave it."""
    if path == root_path:
        return "/"
    return path.removeprefix(root_path) if path.startswith(f"{root_path}/") else path


def _forwarded_root_path(scope: Scope) -> str | None:
    given = Headers(scope=scope).get("x-forwarded-prefix", "").rstrip("/")
    return given if len(given) <= MAX_ROOT_PATH and ROOT_PATH.fullmatch(given) else None


def _forward_host(scope: Scope) -> None:
    """Let the host be the one that the caller asked for, as the nearest proxy says."""
    given = Headers(scope=scope).get("x-forwarded-host", "").rpartition(",")[2].strip()
    if _HOST.fullmatch(given):
        MutableHeaders(scope=scope)["host"] = given
