"""`/v1/artifacts/{sha256}`: a file by its hash, for its owners.

An artifact belongs to the owner of a generation that made it, and to who made or uploaded it in a single call
(`pipelines.store.ownership`). To everyone else it does not exist.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from serving.gateway.answers import file_response
from serving.gateway.auth.gate import owner
from serving.gateway.services import services

router = APIRouter(prefix="/v1/artifacts", tags=["artifacts"])

FILE_TYPES = ("image/png", "image/jpeg", "image/webp", "video/mp4", "application/x-safetensors")
FILE_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {"description": "The file", "content": {name: {} for name in FILE_TYPES}},
    206: {"description": "One range of it", "content": {name: {} for name in FILE_TYPES}},
    304: {"description": "The caller has it already"},
}


@router.get("/{sha256}", response_class=Response, responses=FILE_RESPONSES)
async def get_artifact(
    request: Request, sha256: Annotated[str, Path(max_length=64, pattern=r"^[0-9a-f]{64}$")]
) -> Response:
    """A file, whole or one range of it."""
    stored = await services(request).owners.find(owner(request), sha256)
    data = await asyncio.to_thread(services(request).artifacts.read, sha256)
    return file_response(request, data, stored.media_type, sha256)
