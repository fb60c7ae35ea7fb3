"""A generation of the recipe `clip` as OpenAI's video object. Pure: rows in, object out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipelines.stages.registry import wanted_stages
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
"""Progress of a clip whose last step is done and whose row does not say so yet."""


def video_object(
    generation: Generation, events: Sequence[Event], takes: Sequence[Take], queue_position: int | None
) -> VideoObject:
    """`events`: the milestones, or none while it waits; `takes`: all, or none before it has ended."""
    model = generation.manifest["models"]["video"]
    settings = generation.recipe.video
    frames = settings.num_frames or 0
    width, height = settings.size or (0, 0)
    clip = final_clip(takes)
    return VideoObject(
        id=generation.id,
        model=model["name"],
        status=STATUS[generation.status],
        progress=_progress(generation, events),
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


def _progress(generation: Generation, events: Sequence[Event]) -> int:
    """Percent by the stages' weights and, inside the running stage, by its denoising steps."""
    if generation.status != "processing":
        return generation.progress
    stages = wanted_stages(generation.recipe, frozenset(generation.given))
    shares: dict[str, float] = {stage.name: 0.0 for stage in stages}
    for event in events:
        if event.kind == "generation_started":  # a resumed generation passes its finished stages without a word
            shares = {name: share if share == 1.0 else 0.0 for name, share in shares.items()}
        stage = (event.step or "").partition("/")[0]
        if stage not in shares:
            continue
        if event.kind == "stage_completed":
            shares[stage] = 1.0
        elif event.kind == "step_progress" and event.data.get("total"):
            shares[stage] = event.data["done"] / event.data["total"]
    done = sum(stage.weight * shares[stage.name] for stage in stages)
    total = sum(stage.weight for stage in stages)
    return min(ALMOST, round(100 * done / total)) if total else generation.progress
