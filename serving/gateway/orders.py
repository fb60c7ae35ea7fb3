"""A request for an ad as a stored generation: pictures read, the order checked for this server, taken in, and told on.

Nothing is written before everything is checked. Knows no route; the four ways to ask for an ad meet here.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from fastapi import Header, Request, Response
from pydantic import BaseModel

from pipelines.brief import BriefReference
from pipelines.errors import BadInput
from pipelines.orders.ad import AdRequest, Variation
from pipelines.records import ComparisonType, Keys, NewGeneration, RequestKey
from pipelines.steps import StoredArtifact
from pipelines.store.intake import Accepted
from serving.gateway.auth.identity import owner
from serving.gateway.generations.schemas import GenerationCreate, ReferenceBody
from serving.gateway.pictures import IMAGE_TYPES, Pictures, is_artifact_id, kept_files
from serving.gateway.queue import check_queue, notify
from serving.gateway.requests import Upload
from serving.gateway.services import Services, services

Planned = TypeVar("Planned")
REPLAYED = "Idempotency-Replayed"
"""Header of an answer that an earlier request had already."""
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text of your own. The same request under the same key creates nothing twice.",
    ),
]


def request_key(request: Request, key: str | None, body: BaseModel) -> Keys:
    """The client's name for this request, if it gave one."""
    return () if key is None else (RequestKey(f"idempotency:{key}", fingerprint(request, body)),)


async def is_repeated(request: Request, response: Response, keys: Keys) -> bool:
    """Whether an earlier request with one of `keys` did this already; the answer says so then. Raises KeyReused."""
    if await services(request).ads.intake.known(owner(request), keys) is None:
        return False
    response.headers[REPLAYED] = "true"
    return True


def fingerprint(request: Request, body: BaseModel) -> str:
    """sha256 of the address and of the checked body: the same for JSON of another layout and for another boundary."""
    text = json.dumps([request.url.path, _plain(body)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, Upload):
        return hashlib.sha256(value.data).hexdigest()
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value


def flat_field(name: str) -> str:
    """The name that a field of `AdRequest` has in a body without `brief`."""
    return name.removeprefix("brief.")


class AdDesk:
    """Takes the orders of one owner.

    `field_name` gives the name that a field of `AdRequest` has in the route's body: by default bodies are flat.
    """

    def __init__(self, services: Services, owner: str, field_name: Callable[[str], str] = flat_field) -> None:
        self._services = services
        self._owner = owner
        self._field_name = field_name
        self._pictures = Pictures(services, owner)

    async def take(
        self,
        request: AdRequest,
        references: Sequence[ReferenceBody | Upload | str],
        keys: Keys,
        parent_generation_id: str | None = None,
    ) -> Accepted:
        """A generation that waits for a worker. Raises BadInput, QueueFull, QuotaExceeded, KeyReused, Problem."""
        if (known := await self._services.ads.intake.known(self._owner, keys)) is not None:
            return Accepted(known, repeated=True)
        request, artifacts, uploads = await self._with_references(request, references)
        order = await self._plan(lambda: self._services.ads.planner.plan(request))
        manifest = await asyncio.to_thread(self._services.ads.manifest)
        await check_queue(self._services)
        new = NewGeneration(order.brief, order.recipe, order.given, manifest, artifacts, parent_generation_id)
        async with kept_files(self._services, self._owner, uploads.values(), "image/png"):
            accepted = await self._services.ads.intake.generation(self._owner, new, keys)
        await notify(self._services.notifier.wake())
        return accepted

    async def compare(
        self, request: AdRequest, comparison_type: ComparisonType, variations: tuple[Variation, ...], keys: Keys
    ) -> Accepted:
        """A group with one generation per variation. Raises as `take`."""
        if (known := await self._services.ads.intake.known(self._owner, keys)) is not None:
            return Accepted(known, repeated=True)
        orders = await self._plan(lambda: self._services.ads.planner.compare(request, comparison_type, variations))
        manifest = await asyncio.to_thread(self._services.ads.manifest)
        await check_queue(self._services)
        new = tuple(NewGeneration(order.brief, order.recipe, order.given, manifest) for order in orders)
        accepted = await self._services.ads.intake.group(self._owner, comparison_type, new, keys)
        await notify(self._services.notifier.wake())
        return accepted

    async def _plan(self, plan: Callable[[], Planned]) -> Planned:
        """What `plan` plans, in a thread because it may read files. Raises BadInput by the body's own field names."""
        try:
            return await asyncio.to_thread(plan)
        except BadInput as error:
            raise error.renamed(self._field_name) from None

    async def _with_references(
        self, request: AdRequest, pictures: Sequence[ReferenceBody | Upload | str]
    ) -> tuple[AdRequest, tuple[StoredArtifact, ...], dict[str, bytes]]:
        """The request with its references, their artifacts, and the bytes of those not stored yet, by hash."""
        references: list[BriefReference] = []
        artifacts: list[StoredArtifact] = []
        uploads: dict[str, bytes] = {}
        for position, picture in enumerate(pictures):
            asked = picture if isinstance(picture, ReferenceBody) else ReferenceBody(image=picture)
            param = f"references.{position}"
            stored, data = await self._read(asked.image, param)
            if data is not None:
                uploads[stored.sha256] = data
            artifacts.append(stored)
            name = asked.image.filename if isinstance(asked.image, Upload) else f"{param}.png"
            references.append(
                BriefReference(
                    artifact=stored.sha256, role=asked.role, filename=name[:200] or param, weight=asked.weight
                )
            )
        return replace(request, references=tuple(references)), tuple(artifacts), uploads

    async def _read(self, source: Upload | str, param: str) -> tuple[StoredArtifact, bytes | None]:
        if isinstance(source, str) and is_artifact_id(source):
            await self._pictures.media_type(source, param, IMAGE_TYPES)
            return await self._services.owners.find(self._owner, source), None
        data = (await self._pictures.picture(source, param)).data
        return StoredArtifact(sha256=hashlib.sha256(data).hexdigest(), media_type="image/png", size=len(data)), data


def ad_request(body: GenerationCreate) -> AdRequest:
    """What a body of the unified route asks for, references aside."""
    given = {name: getattr(body.brief, name) for name in body.brief.model_fields_set}
    return AdRequest(
        recipe=body.recipe,
        brief={name: value for name, value in given.items() if value is not None},
        coherence=body.coherence.given if body.coherence else {},
        approvals=body.approvals,
        quality_dimensions=body.quality.dimensions if body.quality else None,
        quality_gate=body.quality.gate if body.quality else None,
        storyboard=body.storyboard,
        use_llm=body.use_llm,
    )


def unified_field(name: str) -> str:
    """The name that a field of `AdRequest` has in a body of the unified route."""
    return name.replace("quality_gate", "quality").replace("quality_dimensions", "quality.dimensions")
