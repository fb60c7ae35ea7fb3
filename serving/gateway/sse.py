"""Events as server-sent events: one frame per event, `id` = `seq`, comments while nothing happens.

Lets go of its follower as soon as the client is gone. Knows no route.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing

from fastapi import Request
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event

from pipelines.store.records import Event
from serving.gateway.problems import Problem

HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MAX_SEQ = 2**31 - 1
Frames = Callable[[Event], Iterable[bytes]]
"""What one event is written as."""


def sse_response(followed: AsyncGenerator[Event | None, None], frames: Frames) -> StreamingResponse:
    """`followed` until it ends; its None are keep-alive comments."""

    async def body() -> AsyncGenerator[bytes, None]:
        async with aclosing(followed) as following:
            yield KEEPALIVE_COMMENT  # the headers leave now, not with the first event
            async for event in following:
                if event is None:
                    yield KEEPALIVE_COMMENT
                    continue
                for frame in frames(event):
                    yield frame

    return EventSourceResponse(body(), headers=HEADERS)


def event_frame(event: Event) -> list[bytes]:
    """The event as it is in the log; the frame's type is its kind."""
    return [format_sse_event(data_str=event.model_dump_json(), event=event.kind, id=str(event.seq))]


def cursor(request: Request, after: int | None) -> int:
    """Where to go on: `Last-Event-ID`, which browsers send when they come back, before `after`. Raises Problem 422."""
    last = request.headers.get("last-event-id", "").strip()
    if not last:
        return after or 0
    if not last.isascii() or not last.isdigit() or int(last) > MAX_SEQ:
        raise Problem("invalid_request", f"Last-Event-ID must be the id of an event (got {last[:40]!r})")
    return int(last)
