"""Generations as every API asks for them: taken in once, while the queue has room; cancelled; deleted.

Nothing is written before everything was checked.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias, TypeVar

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel, BeforeValidator, Field

from models.interfaces import Plain, ReferenceRole, Unit
from pipelines.brief import MAX_REFERENCES, BriefReference, role_of
from pipelines.errors import BadInput
from pipelines.orders.ad import AdRequest, Variation
from pipelines.records import ComparisonType, Generation, Keys, NewGeneration, RequestKey
from pipelines.runtime.traces import traced
from pipelines.steps import StoredArtifact
from pipelines.store.intake import Accepted
from serving.gateway.auth.gate import owner
from serving.gateway.forms import Upload
from serving.gateway.pictures import Pictures, kept_files, remove_unnamed
from serving.gateway.problems import Problem
from serving.gateway.requests import OpenObject, PictureSource
from serving.gateway.services import Services, services

Planned = TypeVar("Planned")
REPLAYED = "Idempotency-Replayed"
"""Header of an answer to a request that was sent before."""
STOP_SECONDS = 15.0
"""How long a deletion waits for a running worker to stop by itself."""
LOOK_SECONDS = 0.05
PICTURE_FIELDS = frozenset({"reference_images", "reference_image", "references", "images", "image"})
"""What clients call the pictures of an order."""
MAX_UNUSED = 10
"""Fields that were not used are named up to here."""
logger = logging.getLogger(__name__)


class Idempotency:
    """The name that a client gave its request, and the header that tells it that its request was sent before."""

    def __init__(
        self,
        request: Request,
        response: Response,
        idempotency_key: Annotated[
            str | None,
            Header(
                alias="Idempotency-Key",
                min_length=1,
                max_length=200,
                pattern=r"^[\x21-\x7e]+$",
                description="Any text of your own. The same request under the same key creates nothing twice.",
            ),
        ] = None,
    ) -> None:
        self._request = request
        self._response = response
        self._key = idempotency_key

    def keys(self, body: BaseModel, client_id: str | None = None) -> Keys:
        """What the store knows the request by: its key, and `client_id`, the name that the body gives it."""
        names = {"idempotency": self._key, "client": client_id}
        path = self._request.url.path
        return tuple(
            RequestKey(f"{kind}:{name}", fingerprint(path, body)) for kind, name in names.items() if name is not None
        )

    def mark(self, repeated: bool) -> None:
        """Say in the answer's header that the request was sent before, if it was."""
        if repeated:
            self._response.headers[REPLAYED] = "true"

    async def is_repeated(self, keys: Keys) -> bool:
        """Whether a request with one of `keys` was carried out before; marks the answer. Raises KeyReused."""
        known = await services(self._request).ads.intake.known(owner(self._request), keys)
        self.mark(known is not None)
        return known is not None

    @property
    def headers(self) -> Mapping[str, str]:
        """What was marked, for a route that returns a response of its own."""
        return {REPLAYED: value} if (value := self._response.headers.get(REPLAYED)) else {}


Idempotent: TypeAlias = Annotated[Idempotency, Depends()]
"""The parameter of a route whose requests may be sent again under an `Idempotency-Key`."""


def fingerprint(path: str, body: BaseModel) -> str:
    """sha256 of the address and of the checked body: the same for JSON of another layout and for another boundary."""
    text = json.dumps([path, _plain(body)], sort_keys=True, default=str)
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


def _one_by_one(value: Any) -> Any:
    """`product,style`, or the only role of a form, as a list; in any case."""
    roles = value.split(",") if isinstance(value, str) else value
    if not isinstance(roles, list | tuple):
        return roles
    named = [role.strip().lower() if isinstance(role, str) else role for role in roles]
    return [role for role in named if role != ""]


ReferenceRoles = Annotated[list[ReferenceRole], BeforeValidator(_one_by_one), Field(max_length=MAX_REFERENCES)]
"""What the references show, in their order; none: by their files' names, else products."""


def check_roles(roles: Sequence[ReferenceRole], count: int) -> None:
    """Raises Problem 422 unless there is one role for each of `count` references, or none at all."""
    if roles and len(roles) != count:
        text = f"reference_roles: {len(roles)} roles for {count} references: give one for each, in their order"
        raise Problem("invalid_request", text, "reference_roles")


class OpenBody(OpenObject):
    """A body of the contract's own orders, which clients of the old system send with fields that are unknown here.

    They are not used, and every answer about the ad says so in its `warnings`. Bodies of other routes refuse them.
    """

    @property
    def unused(self) -> tuple[str, ...]:
        """Names of the fields that are unknown here, also of those within fields."""
        names = list(self.model_extra or {})
        for name in type(self).model_fields:
            value = getattr(self, name)
            inner = value if isinstance(value, list | tuple) else [value]
            for index, each in enumerate(inner):
                if isinstance(each, OpenBody):
                    place = f"{name}.{index}" if each is not value else name
                    names += [f"{place}.{one}" for one in each.unused]
        return tuple(names)


def with_pictures(data: Any) -> Any:
    """A body with all its pictures as the list `reference_images`, whatever it calls their fields.

    The old system's second route took one as `image`; files of a form count under any name.
    """
    if not isinstance(data, dict):
        return data
    pictures: list[Any] = []
    rest: dict[Any, Any] = {}
    for name, value in data.items():
        several = value if isinstance(value, list) else [] if value is None else [value]
        if name in PICTURE_FIELDS or (several and all(isinstance(each, Upload) for each in several)):
            pictures += several
        else:
            rest[name] = value
    return {**rest, "reference_images": pictures} if pictures else rest


def unused_warnings(names: Sequence[str]) -> tuple[str, ...]:
    """What is said of the fields of a request that were not used; of very many the first."""
    told = [f"{name[:100]!r} is no field of this request: it was not used" for name in names[:MAX_UNUSED]]
    more = len(names) - MAX_UNUSED
    return (*told, *([f"{more} more fields of the request were not used"] if more > 0 else []))


class ReferenceBody(Plain):
    """A reference image with what it shows."""

    image: PictureSource
    """A file, base64 or an artifact id."""
    role: ReferenceRole | None = None
    """None: by the file's name (`character-anna.png`, `style=gold.png`), else `product`."""
    weight: Unit = 1.0
    """Weight among the references, 0 to 1."""


def flat_field(name: str) -> str:
    """The name that a field of `AdRequest` has in a body without `brief`."""
    return nested_field(name).removeprefix("brief.").replace("references", "reference_images")


def nested_field(name: str) -> str:
    """The name that a field of `AdRequest` has in a body with `brief`."""
    changed = name.replace("quality_gate", "quality").replace("quality_dimensions", "quality.dimensions")
    return f"quality.{changed}" if changed.partition(".")[0] == "candidates" else changed


class AdIntake:
    """Takes in the ads that one user asks for.

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
        roles: Sequence[ReferenceRole] = (),
        unused: Sequence[str] = (),
    ) -> Accepted:
        """A generation that waits for a worker. `unused`: names of the request's fields that nothing was made of.

        Raises BadInput, TooManyWaiting, QuotaExceeded, KeyReused, Gone, Problem.
        """
        if (known := await self._services.ads.intake.known(self._owner, keys)) is not None:
            return Accepted(known, repeated=True)
        request, artifacts, uploads = await self._with_references(request, references, roles)
        order = await self._plan(lambda: self._services.ads.planner.plan(request))
        manifest = traced(await asyncio.to_thread(self._services.ads.manifest))
        manifest = {**manifest, "warnings": [*order.warnings, *unused_warnings(unused)]}
        new = NewGeneration(order.brief, order.recipe, order.given, manifest, artifacts, parent_generation_id)
        async with kept_files(self._services, self._owner, uploads.values(), "image/png"):
            accepted = await self._services.ads.intake.generation(self._owner, new, keys)
        await notify(self._services.notifier.wake())
        return accepted

    async def compare(
        self,
        request: AdRequest,
        comparison_type: ComparisonType,
        variations: tuple[Variation, ...],
        references: Sequence[ReferenceBody | Upload | str],
        keys: Keys,
        roles: Sequence[ReferenceRole] = (),
        unused: Sequence[str] = (),
    ) -> Accepted:
        """A group with one generation per variation, which all have the same references. Raises as `take`."""
        if (known := await self._services.ads.intake.known(self._owner, keys)) is not None:
            return Accepted(known, repeated=True)
        request, artifacts, uploads = await self._with_references(request, references, roles)
        orders = await self._plan(lambda: self._services.ads.planner.compare(request, comparison_type, variations))
        manifest = traced(await asyncio.to_thread(self._services.ads.manifest))
        said = unused_warnings(unused)
        new = tuple(
            NewGeneration(one.brief, one.recipe, one.given, {**manifest, "warnings": [*one.warnings, *said]}, artifacts)
            for one in orders
        )
        async with kept_files(self._services, self._owner, uploads.values(), "image/png"):
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
        self, request: AdRequest, pictures: Sequence[ReferenceBody | Upload | str], roles: Sequence[ReferenceRole]
    ) -> tuple[AdRequest, tuple[StoredArtifact, ...], dict[str, bytes]]:
        """The request with its references, their artifacts, and the bytes of those not stored yet, by hash."""
        check_roles(roles, len(pictures))
        references: list[BriefReference] = []
        artifacts: list[StoredArtifact] = []
        uploads: dict[str, bytes] = {}
        for position, picture in enumerate(pictures):
            asked = picture if isinstance(picture, ReferenceBody) else ReferenceBody(image=picture)
            param = self._field_name(f"references.{position}")
            stored, data = await self._pictures.unstored(asked.image, param)
            if data is not None:
                uploads[stored.sha256] = data
            artifacts.append(stored)
            name = asked.image.filename if isinstance(asked.image, Upload) else f"{param}.png"
            references.append(
                BriefReference(
                    artifact=stored.sha256,
                    role=roles[position] if roles else asked.role or role_of(name),
                    filename=name[:200] or param,
                    weight=asked.weight,
                )
            )
        return replace(request, references=tuple(references)), tuple(artifacts), uploads


async def notify(call: Awaitable[None]) -> None:
    """Await a call of the worker notifier. When it fails, a worker finds the row by itself a little later."""
    try:
        await call
    except Exception:  # whatever the transport raises, the row is written
        logger.warning("the workers could not be notified", exc_info=True)


async def cancel(used: Services, user: str, generation_id: str) -> Generation:
    """Ask for the end of a generation; one that runs stops at its next denoising step. Raises NotFound."""
    await used.store.cancel(user, generation_id)
    await notify(used.notifier.cancel(generation_id))
    return await used.store.get(user, generation_id)


async def remove(used: Services, user: str, generation_id: str) -> None:
    """Cancel it if it runs, then delete its rows, and its files as far as no other row names them. Raises NotFound."""
    generation = await cancel(used, user, generation_id)
    until = time.monotonic() + STOP_SECONDS
    while generation.status == "processing" and time.monotonic() < until:
        await asyncio.sleep(LOOK_SECONDS)
        generation = await used.store.get(user, generation_id)
    unnamed = await used.ads.disposal.forget(user, generation_id)
    await remove_unnamed(used.ads, unnamed, generation.completed_at or datetime.now(UTC))
