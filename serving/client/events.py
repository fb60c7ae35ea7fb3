"""Following a generation on a server: its events, each once and in order, across lost connections."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import httpx

from pipelines.records import Event, GenerationStatus
from serving.client.errors import refusal_of
from serving.client.http import PASSING, Backoff, Connection, event_data
from serving.client.sending import ask, place
from serving.errors import ServingError, Unreachable
from serving.gateway.generations.answers import GenerationDetail

GENERATIONS = "/api/v1/generations"
FOLLOW_PATIENCE_SECONDS = 300.0
"""A server that starts again loads its models first, which takes minutes."""
ENDED: tuple[GenerationStatus, ...] = ("completed", "failed", "cancelled")


def nobody(text: str) -> None:
    """Nobody is told that a connection was lost and found again."""


class Following:
    """Follows the events of one generation, across lost connections. `after`: `seq` of the last event seen."""

    def __init__(
        self,
        connection: Connection,
        generation_id: str,
        say: Callable[[str], None],
        after: int = 0,
        patience: float = FOLLOW_PATIENCE_SECONDS,
    ) -> None:
        """`say` is called when the connection is lost and when it is back; `patience`: seconds without a connection."""
        self._connection = connection
        self._id = generation_id
        self._say = say
        self._backoff = Backoff(patience)
        self._lost = False
        self.after = after

    async def events(self) -> AsyncGenerator[Event, None]:
        """Events until the generation has ended or waits for its owner. Raises NotFound, Unreachable."""
        while True:
            try:
                headers = {"Accept": "text/event-stream", "Last-Event-ID": str(self.after)}
                address = place(GENERATIONS, self._id, "events")
                async with self._connection.open("GET", address, headers=headers) as stream:
                    async for event in self._read(stream):
                        yield event
                        if event.kind == "approval_needed" and await self._is_at_rest(event.seq):
                            return
                if await self._is_at_rest(self.after):
                    return
                raise Unreachable(f"{self._connection.server} ended the event stream")
            except PASSING as error:
                await self._wait(error)

    async def show(self, show: Callable[[Event], None]) -> None:
        """Call `show` with every event. Raises as `events`."""
        async with aclosing(self.events()) as events:
            async for event in events:
                show(event)

    async def _read(self, stream: httpx.Response) -> AsyncIterator[Event]:
        if stream.status_code == httpx.codes.NO_CONTENT:
            return
        if self._lost:
            self._lost = False
            self._say(f"connected to {self._connection.server} again")
        async for data in event_data(stream.aiter_lines(), self._backoff.renew):
            event = read_event(data, self._connection.server)
            self.after = event.seq
            yield event

    async def _is_at_rest(self, seq: int) -> bool:
        """Whether no more events follow the one at `seq` before the owner acts."""
        generation = await ask(GenerationDetail, "GET", place(GENERATIONS, self._id))(self._connection)
        if generation.status == "awaiting_approval":
            return generation.last_seq <= seq
        return generation.status in ENDED and generation.last_seq <= seq

    async def _wait(self, error: Exception) -> None:
        if not self._lost:
            self._lost = True
            self._say(f"{error}; the server goes on by itself, trying to follow it again")
        await self._backoff.after(error)


def read_event(data: str, server: str) -> Event:
    """The event in one frame.

    Raises what the server ended the stream for (the login is over), ServingError for what this version cannot read.
    """
    try:
        content = json.loads(data)
        if "error" in content:
            raise refusal_of(server, content["error"])
        return Event.model_validate(content)
    except (ValueError, TypeError):  # pydantic's errors are ValueErrors
        raise ServingError(f"{server} sent an event that this version cannot read: {data[:80]!r}") from None
