"""`/v1/videos`: clips as stored generations. A row is written before anything runs, so a restart loses none of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request, Response

from models.spec import ImageModelSpec, PictureModelSpec, Size, VideoModelSpec
from pipelines.brief import BriefReference
from pipelines.coherence import random_seed
from pipelines.media import encode_jpeg, image_size, stream_clip
from pipelines.orders.clip import ClipOrder
from pipelines.records import Event, Generation, GenerationStatus, Take
from pipelines.runtime.traces import traced
from pipelines.stages.gate import NOTICE as GATE
from pipelines.steps import StoredArtifact
from serving.backends.interface import Spec
from serving.gateway import orders
from serving.gateway.answers import Download, artifact_response, made_response
from serving.gateway.auth.gate import owner
from serving.gateway.openai.answers import VideoDeleted, VideoError, VideoList, VideoObject, VideoStatus
from serving.gateway.openai.sampling import (
    MAX_PICTURES,
    adapter_settings,
    check_adapter,
    find_model,
    roles,
    sampled,
    sources,
    weights,
)
from serving.gateway.openai.schemas import VideoCreate
from serving.gateway.openai.sizes import check_fills, fitting_frames, fitting_size
from serving.gateway.orders import Idempotent, notify
from serving.gateway.pictures import IMAGE_TYPES, Pictures, is_artifact_id, kept_files
from serving.gateway.problems import Problem, refuse
from serving.gateway.requests import FORM_TYPE, JSON_TYPE, Id, PictureSource, body_schema, parse_body
from serving.gateway.services import Services, services

router = APIRouter(prefix="/v1/videos", tags=["videos"])
RECIPE = "clip"
"""Only generations of this recipe are videos here."""
BODY_TYPES = (FORM_TYPE, JSON_TYPE)
CREATE_FILES = 1 + MAX_PICTURES
"""`input_reference` and the pictures of `ip_adapter`."""
MAX_PAGE = 100
CONTENT_RESPONSES: dict[int | str, dict[str, object]] = {
    200: {"description": "The file", "content": {"video/mp4": {}, "image/jpeg": {}}},
    206: {"description": "One range of it", "content": {"video/mp4": {}, "image/jpeg": {}}},
    304: {"description": "The caller has it already"},
}
STATUS: dict[GenerationStatus, VideoStatus] = {
    "pending": "queued",
    "processing": "in_progress",
    "awaiting_approval": "in_progress",  # the recipe `clip` asks for none
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
SPRITE_SIDE = 4
ALMOST = 99
"""The most that a clip shows which is not completed yet."""


@router.post("", openapi_extra=body_schema(VideoCreate, BODY_TYPES))
async def create_video(request: Request, idempotency: Idempotent) -> VideoObject:
    """Ask for a clip. It is stored, then made by a worker; poll it by its id."""
    used, user = services(request), owner(request)
    body = await parse_body(request, VideoCreate, CREATE_FILES, used.limits.upload_bytes, BODY_TYPES)
    keys = idempotency.keys(body)
    known = await used.ads.intake.known(user, keys)
    if known is not None:
        idempotency.mark(repeated=True)
        return await _view(used, await _video(used, user, known))
    asked = await clip_order(body, used.backend.specs, used.keyframe_model, Pictures(used, user))
    new = await asyncio.to_thread(used.plan_clip, asked.order)
    new = replace(new, manifest=traced({**new.manifest, "warnings": list(asked.notes)}), artifacts=asked.files)
    async with kept_files(used, user, asked.uploads, "image/png"):
        accepted = await used.ads.intake.generation(user, new, keys)
    idempotency.mark(accepted.repeated)
    await notify(used.notifier.wake())
    return await _view(used, await _video(used, user, accepted.id))


@router.get("")
async def list_videos(
    request: Request,
    after: Id | None = None,
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
async def get_video(request: Request, video_id: Id) -> VideoObject:
    """One clip with its place in the queue, its progress or its result."""
    used = services(request)
    return await _view(used, await _video(used, owner(request), video_id))


@router.get("/{video_id}/content", response_class=Response, responses=CONTENT_RESPONSES)
async def get_content(
    request: Request,
    video_id: Id,
    variant: Literal["video", "thumbnail", "spritesheet"] = "video",
    download: Download = False,
) -> Response:
    """The MP4, a JPEG of its first frame, or a JPEG of frames from all of it, row by row."""
    used = services(request)
    generation = await _video(used, owner(request), video_id)
    clip = final_clip(await used.store.takes(video_id))
    if generation.status != "completed" or clip is None:
        text = f"video {video_id!r} is {STATUS[generation.status]}: it has no content"
        raise Problem("conflict", text, "video_id", final=True)
    name = f"video-{video_id[:8]}"
    if variant == "video":
        return await artifact_response(request, clip.artifact, name, download)
    data = await asyncio.to_thread(used.artifacts.read, clip.artifact)
    if variant == "spritesheet":
        picture = await asyncio.to_thread(_spritesheet, data, generation.recipe.video.num_frames or 1)
    else:
        picture = await asyncio.to_thread(_thumbnail, data)
    return made_response(request, picture, "image/jpeg", f"{name}-{variant}", download)


@router.delete("/{video_id}")
async def delete_video(request: Request, video_id: Id) -> VideoDeleted:
    """Cancel a clip that waits or runs, which frees its device within a denoising step; delete one that has ended."""
    used, user = services(request), owner(request)
    before = await _video(used, user, video_id)
    if before.status not in ("pending", "processing"):
        await orders.remove(used, user, video_id)
        return VideoDeleted(id=video_id, deleted=True, status=STATUS[before.status])
    await used.store.cancel(user, video_id)
    await notify(used.notifier.cancel(video_id))
    after = await used.store.get(user, video_id)
    return VideoDeleted(id=video_id, deleted=False, status=STATUS[after.status])


async def _video(used: Services, user: str, video_id: str) -> Generation:
    """The generation behind a video. Raises NotFound, and Problem 404 for a generation that is no video."""
    generation = await used.store.get(user, video_id)
    if generation.recipe.name != RECIPE:
        raise Problem("not_found", f"no video {video_id!r}", "video_id")
    return generation


async def _view(used: Services, generation: Generation) -> VideoObject:
    """The video as its state shows it: only those rows are read, because clients poll and reading is what costs."""
    if generation.status == "pending":
        return video_object(generation, (), (), await used.store.queue_position(generation.id))
    if generation.status == "processing":
        return video_object(generation, (), (), None)
    events, takes = await asyncio.gather(used.store.milestones(generation.id), used.store.takes(generation.id))
    return video_object(generation, events, takes, None)


def _thumbnail(clip: bytes) -> bytes:
    return encode_jpeg(next(iter(stream_clip(clip))))


def _spritesheet(clip: bytes, num_frames: int) -> bytes:
    """At most SPRITE_SIDE x SPRITE_SIDE of `num_frames`, evenly spaced, row by row; the last row is filled up black."""
    count = min(num_frames, SPRITE_SIDE**2)
    wanted = set(np.linspace(0, num_frames - 1, count).round().astype(int).tolist())
    sprites = [frame for place, frame in enumerate(stream_clip(clip)) if place in wanted]
    columns = math.ceil(math.sqrt(count))
    sprites += [np.zeros_like(sprites[0])] * (-len(sprites) % columns)
    rows = [np.hstack(sprites[start : start + columns]) for start in range(0, len(sprites), columns)]
    return encode_jpeg(np.vstack(rows))


@dataclass(frozen=True)
class AskedClip:
    """A checked order for a clip."""

    order: ClipOrder
    notes: tuple[str, ...]
    """On what is not made as asked."""
    files: tuple[StoredArtifact, ...]
    """Its pictures, which live as long as the clip does."""
    uploads: list[bytes]
    """The bytes of those that are not stored yet."""


async def clip_order(
    body: VideoCreate, specs: Mapping[str, Spec], keyframe_model: str, pictures: Pictures
) -> AskedClip:
    """The order in a body, checked against its model. Raises Problem."""
    spec, of_model = find_model(specs, body.model, VideoModelSpec, body.strict)
    frames, of_length = fitting_frames(spec, body.seconds, body.num_frames, body.strict)
    _check(body, spec)
    if body.ip_adapter is not None and body.ip_adapter.mask is not None:
        text = "ip_adapter.mask: a clip keeps its references to no region; draw its first frame with a mask instead"
        raise Problem("unsupported", text, "ip_adapter.mask")
    sized: list[tuple[PictureModelSpec, int]] = [(spec, frames)]
    if body.first_picture is None and spec.first_frame == "required":
        keyframes, _ = find_model(specs, keyframe_model, ImageModelSpec)
        sized.append((keyframes, 1))
        check_adapter(keyframes, body.ip_adapter)
    else:
        check_adapter(spec, body.ip_adapter)
    first_frame, references, files, uploads = await _pictures(body, pictures)
    like = await _shape(body.first_picture, uploads, pictures)
    size, of_size = fitting_size(sized, body.size, body.strict, like)
    if like is not None:
        check_fills(like, size, "input_reference", body.strict)
    sample = sampled(body, spec)
    order = ClipOrder(
        prompt=body.prompt,
        model=spec.name,
        size=size,
        num_frames=frames,
        noise=body.coherence.noise(random_seed() if body.seed is None else body.seed),
        num_inference_steps=sample.num_inference_steps,
        guidance_scale=sample.guidance_scale,
        negative_prompt=body.negative_prompt,
        camera=body.camera,
        first_frame=first_frame,
        references=references,
        adapter=adapter_settings(body.ip_adapter),
        loras=sample.loras,
        deterministic=body.deterministic,
    )
    return AskedClip(order, (*of_model, *of_length, *of_size), files, uploads)


def _check(body: VideoCreate, spec: VideoModelSpec) -> None:
    sampled(body, spec)
    if body.fps is not None and body.fps != spec.native_fps:
        refuse("fps", f"fps: model {spec.name!r} makes {spec.native_fps} frames per second", fps=spec.native_fps)
    if body.camera not in spec.camera_moves:
        moves = ", ".join(spec.camera_moves)
        refuse("camera", f"camera: model {spec.name!r} does not know {body.camera!r}; choose from {moves}")
    if body.first_picture is not None and spec.first_frame == "unused":
        refuse("input_reference", f"input_reference: model {spec.name!r} makes clips from text alone; leave it out")


async def _shape(first: PictureSource | None, uploads: Sequence[bytes], pictures: Pictures) -> Size | None:
    """Width and height of the picture that the clip starts from; it is the first of `uploads`, or an artifact."""
    if first is None:
        return None
    known = isinstance(first, str) and is_artifact_id(first)
    data = await pictures.artifact(str(first), "input_reference", IMAGE_TYPES) if known else uploads[0]
    return await asyncio.to_thread(image_size, data)


async def _pictures(
    body: VideoCreate, pictures: Pictures
) -> tuple[str | None, tuple[BriefReference, ...], tuple[StoredArtifact, ...], list[bytes]]:
    """The first frame and the references, what they are as artifacts, and the bytes of those not stored yet."""
    first = [] if body.first_picture is None else [("input_reference", body.first_picture)]
    adapter = body.ip_adapter
    named = [] if adapter is None else sources(adapter)
    read = [await pictures.unstored(source, param) for param, source in (*first, *named)]
    files, uploads = tuple(stored for stored, _ in read), [data for _, data in read if data is not None]
    ids = [stored.sha256 for stored in files]
    first_frame = ids.pop(0) if first else None
    if adapter is None:
        return first_frame, (), files, uploads
    count = len(adapter.images)
    bound = zip(named, ids, roles(adapter, count), weights(adapter, count), strict=True)
    references = tuple(
        BriefReference(artifact=artifact, role=role, filename=param, weight=weight)
        for (param, _), artifact, role, weight in bound
    )
    return first_frame, references, files, uploads


def video_object(
    generation: Generation, events: Sequence[Event], takes: Sequence[Take], queue_position: int | None
) -> VideoObject:
    """A generation as the answer shows it. `events` (milestones) and `takes`: all, or none before it has ended."""
    model = generation.manifest["models"]["video"]
    settings = generation.recipe.video
    frames = settings.num_frames or 0
    width, height = settings.size or (0, 0)
    clip = final_clip(takes)
    return VideoObject(
        id=generation.id,
        model=model["name"],
        status=STATUS[generation.status],
        progress=generation.progress if generation.status == "completed" else min(ALMOST, generation.progress),
        created_at=int(generation.created_at.timestamp()),
        completed_at=None if generation.completed_at is None else int(generation.completed_at.timestamp()),
        prompt=generation.brief.prompt,
        size=f"{width}x{height}",
        seconds=f"{frames / model['native_fps']:g}",
        error=_error(generation),
        queue_position=queue_position,
        cancellation_requested=generation.cancellation_requested and generation.status == "processing",
        num_frames=frames,
        fps=model["native_fps"],
        seed=generation.brief.seed,
        artifact=clip.artifact if clip else None,
        first_frame=_first_frame(generation, takes),
        noise_sha256=clip.provenance.get("noise_sha256") if clip else None,
        notes=(
            *generation.manifest.get("warnings", ()),
            *(event.message for event in events if _tells(event)),
        ),
    )


def _tells(event: Event) -> bool:
    """Whether who ordered a clip is to read it: every notice but a judgement of the gate that costs nothing."""
    return event.kind == "notice" and (event.severity == "warning" or event.data.get("notice") != GATE)


def final_clip(takes: Sequence[Take]) -> Take | None:
    """The current clip; None before there is one."""
    return next((take for take in takes if take.kind == "clip" and take.current), None)


def _first_frame(generation: Generation, takes: Sequence[Take]) -> str | None:
    given: list[dict[str, Any]] = generation.given.get("keyframes") or []
    drawn = next((take.artifact for take in takes if take.kind == "keyframe" and take.current), None)
    return str(given[0]["artifact"]) if given else drawn


def _error(generation: Generation) -> VideoError | None:
    if generation.status != "failed":
        return None
    return VideoError(code="generation_failed", message=generation.error_message or "the generation failed")
