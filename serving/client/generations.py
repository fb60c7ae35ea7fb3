"""Generations of a server, as far as the command line uses them: ordered, read, directed, fetched.

Every request here can be sent twice without harm, so a connection that breaks is tried again for a while.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
from pydantic import BaseModel, ConfigDict

from pipelines.recipe import StageName
from pipelines.report.record import RunRecord
from pipelines.store.artifacts import LocalArtifacts
from pipelines.store.records import GenerationStatus
from serving.client.ad_request import AdRequest
from serving.client.connection import Connection
from serving.errors import ServingError

URL = "/api/v1/generations"
PATIENCE_SECONDS = 20.0
ENDED: tuple[GenerationStatus, ...] = ("completed", "failed", "cancelled")


class ServedGeneration(BaseModel):
    """A generation as its server tells it; what else it tells is not read."""

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


class Generations:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def server(self) -> str:
        return self._connection.server

    async def order(self, request: AdRequest) -> ServedGeneration:
        """Ask for an ad, once: the same order sent again under its own key makes no second one."""
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
        """All about it, as `run.json` holds it."""
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
