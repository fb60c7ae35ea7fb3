"""Bodies within limits while they arrive: of size, of time, and of the memory that all of them hold together.

One request may have a hundred megabytes; without a bound on them together, a few callers who send slowly would hold all
the memory there is. A body must arrive at a rate that any line has, and each caller and this process have room for so
much at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.errors import QueueFull
from serving.gateway.problems import Problem, problem_response, too_large

if TYPE_CHECKING:
    from collections.abc import Iterator

BODY_SECONDS = 30.0
"""For a body to arrive, beyond what BYTES_PER_SECOND gives it."""
BYTES_PER_SECOND = 32 * 1024
ROOM_BYTES = 512 * 1024 * 1024
"""Of all bodies of one gateway process, from their first byte to the end of their answers."""
ROOM_PER_OWNER = 256 * 1024 * 1024
RETRY_SECONDS = 5


class BodyRoom:
    """The bytes of bodies that are held, by caller."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    @contextmanager
    def share(self, owner: str) -> Iterator[Callable[[int], None]]:
        """What the block calls with the bytes that it holds more; it raises QueueFull when there is no room."""
        mine = 0

        def take(size: int) -> None:
            nonlocal mine
            if self._held[owner] + size > ROOM_PER_OWNER or self._held.total() + size > ROOM_BYTES:
                raise QueueFull("too many large requests are under way: send them one after the other", RETRY_SECONDS)
            self._held[owner] += size
            mine += size

        try:
            yield take
        finally:
            self._held[owner] -= mine
            if not self._held[owner]:
                del self._held[owner]


class BodyLimit:
    """Middleware: refuses with 413 a multipart body of more than `form_bytes`, any other of more than `json_bytes`.

    And with 408 one that arrives too slowly, with 429 one for which there is no room now.
    """

    def __init__(
        self, app: ASGIApp, json_bytes: int, form_bytes: int, owner: Callable[[Scope], str] = lambda _: ""
    ) -> None:
        """`owner`: whose room a request uses."""
        self._app = app
        self._json_bytes = json_bytes
        self._form_bytes = form_bytes
        self._owner = owner
        self._room = BodyRoom()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        is_form = headers.get("content-type", "").lower().startswith("multipart/")
        limit = self._form_bytes if is_form else self._json_bytes
        announced = headers.get("content-length", "")
        if announced.isdecimal() and (len(announced) > len(str(limit)) or int(announced) > limit):
            await problem_response(too_large(limit))(scope, receive, send)
            return
        with self._room.share(self._owner(scope)) as take:
            await self._app(scope, _bounded(receive, limit, take), send)


def _bounded(receive: Receive, limit: int, take: Callable[[int], None]) -> Receive:
    seen, until, is_whole = 0, 0.0, False

    async def bounded() -> Message:
        nonlocal seen, until, is_whole
        if is_whole:
            return await receive()  # the disconnect, whenever that is
        until = until or asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            async with asyncio.timeout_at(until + seen / BYTES_PER_SECOND):
                message = await receive()
        except TimeoutError:
            text = f"the body did not arrive within {BODY_SECONDS:.0f} s and {BYTES_PER_SECOND // 1024} kB/s"
            raise Problem("request_timeout", text, headers={"Connection": "close"}) from None
        size = len(message.get("body", b""))
        seen += size
        if seen > limit:
            raise too_large(limit)
        take(size)
        is_whole = not message.get("more_body", False)
        return message

    return bounded
