"""`/v1/artifacts/{sha256}`: a file by its hash, for its owners, and its signed address, for whoever they give it to.

An artifact belongs to the owner of a generation that made it, and to who made or uploaded it in a single call
(`pipelines.store.ownership`). To everyone else it does not exist.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from models.interfaces import Plain
from serving.gateway.answers import Download, artifact_response
from serving.gateway.auth.gate import owner
from serving.gateway.pictures import remove_unnamed
from serving.gateway.services import services
from serving.gateway.signed import SIGNED_SECONDS, SignedAddress, SignedSeconds, signed

router = APIRouter(prefix="/v1/artifacts", tags=["artifacts"])

FILE_TYPES = ("image/png", "image/jpeg", "image/webp", "video/mp4", "application/x-safetensors")
FILE_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {"description": "The file", "content": {name: {} for name in FILE_TYPES}},
    206: {"description": "One range of it", "content": {name: {} for name in FILE_TYPES}},
    304: {"description": "The caller has it already"},
}
Sha256 = Annotated[str, Path(max_length=64, pattern=r"^[0-9a-f]{64}$", description="sha256 of the file")]


MAX_PAGE = 100


class ArtifactObject(Plain):
    """A file that was made or sent in a single call, and belongs to no generation."""

    id: str
    """sha256 of its bytes."""
    object: Literal["artifact"] = "artifact"
    """Always `artifact`."""
    media_type: str
    """Such as `image/png`."""
    bytes: int
    """Its size."""
    created_at: int
    """Unix seconds of the last call that made or sent it; so long after that as the server says it expires."""


class ArtifactList(Plain):
    """A page of single files."""

    object: Literal["list"] = "list"
    """Always `list`."""
    data: list[ArtifactObject]
    """Newest first."""
    last_id: str | None
    """The next page comes after this one."""
    has_more: bool
    """Whether there are more after these."""


class ArtifactDeleted(Plain):
    """What became of a file."""

    id: str
    """sha256 of its bytes."""
    object: Literal["artifact.deleted"] = "artifact.deleted"
    """Always `artifact.deleted`."""
    deleted: Literal[True] = True
    """It is gone for this caller; its bytes are, when nobody else has them."""


@router.get("")
async def list_artifacts(
    request: Request,
    after: Annotated[str | None, Query(max_length=64, pattern=r"^[0-9a-f]{64}$")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
) -> ArtifactList:
    """The caller's single files, newest first: pictures and latents that no generation has."""
    found = await services(request).owners.page(owner(request), after, limit + 1)
    data = [
        ArtifactObject(
            id=each.sha256, media_type=each.media_type, bytes=each.size, created_at=int(each.created_at.timestamp())
        )
        for each in found[:limit]
    ]
    return ArtifactList(data=data, last_id=data[-1].id if data else None, has_more=len(found) > limit)


@router.delete("/{sha256}")
async def delete_artifact(request: Request, sha256: Sha256) -> ArtifactDeleted:
    """Delete a single file; 409 while one of the caller's generations has it: delete that."""
    used, user, now = services(request), owner(request), datetime.now(UTC)
    if await used.ads.disposal.forget_file(user, sha256):
        await remove_unnamed(used.ads, frozenset({sha256}), now)
    return ArtifactDeleted(id=sha256)


@router.get(
    "/{sha256}",
    response_class=Response,
    responses=FILE_RESPONSES,
    openapi_extra={"security": [{"bearer": []}, {"apiKey": []}, {"cookie": []}, {"signature": []}]},
)
async def get_artifact(request: Request, sha256: Sha256, download: Download = False) -> Response:
    """A file, whole or one range of it. `?signature=…` of a signed address stands for credentials."""
    return await artifact_response(request, sha256, f"admint-{sha256[:12]}", download)


@router.get("/{sha256}/address")
async def get_address(request: Request, sha256: Sha256, seconds: SignedSeconds = SIGNED_SECONDS) -> SignedAddress:
    """A signed address of a file: for pages of other origins, players and clients that send no credentials."""
    return await signed(request, sha256, seconds)
