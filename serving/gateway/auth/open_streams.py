"""Open event streams and WebSockets end with the credentials that opened them: logged out, revoked, user disabled.

The gate lets somebody in once; what they opened may stay open for hours. So all credentials behind open streams are
looked up again together, one query per tick and gateway process. A stream is recognised by the start of
its answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Protocol

from fastapi.sse import format_sse_event
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.errors import PipelineError
from pipelines.store.account_tables import Credential
from serving.errors import Unauthenticated
from serving.gateway.problems import ErrorResponse, error_body

CHECK_SECONDS = 5.0
"""A stream outlives its credentials by so much at most."""
STREAM_ENDED = "stream_ended"
"""Name of the event that says so in an event stream."""
REFUSED_SOCKET = 1008
_REASON = "the credentials of this stream have ended: log in again"
logger = logging.getLogger(__name__)


class CredentialLookup(Protocol):
    """Which credentials were ended (`pipelines.store.logins`)."""

    async def ended(self, credentials: Collection[Credential]) -> frozenset[Credential]: ...


class OpenStreams:
    """The open streams of one gateway process."""

    def __init__(self, status: CredentialLookup) -> None:
        self._status = status
        self._open: dict[Credential, set[asyncio.Timeout]] = {}
        self._check: asyncio.Task[None] | None = None

    async def serve(self, app: ASGIApp, credential: Credential, scope: Scope, receive: Receive, send: Send) -> None:
        """Run `app`; a stream that it opens is ended in order when `credential` ends."""

        async def noting(message: Message) -> None:
            await send(message)
            if _opens_stream(message):
                self._watch(credential, life)

        life = asyncio.timeout(None)  # costs other requests nothing, where a task beside each cost 0.1 ms
        try:
            async with life:
                await app(scope, receive, noting)
        except TimeoutError:
            if not life.expired():
                raise
            await _say_why(scope, send)
        finally:
            self._forget(credential, life)

    def _watch(self, credential: Credential, life: asyncio.Timeout) -> None:
        self._open.setdefault(credential, set()).add(life)
        if self._check is None or self._check.done():
            self._check = asyncio.create_task(self._look())

    def _forget(self, credential: Credential, life: asyncio.Timeout) -> None:
        if lives := self._open.get(credential):
            lives.discard(life)
            if not lives:
                del self._open[credential]

    async def _look(self) -> None:
        while self._open:
            await asyncio.sleep(CHECK_SECONDS)
            try:
                gone = await self._status.ended(tuple(self._open))
            except PipelineError:  # they are read again at the next tick; open streams stay open meanwhile
                logger.warning("the credentials of open streams could not be read", exc_info=True)
                continue
            for credential in gone & self._open.keys():
                for life in self._open.pop(credential):
                    life.reschedule(asyncio.get_running_loop().time())


def _opens_stream(message: Message) -> bool:
    if message["type"] == "http.response.start":
        return Headers(raw=message["headers"]).get("content-type", "").startswith("text/event-stream")
    return bool(message["type"] == "websocket.accept")


async def _say_why(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": REFUSED_SOCKET, "reason": _REASON})
        return
    body = ErrorResponse(error=error_body(Unauthenticated(_REASON)))
    frame = format_sse_event(data_str=body.model_dump_json(), event=STREAM_ENDED)
    await send({"type": "http.response.body", "body": frame, "more_body": False})
