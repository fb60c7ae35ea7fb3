"""What every request passes on its way to the routes: it gets an id and an answer whatever happens, is counted, and may
ask for the head of an answer alone."""

from __future__ import annotations

import logging
import re
import time
import uuid
from contextvars import ContextVar
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.gateway.metrics import HttpMetrics
from serving.gateway.problems import problem_response

HEADER = "x-request-id"
SWITCHING_PROTOCOLS = 101
_STARTS = ("http.response.start", "websocket.accept", "websocket.http.response.start")
_current: ContextVar[str] = ContextVar("request_id", default="-")
_ANNOUNCED = re.compile(r"\d{1,18}", re.ASCII)
MAX_LOGGED_PATH = 200
_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")
logger = logging.getLogger(__name__)


def current_request_id() -> str:
    """The id of the request that this code serves; `-` outside of one."""
    return _current.get()


class RequestIdFilter(logging.Filter):
    """Gives every record its `request_id`."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = _current.get()
        return True


class RequestIds:
    """Middleware: every request has an id, in its response header and in every log line it causes.

    It is the caller's `X-Request-ID` where that is harmless, else a new one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _ACCEPTED.fullmatch(given) else uuid.uuid4().hex
        token = _current.set(request_id)
        try:
            await self._serve(scope, receive, send, request_id)
        finally:
            _current.reset(token)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] in _STARTS:
                status = message.get("status", SWITCHING_PROTOCOLS)
                message.setdefault("headers", [])
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            milliseconds = 1000 * (time.perf_counter() - started)
            method = scope.get("method", "WEBSOCKET")
            logger.log(_level(status), "%s %s %d %.1f ms", method, address_as_sent(scope), status, milliseconds)


def _level(status: int) -> int:
    """A request that was served is for those who look closely; 503 says what is told of anyway: something loads."""
    if status >= 500:
        return logging.WARNING if status == 503 else logging.ERROR
    return logging.INFO if status >= 400 else logging.DEBUG


def address_as_sent(scope: Scope) -> str:
    """The path of a request as its caller wrote it, percent-encoded, so that it stays one word of one line."""
    path = scope.get("raw_path", b"").partition(b"?")[0].decode("ascii", "replace") or quote(scope["path"])
    return path if len(path) <= MAX_LOGGED_PATH else f"{path[:MAX_LOGGED_PATH]}…"


class Answered:
    """Middleware: an error that no handler expected becomes an internal error of the one shape; the log says why."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] in _STARTS
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:  # whatever it is, the caller gets an answer with the request's id
            if started or scope["type"] == "lifespan":
                raise
            await problem_response(error)(scope, receive, send)


class HeadOfGet:
    """Middleware: HEAD is answered wherever GET is, by what GET would answer without its body.

    The route never makes the body of a file or a stream: it is stopped when its headers are sent.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        as_get = {**scope, "method": "GET"}

        async def head_only(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            raise _HeadSent

        try:
            await self._app(as_get, receive, head_only)
        except (_HeadSent, ClientDisconnect):
            pass
        finally:
            scope["route"] = as_get.get("route")  # what `Measured` counts it under


class _HeadSent(OSError):
    """The answer has left: what a route writes beyond is for nobody. Routes take it for a caller that hung up."""


class Measured:
    """Middleware: counts every request under the address pattern that matched, never under the raw path."""

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # an error that is not caught here becomes a 500 further out

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        with self._metrics.running.track_inprogress():
            try:
                await self._app(scope, receive, noted)
            finally:
                route = getattr(scope.get("route"), "path", None) or "unmatched"
                self._metrics.requests.labels(scope["method"], route, str(status)).inc()
                self._metrics.seconds.labels(scope["method"], route).observe(time.perf_counter() - started)
