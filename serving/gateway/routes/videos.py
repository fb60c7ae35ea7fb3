"""`/v1/videos`: clips as stored generations. A row is written before anything runs, so a restart loses none of them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from pipelines.media import encode_jpeg, stream_clip
from pipelines.store.intake import Order
from pipelines.store.records import Generation
from serving.gateway import removal
from serving.gateway.bodies import FORM_TYPE, JSON_TYPE, body_schema, read_body
from serving.gateway.byte_ranges import file_response
from serving.gateway.idempotency import REPLAYED, IdempotencyKey, request_key
from serving.gateway.identity import owner
from serving.gateway.problems import Problem
from serving.gateway.queue import check_queue, tell
from serving.gateway.schemas.sampling import MAX_PICTURES
from serving.gateway.schemas.videos import VideoCreate, VideoDeleted, VideoList, VideoObject
from serving.gateway.services import Services, services
from serving.gateway.uploads import Pictures
from serving.gateway.video_orders import video_order
from serving.gateway.video_views import STATUS, final_clip, video_object

router = APIRouter(prefix="/v1/videos", tags=["videos"])

RECIPE = "clip"
"""Only generations of this recipe are videos here."""
BODY_TYPES = (FORM_TYPE, JSON_TYPE)
CREATE_FILES = 1 + MAX_PICTURES
"""`input_reference` and the pictures of `ip_adapter`."""
MAX_PAGE = 100
CONTENT_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {"description": "The file", "content": {"video/mp4": {}, "image/jpeg": {}}},
    206: {"description": "One range of it", "content": {"video/mp4": {}}},
    304: {"description": "The caller has it already"},
}


@router.post("", openapi_extra=body_schema(VideoCreate, BODY_TYPES))
async def create_video(request: Request, response: Response, idempotency_key: IdempotencyKey = None) -> VideoObject:
    """Ask for a clip. It is stored, then made by a worker; poll it by its id."""
    used, user = services(request), owner(request)
    body = await read_body(request, VideoCreate, CREATE_FILES, used.limits.upload_bytes, BODY_TYPES)
    keys = request_key(request, idempotency_key, body)
    known = await used.ads.intake.known(user, keys)
    if known is not None:
        response.headers[REPLAYED] = "true"
        return await _view(used, await _video(used, user, known))
    await check_queue(used)
    order = await video_order(body, used.backend.specs, used.keyframe_model, Pictures(used, user))
    new = await asyncio.to_thread(used.plan_clip, order)
    accepted = await used.ads.intake.generation(user, Order(new.brief, new.recipe, new.given, new.manifest), keys)
    await tell(used.worker.wake())
    return await _view(used, await _video(used, user, accepted.id))


@router.get("")
async def list_videos(
    request: Request,
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 20,
    order: Literal["asc", "desc"] = "desc",
) -> VideoList:
    """The caller's clips, newest first unless `order` says otherwise."""
    used = services(request)
    rows = await used.store.page(owner(request), RECIPE, after, limit + 1, newest_first=order == "desc")
    shown = [await _view(used, row) for row in rows[:limit]]
    return VideoList(
        data=shown,
        first_id=shown[0].id if shown else None,
        last_id=shown[-1].id if shown else None,
        has_more=len(rows) > limit,
    )


@router.get("/{video_id}")
async def get_video(request: Request, video_id: str) -> VideoObject:
    """One clip: its place in the queue, its progress, or its end."""
    used = services(request)
    return await _view(used, await _video(used, owner(request), video_id))


@router.get("/{video_id}/content", response_class=Response, responses=CONTENT_RESPONSES)
async def get_content(request: Request, video_id: str, variant: Literal["video", "thumbnail"] = "video") -> Response:
    """The MP4, or a JPEG of its first frame."""
    used = services(request)
    generation = await _video(used, owner(request), video_id)
    clip = final_clip(await used.store.takes(video_id))
    if generation.status != "completed" or clip is None:
        text = f"video {video_id!r} is {STATUS[generation.status]}: it has no content"
        raise Problem("conflict", text, "video_id", headers={"x-should-retry": "false"})
    data = await asyncio.to_thread(used.artifacts.read, clip.artifact)
    if variant == "thumbnail":
        return Response(await asyncio.to_thread(_thumbnail, data), media_type="image/jpeg")
    return file_response(request, data, "video/mp4", clip.artifact)


@router.delete("/{video_id}")
async def delete_video(request: Request, video_id: str) -> VideoDeleted:
    """Cancel a clip that waits or runs, which frees its device within a denoising step; forget one that has ended."""
    used, user = services(request), owner(request)
    before = await _video(used, user, video_id)
    if before.status not in ("pending", "processing"):
        await removal.remove(used, user, video_id)
        return VideoDeleted(id=video_id, deleted=True, status=STATUS[before.status])
    await used.store.cancel(user, video_id)
    await tell(used.worker.cancel(video_id))
    after = await used.store.get(user, video_id)
    return VideoDeleted(id=video_id, deleted=False, status=STATUS[after.status])


async def _video(used: Services, user: str, video_id: str) -> Generation:
    """Raises NotFound, and Problem 404 for a generation that is no video."""
    generation = await used.store.get(user, video_id)
    if generation.recipe.name != RECIPE:
        raise Problem("not_found", f"no video {video_id!r}", "video_id")
    return generation


async def _view(used: Services, generation: Generation) -> VideoObject:
    """Asks only for the rows that this state shows: clients poll, and reading costs more than all else in an answer."""
    if generation.status == "pending":
        return video_object(generation, (), (), await used.store.queue_position(generation.id))
    if generation.status == "processing":
        return video_object(generation, (), (), None)
    events, takes = await asyncio.gather(used.store.milestones(generation.id), used.store.takes(generation.id))
    return video_object(generation, events, takes, None)


def _thumbnail(clip: bytes) -> bytes:
    return encode_jpeg(next(iter(stream_clip(clip))))
