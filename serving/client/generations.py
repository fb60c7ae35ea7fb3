"""Generations of a server: asked for, read, followed, decided on and fetched by the command line.

Every request here may be sent twice, so a broken connection is tried again for a while.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import BaseModel, ConfigDict

from pipelines.recipe import StageName
from pipelines.records import Event, GenerationStatus
from pipelines.steps import Json
from pipelines.store.artifacts import LocalArtifacts
from serving.client.errors import refusal_of
from serving.client.http import PASSING, Backoff, Connection, event_data
from serving.errors import ServingError, Unreachable
from serving.reference_files import ReferenceFile

if TYPE_CHECKING:
    from pipelines.orders.ad import AdRequest
    from pipelines.report.record import RunRecord

URL = "/api/v1/generations"
PATIENCE_SECONDS = 20.0
"""A request that cannot reach its server is tried again for so long."""
FOLLOW_PATIENCE_SECONDS = 300.0
"""A server that starts again loads its models first, which takes minutes."""
ENDED: tuple[GenerationStatus, ...] = ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class GenerationRequest:
    """A body of `POST /api/v1/generations`."""

    fields: Json
    references: tuple[ReferenceFile, ...]


def generation_request(request: AdRequest, references: tuple[ReferenceFile, ...]) -> GenerationRequest:
    """The body that asks a server for `request`, of which the server checks the rest. Raises BadInput."""
    from pipelines.orders.ad import brief_fields

    brief_fields(request)
    fields: Json = {
        "recipe": request.recipe,
        "approvals": list(request.approvals or ()),
        "brief": dict(request.brief),
    }
    if request.accept_out_of_domain:
        fields["accept_out_of_domain"] = True
    if request.storyboard is not None:
        fields["storyboard"] = request.storyboard.model_dump(mode="json")
    if request.coherence:
        fields["coherence"] = dict(request.coherence)
    return GenerationRequest(fields, references)


class ServedGeneration(BaseModel):
    """A generation as its server answers it. Fields of newer servers are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    status: GenerationStatus
    progress: int
    current_stage: StageName | None
    error_message: str | None
    recipe: str
    title: str | None
    prompt: str
    created_at: datetime
    cancellation_requested: bool
    last_seq: int = 0
    """`seq` of the newest event; only in the detail."""


class RemoteGenerations:
    """The caller's generations on a server (`/api/v1/generations`)."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def server(self) -> str:
        return self._connection.server

    async def create(self, request: GenerationRequest) -> ServedGeneration:
        """Ask for an ad, once: when the request is sent again, its `Idempotency-Key` prevents a second ad."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        if not request.references:
            return await self._one("POST", "", headers=headers, json=request.fields)
        form: dict[str, Any] = {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in request.fields.items()
        }
        form["references[][role]"] = [file.reference.role for file in request.references]
        files = [
            ("references[][image]", (file.reference.filename, file.original, "application/octet-stream"))
            for file in request.references
        ]
        return await self._one("POST", "", headers=headers, data=form, files=files)

    async def get(self, generation_id: str) -> ServedGeneration:
        return await self._one("GET", f"/{generation_id}")

    async def record(self, generation_id: str) -> RunRecord:
        """Everything about a generation, as `run.json` holds it."""
        from pipelines.report.record import RunRecord

        return RunRecord.model_validate_json((await self._call("GET", f"/{generation_id}/record")).content)

    async def approve(self, generation_id: str, stage: StageName) -> ServedGeneration:
        return await self._one("POST", f"/{generation_id}/approve", json={"stage": stage})

    async def resume(self, generation_id: str) -> ServedGeneration:
        return await self._one("POST", f"/{generation_id}/resume")

    async def cancel(self, generation_id: str) -> ServedGeneration:
        return await self._one("POST", f"/{generation_id}/cancel")

    async def delete(self, generation_id: str) -> None:
        await self._call("DELETE", f"/{generation_id}")

    async def page(self, limit: int, statuses: tuple[str, ...]) -> tuple[tuple[ServedGeneration, ...], int]:
        """The newest `limit` generations, and how many there are."""
        found = (await self._call("GET", "", params={"limit": limit, "status": list(statuses)})).json()
        return tuple(ServedGeneration.model_validate(item) for item in found["items"]), found["total"]

    @asynccontextmanager
    async def log(self, generation_id: str, after: int) -> AsyncIterator[httpx.Response]:
        """The event stream past the `seq` `after`; status 204 when there is nothing more to come."""
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        async with self._connection.open("GET", f"{URL}/{generation_id}/events", headers=headers) as stream:
            yield stream

    async def fetch(self, sha256: str, artifacts: LocalArtifacts) -> None:
        """Bring a file of the server into `artifacts`, unless it is there. Raises StorageFailed, NotFound."""
        if artifacts.path(sha256).exists():
            return
        answer = await self._connection.call("GET", f"/v1/artifacts/{sha256}", patience=PATIENCE_SECONDS)
        stored = await asyncio.to_thread(artifacts.put, answer.content, answer.headers.get("content-type", ""))
        if stored.sha256 != sha256:
            artifacts.remove(stored.sha256, datetime.now(UTC))
            raise ServingError(f"{self.server} sent other bytes than those of artifact {sha256!r}: try again")

    async def _one(self, method: str, path: str, **content: Any) -> ServedGeneration:
        return ServedGeneration.model_validate((await self._call(method, path, **content)).json())

    async def _call(self, method: str, path: str, **content: Any) -> httpx.Response:
        return await self._connection.call(method, f"{URL}{path}", patience=PATIENCE_SECONDS, **content)


class Following:
    """Follows the events of one generation, across lost connections. `after`: `seq` of the last event seen."""

    def __init__(
        self,
        generations: RemoteGenerations,
        generation_id: str,
        say: Callable[[str], None],
        after: int = 0,
        patience: float = FOLLOW_PATIENCE_SECONDS,
    ) -> None:
        """`say` is called when the connection is lost and when it is back; `patience`: seconds without a connection."""
        self._generations = generations
        self._id = generation_id
        self._say = say
        self._backoff = Backoff(patience)
        self._lost = False
        self.after = after

    async def events(self) -> AsyncGenerator[Event, None]:
        """Events until the generation has ended or waits for its owner. Raises NotFound, Unreachable."""
        while True:
            try:
                async with self._generations.log(self._id, self.after) as stream:
                    async for event in self._read(stream):
                        yield event
                        if event.kind == "approval_needed" and await self._is_at_rest(event.seq):
                            return
                if await self._is_at_rest(self.after):
                    return
                raise Unreachable(f"{self._generations.server} ended the event stream")
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
            self._say(f"connected to {self._generations.server} again")
        async for data in event_data(stream.aiter_lines(), self._backoff.renew):
            event = read_event(data, self._generations.server)
            self.after = event.seq
            yield event

    async def _is_at_rest(self, seq: int) -> bool:
        """Whether no more events follow the one at `seq` before the owner acts."""
        generation = await self._generations.get(self._id)
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
