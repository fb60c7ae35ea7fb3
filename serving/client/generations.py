"""Ads that the command line asks a server for, and files that it fetches from there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pipelines.steps import Json
from pipelines.store.artifacts import LocalArtifacts
from serving.client.events import GENERATIONS
from serving.client.http import Connection
from serving.client.sending import PATIENCE_SECONDS, Operation, ask, form, once_named
from serving.errors import ServingError
from serving.gateway.generations.answers import GenerationDetail
from serving.reference_files import ReferenceFile

if TYPE_CHECKING:
    from pipelines.orders.ad import AdRequest


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


def ask_for(request: GenerationRequest) -> Operation[GenerationDetail]:
    """Ask for an ad, once: when the request is sent again, its `Idempotency-Key` prevents a second ad."""
    if not request.references:
        return ask(GenerationDetail, "POST", GENERATIONS, headers=once_named(None), json=request.fields)
    files = [("references", (file.reference.filename, file.original)) for file in request.references]
    roles = {"reference_roles": [file.reference.role for file in request.references]}
    return ask(
        GenerationDetail, "POST", GENERATIONS, headers=once_named(None), **form({**request.fields, **roles}, files)
    )


async def fetch(connection: Connection, sha256: str, artifacts: LocalArtifacts) -> None:
    """Bring a file of the server into `artifacts`, unless it is there. Raises StorageFailed, NotFound."""
    if artifacts.path(sha256).exists():
        return
    answer = await connection.call("GET", f"/v1/artifacts/{sha256}", patience=PATIENCE_SECONDS)
    stored = await asyncio.to_thread(artifacts.put, answer.content, answer.headers.get("content-type", ""))
    if stored.sha256 != sha256:
        artifacts.remove(stored.sha256, datetime.now(UTC))
        raise ServingError(f"{connection.server} sent other bytes than those of artifact {sha256!r}: try again")
