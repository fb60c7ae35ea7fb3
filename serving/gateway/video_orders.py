"""From the body of `POST /v1/videos` to a complete `VideoOrder`, checked against its model before it is queued."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from models.interfaces import NoiseSpec
from models.spec import ImageModelSpec, Size, VideoModelSpec
from pipelines.brief import BriefReference
from serving.gateway.adapters import adapter_settings, check_adapter, roles, sources, weights
from serving.gateway.backends import Spec
from serving.gateway.image_orders import SEED_BITS
from serving.gateway.model_checks import check_loras, check_size, find_model, pick_size
from serving.gateway.problems import Problem, refuse
from serving.gateway.schemas.videos import VideoCreate
from serving.gateway.uploads import Pictures
from serving.video_order import VideoOrder


async def video_order(
    body: VideoCreate, specs: Mapping[str, Spec], keyframe_model: str, pictures: Pictures
) -> VideoOrder:
    """Pictures are stored on the way, last of all. Raises Problem."""
    spec = find_model(specs, body.model, VideoModelSpec)
    size = pick_size(spec, body.size)
    frames = frame_count(spec, body)
    _check(body, spec, size, frames)
    if body.ip_adapter is not None and body.ip_adapter.mask is not None:
        text = "ip_adapter.mask: a clip keeps its references to no region; draw its first frame with a mask instead"
        raise Problem("unsupported", text, "ip_adapter.mask")
    if body.first_picture is None and spec.first_frame == "required":
        keyframes = find_model(specs, keyframe_model, ImageModelSpec)
        check_size(keyframes, size)
        check_adapter(keyframes, body.ip_adapter)
    else:
        check_adapter(spec, body.ip_adapter)
    first_frame, references = await _pictures(body, pictures)
    return VideoOrder(
        prompt=body.prompt,
        model=spec.name,
        size=size,
        num_frames=frames,
        noise=NoiseSpec(
            seed=secrets.randbits(SEED_BITS) if body.seed is None else body.seed,
            shared_seed=body.coherence.shared_seed,
            shared_strength=body.coherence.shared_strength,
        ),
        num_inference_steps=body.num_inference_steps or spec.num_inference_steps,
        guidance_scale=spec.guidance_scale if body.guidance_scale is None else body.guidance_scale,
        negative_prompt=body.negative_prompt,
        camera=body.camera,
        first_frame=first_frame,
        references=references,
        adapter=adapter_settings(body.ip_adapter),
        loras=body.loras,
        deterministic=body.deterministic,
    )


def frame_count(spec: VideoModelSpec, body: VideoCreate) -> int:
    """Frames at the native rate: as asked, or nearest to the seconds asked for. Raises Problem 422 with the limit."""
    if body.num_frames is None and body.seconds is None:
        return spec.max_frames
    wanted = body.num_frames
    if body.seconds is not None:
        nearest = _nearest(spec, body.seconds)
        if nearest > spec.max_frames:
            longest = spec.max_frames / spec.native_fps
            text = f"seconds: model {spec.name!r} makes at most {longest:g} s at {spec.native_fps} fps"
            refuse("seconds", text, max_seconds=longest)
        if wanted is not None and wanted != nearest:
            text = f"num_frames {wanted} is not what {body.seconds:g} s are ({nearest} frames): give one of them"
            refuse("num_frames", text)
        wanted = nearest
    return _checked(spec, wanted or 1)


def _nearest(spec: VideoModelSpec, seconds: float) -> int:
    frames = max(1, round(seconds * spec.native_fps))
    if spec.frame_multiple == 1:
        return frames
    return spec.frame_multiple * round((frames - 1) / spec.frame_multiple) + 1


def _checked(spec: VideoModelSpec, frames: int) -> int:
    if frames > spec.max_frames:
        text = f"num_frames {frames}: model {spec.name!r} makes at most {spec.max_frames}"
        refuse("num_frames", text, max_frames=spec.max_frames)
    if spec.frame_multiple > 1 and frames % spec.frame_multiple != 1:
        text = f"num_frames {frames}: model {spec.name!r} makes {spec.frame_multiple} x k + 1 frames"
        refuse("num_frames", text, frame_multiple=spec.frame_multiple)
    return frames


def _check(body: VideoCreate, spec: VideoModelSpec, size: Size, frames: int) -> None:
    check_size(spec, size, frames)
    if size[0] % 2 or size[1] % 2:
        refuse("size", f"size {size[0]}x{size[1]}: both sides of a video must be even", size_multiple=2)
    check_loras(spec, body.loras)
    if body.fps is not None and body.fps != spec.native_fps:
        refuse("fps", f"fps: model {spec.name!r} makes {spec.native_fps} frames per second", fps=spec.native_fps)
    if body.camera not in spec.camera_moves:
        moves = ", ".join(spec.camera_moves)
        refuse("camera", f"camera: model {spec.name!r} does not know {body.camera!r}; choose from {moves}")
    if body.first_picture is not None and spec.first_frame == "unused":
        refuse("input_reference", f"input_reference: model {spec.name!r} makes clips from text alone; leave it out")


async def _pictures(body: VideoCreate, pictures: Pictures) -> tuple[str | None, tuple[BriefReference, ...]]:
    """The first frame and the references, stored."""
    first = [] if body.first_picture is None else [("input_reference", body.first_picture)]
    adapter = body.ip_adapter
    named = [] if adapter is None else sources(adapter)
    ids = await pictures.kept([*first, *named])
    first_frame = ids.pop(0) if first else None
    if adapter is None:
        return first_frame, ()
    count = len(adapter.images)
    bound = zip(named, ids, roles(adapter, count), weights(adapter, count), strict=True)
    return first_frame, tuple(
        BriefReference(artifact=artifact, role=role, filename=param, weight=weight)
        for (param, _), artifact, role, weight in bound
    )
