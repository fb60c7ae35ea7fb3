"""A generation of the recipe `clip` as OpenAI's video object. Pure: rows in, object out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.store.records import Event, Generation, GenerationStatus, Take
from serving.gateway.schemas.videos import VideoError, VideoObject, VideoStatus

STATUS: dict[GenerationStatus, VideoStatus] = {
    "pending": "queued",
    "processing": "in_progress",
    "awaiting_approval": "in_progress",  # the recipe `clip` asks for none
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
ALMOST = 99
"""The most that a clip shows which is not completed yet."""


def video_object(
    generation: Generation, events: Sequence[Event], takes: Sequence[Take], queue_position: int | None
) -> VideoObject:
    """`events`: the milestones, and `takes`: all, or none of both before it has ended."""
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
        notes=tuple(event.message for event in events if event.kind == "notice"),
    )


def final_clip(takes: Sequence[Take]) -> Take | None:
    """The current clip, once there is one."""
    return next((take for take in takes if take.kind == "clip" and take.current), None)


def _first_frame(generation: Generation, takes: Sequence[Take]) -> str | None:
    given: list[dict[str, Any]] = generation.given.get("keyframes") or []
    drawn = next((take.artifact for take in takes if take.kind == "keyframe" and take.current), None)
    return str(given[0]["artifact"]) if given else drawn


def _error(generation: Generation) -> VideoError | None:
    if generation.status != "failed":
        return None
    return VideoError(code="generation_failed", message=generation.error_message or "the generation failed")
