"""Following a generation on its server by its event stream: every event once and in order, whatever breaks on the way.

A stream that breaks is opened again after the last event that came (`Last-Event-ID`), with growing waits. Shows nothing
itself; ends where the generation ends, or where it waits for its owner.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import httpx

from pipelines.store.records import Event
from serving.client.connection import PASSING, Patience
from serving.client.generations import ENDED, Generations
from serving.client.refusals import refusal_of
from serving.client.sse import event_data
from serving.errors import ServingError, Unreachable

PATIENCE_SECONDS = 300.0
"""A server that starts again loads its models first, which takes minutes."""


class Following:
    """One generation as it is followed. `after`: `seq` of the last event seen."""

    def __init__(
        self,
        generations: Generations,
        generation_id: str,
        say: Callable[[str], None],
        after: int = 0,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """`say` hears when the connection is lost and when it is back; `patience` in seconds."""
        self._generations = generations
        self._id = generation_id
        self._say = say
        self._patience = Patience(patience)
        self._lost = False
        self.after = after

    async def events(self) -> AsyncGenerator[Event, None]:
        """Until the generation has ended or waits for its owner. Raises Unreachable without patience left, NotFound."""
        while True:
            try:
                async with self._generations.log(self._id, self.after) as stream:
                    async for event in self._read(stream):
                        yield event
                        if event.kind == "approval_needed" and await self._stands(event.seq):
                            return
                if await self._stands(self.after):
                    return
                raise Unreachable(f"{self._generations.server} ended the event stream")
            except PASSING as error:
                await self._wait(error)

    async def show(self, show: Callable[[Event], None]) -> None:
        """Hand every event to `show`. Raises as `events`."""
        async with aclosing(self.events()) as events:
            async for event in events:
                show(event)

    async def _read(self, stream: httpx.Response) -> AsyncIterator[Event]:
        if stream.status_code == httpx.codes.NO_CONTENT:
            return
        if self._lost:
            self._lost = False
            self._say(f"connected to {self._generations.server} again")
        async for data in event_data(stream.aiter_lines(), self._patience.renew):
            event = read_event(data, self._generations.server)
            self.after = event.seq
            yield event

    async def _stands(self, seq: int) -> bool:
        """Whether nothing more comes by itself after the event `seq`."""
        generation = await self._generations.get(self._id)
        if generation.status == "awaiting_approval":
            return generation.last_seq <= seq
        return generation.status in ENDED and generation.last_seq <= seq

    async def _wait(self, error: Exception) -> None:
        if not self._lost:
            self._lost = True
            self._say(f"{error}; the server goes on by itself, trying to follow it again")
        await self._patience.after(error)


def read_event(data: str, server: str) -> Event:
    """Raises what the server ends a stream for (the login is over), ServingError for what this version cannot read."""
    try:
        content = json.loads(data)
        if "error" in content:
            raise refusal_of(server, content["error"])
        return Event.model_validate(content)
    except (ValueError, TypeError):  # pydantic's errors are ValueErrors
        raise ServingError(f"{server} sent an event that this version cannot read: {data[:80]!r}") from None
