"""Following a generation's event log: what is stored past a cursor, then new events, until the generation has ended.

Every follower reads rows, never a message of another process, so any number of them see the same events, each once and
in order, whenever they come and however often they come back. One poll per gateway tells all followers that there is
news: while nothing is committed, 1,000 of them cost one read of the store's change counter per tick. Server-sent
events and WebSockets are both made of `EventStreams.follow`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from fastapi import Request
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.requests import HTTPConnection

from pipelines.records import Event, Generation, GenerationStatus
from pipelines.store.generation_index import Head
from serving.gateway.problems import Problem
from serving.gateway.requests import COMPONENT

POLL_SECONDS = 0.02
"""How often the gateway polls for news, while there is a follower."""
REST = 3.0
"""After a poll it rests this many times as long as the poll took: with many followers and much news polling takes a
quarter of a core at most, and news comes a little later."""
HEARTBEAT_SECONDS = 15.0
"""After so much silence a follower is told that it is still connected."""
BATCH = 256
"""Events read at once: what a slow client can make the gateway hold."""
ENDED: tuple[GenerationStatus, ...] = ("completed", "failed", "cancelled")
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MAX_SEQ = 2**31 - 1
_SEQ = re.compile(r"\d{1,10}", re.ASCII)
logger = logging.getLogger(__name__)


class EventLog(Protocol):
    """The event logs that a follower reads (`pipelines.store.generation_index`)."""

    async def change_counter(self) -> str: ...
    async def heads(self, generation_ids: Sequence[str]) -> dict[str, Head]: ...
    async def log(self, generation_id: str, after: int, limit: int) -> tuple[Event, ...]: ...


class OwnedGenerations(Protocol):
    """Generations of a user (`pipelines.store.generations`)."""

    async def get(self, user_id: str, generation_id: str) -> Generation: ...


class EventStreams:
    """The followers of one gateway process."""

    def __init__(self, rows: OwnedGenerations, log: EventLog) -> None:
        self._rows = rows
        self._log = log
        self._followers: dict[str, list[_Follower]] = {}
        self._poll: asyncio.Task[None] | None = None
        self._counter = ""
        """The store's change counter at the last poll; empty: a follower has come since."""

    async def follow(self, user_id: str, generation_id: str, after: int = 0) -> AsyncGenerator[Event | None, None]:
        """Events past the `seq` `after`, in order and without a gap; None after HEARTBEAT_SECONDS of silence.

        Ends after the last event of a generation that is completed, failed or cancelled, and when it is deleted. One
        that waits for approval is followed on. Raises NotFound at the first step, also for someone else's; close it
        (`aclose`) when it is no longer read.
        """
        ended = (await self._rows.get(user_id, generation_id)).status in ENDED
        with self._following(generation_id) as follower:
            while True:
                follower.news.clear()  # before reading: what comes from here on is news again
                head, gone = follower.head, follower.gone
                unread = head is None or head[0] > after
                batch = await self._log.log(generation_id, after, BATCH) if unread else ()
                for event in batch:
                    after = event.seq
                    yield event
                if len(batch) == BATCH:
                    continue
                if ended or gone or (head is not None and head[1] in ENDED and after >= head[0]):
                    return
                while not await _within(follower.news, HEARTBEAT_SECONDS):
                    yield None

    async def close(self) -> None:
        """Stop polling: followers get no more events."""
        if self._poll is not None:
            self._poll.cancel()
            await asyncio.wait({self._poll})

    @contextmanager
    def _following(self, generation_id: str) -> Iterator[_Follower]:
        """A follower that the poll notifies when the generation's log has grown."""
        follower = _Follower()
        self._followers.setdefault(generation_id, []).append(follower)
        self._counter = ""
        if self._poll is None or self._poll.done():
            self._poll = asyncio.create_task(self._poll_until_idle())
        try:
            yield follower
        finally:
            others = [one for one in self._followers[generation_id] if one is not follower]
            if others:
                self._followers[generation_id] = others
            else:
                del self._followers[generation_id]

    async def _poll_until_idle(self) -> None:
        """Notify the followers of logs that have grown, until there are no followers."""
        while self._followers:
            began = time.monotonic()
            try:
                await self._poll_once()
            except Exception:  # whatever it was, they are polled again; the followers wait meanwhile
                logger.warning("the event logs could not be polled", exc_info=True)
            await asyncio.sleep(max(POLL_SECONDS, REST * (time.monotonic() - began)))

    async def _poll_once(self) -> None:
        known = self._counter
        counter = await self._log.change_counter()
        if counter == known:
            return
        ids = tuple(self._followers)
        self._counter = counter  # a follower that comes during the reads below empties it again
        try:
            heads = await self._log.heads(ids)
        except Exception:
            self._counter = ""
            raise
        for generation_id in ids:
            self._notify(generation_id, heads.get(generation_id))

    def _notify(self, generation_id: str, head: Head | None) -> None:
        for follower in self._followers.get(generation_id, ()):
            if head is None or follower.head != head:
                follower.head, follower.gone = head, head is None
                follower.news.set()


@dataclass
class _Follower:
    """One follower, and the news that the poll has for it."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    head: Head | None = None
    """None: not looked at yet."""
    gone: bool = False


async def _within(news: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(news.wait(), seconds)
    except TimeoutError:
        return False
    return True


def event_streams(connection: HTTPConnection) -> EventStreams:
    """The event streams of the application that serves this request or WebSocket."""
    found: EventStreams = connection.app.state.event_streams
    return found


def cursor(request: Request, after: int | None) -> int:
    """The `seq` to continue after: `Last-Event-ID`, which browsers send when they reconnect, else `after`.

    Raises Problem 422 for what is no `seq`.
    """
    last = request.headers.get("last-event-id", "").strip()
    if not last:
        return after or 0
    if not _SEQ.fullmatch(last) or int(last) > MAX_SEQ:
        raise Problem("invalid_request", f"Last-Event-ID must be the id of an event (got {last[:40]!r})")
    return int(last)


Frames = Callable[[Event], Iterable[bytes]]
"""What one event is written as."""


def sse_response(followed: AsyncGenerator[Event | None, None], frames: Frames) -> StreamingResponse:
    """An event stream of `followed` until that ends; its None become keep-alive comments."""

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


def stream_content(item: str) -> dict[str, object]:
    """What an OpenAPI document says of a stream whose frames carry the schema `item` as their data.

    It is said of each event, as OpenAPI 3.2 has it and the framework writes it for its own streams.
    """
    data = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": COMPONENT.format(model=item)},
    }
    return {
        "itemSchema": {
            "type": "object",
            "description": "One server-sent event",
            "required": ["data"],
            "properties": {
                "data": {"description": f"A `{item}` as JSON", **data},
                "event": {"type": "string", "description": "The kind of event; absent: a message"},
                "id": {"type": "string", "description": "For `Last-Event-ID`: where to go on after a break"},
            },
        },
    }


def event_frame(event: Event) -> list[bytes]:
    """The event as it is in the log; the frame's type is its kind."""
    return [format_sse_event(data_str=event.model_dump_json(), event=event.kind, id=str(event.seq))]
