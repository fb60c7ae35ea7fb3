"""A generation as the contract's objects. Pure: rows in, objects out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.errors import BadInput
from pipelines.recipe import StageName
from pipelines.records import Event, Generation, GenerationOutputs, Group, Take
from pipelines.report.record import RunRecord, collect
from pipelines.report.verdict import approval_status, warnings
from pipelines.screenplay import FinalVideo, ScenesResult, StoryResult
from pipelines.stages.registry import STAGES, wanted_stages
from pipelines.stages.state import RunState
from pipelines.steps import Message, step_title
from pipelines.timing import plan_slots
from serving.gateway.generations.answers import (
    GenerationDetail,
    GenerationObject,
    GroupObject,
    MessageObject,
    TakeObject,
)
from serving.gateway.proxies import address, artifact_url
from serving.gateway.services import Services

FILES = "/api/generations"
MASTER, MASTER_FRAMEWORK = "master", "master_mode"
Outputs = Mapping[StageName, Any]
"""What each finished stage made."""


def generation_object(generation: Generation) -> GenerationObject:
    """The entry of a list, from the row alone."""
    return GenerationObject(**_fields(generation, has_video=generation.status == "completed"))


def generation_detail(generation: Generation, made: GenerationOutputs) -> GenerationDetail:
    outputs = made.outputs
    clips = sorted(take.scene_number or 0 for take in made.takes if take.kind == "clip" and take.current)
    story, scenes = texts(outputs)
    fields = _fields(generation, has_video="stitch" in outputs)
    fields["warnings"] = list(warnings(generation.manifest, story, scenes))
    return GenerationDetail(
        **fields,
        llm_specification=outputs.get("story"),
        scene_plan=outputs.get("scenes") or generation.given.get("scenes"),
        llm_conversation_history=[message_object(message) for message in made.messages],
        temp_clip_paths=[address(f"{FILES}/{generation.id}/clips/{number}") for number in clips],
        num_clips=len(clips),
        has_sound=FinalVideo.model_validate(outputs["stitch"]).has_sound if "stitch" in outputs else None,
        references=[reference.model_dump(mode="json") for reference in generation.brief.references],
        manifest=generation.manifest,
        facts=story.facts if story else None,
        approval_status=approval_status(story, scenes),
        last_seq=made.last_seq,
    )


def group_object(group: Group, generations: Sequence[Generation]) -> GroupObject:
    return GroupObject(
        id=group.id,
        user_id=group.user_id,
        comparison_type=group.comparison_type,
        winner_generation_id=group.winner_generation_id,
        created_at=group.created_at,
        generations=[generation_object(generation) for generation in generations],
    )


def texts(outputs: Outputs) -> tuple[StoryResult | None, ScenesResult | None]:
    """Story and scenes, as far as they are made."""
    story, scenes = outputs.get("story"), outputs.get("scenes")
    return (
        None if story is None else StoryResult.model_validate(story),
        None if scenes is None else ScenesResult.model_validate(scenes),
    )


def told(event: Event) -> str:
    """An event's message; of a step with what the step makes: `picture of scene 2: step 3 of 20`."""
    if event.step is None or not event.kind.startswith("step_"):
        return event.message
    return f"{step_title(event.step)}: {event.message}"


def message_object(message: Message) -> MessageObject:
    return MessageObject(**message.model_dump())


def take_object(take: Take) -> TakeObject:
    return TakeObject(**take.model_dump(), url=artifact_url(take.artifact))


async def run_record(used: Services, user: str, generation_id: str) -> RunRecord:
    """The record of a generation, complete or not. Raises NotFound."""
    generation = await used.store.get(user, generation_id)
    made = {STAGES[stage].makes: output for stage, output in (await used.store.outputs(generation_id)).items()}
    state = RunState.model_validate({**generation.given, **made})
    return await collect(used.store, user, generation_id, state)


def stages_of(generation: Generation) -> tuple[StageName, ...]:
    """The stages that run in a generation."""
    return tuple(stage.name for stage in wanted_stages(generation.recipe, frozenset(generation.given)))


def video_url(generation: Generation) -> str:
    return address(f"{FILES}/{generation.id}/video")


def _fields(generation: Generation, has_video: bool) -> dict[str, Any]:
    brief, recipe, stages = generation.brief, generation.recipe, stages_of(generation)
    shown = has_video and "stitch" in stages
    ended = generation.completed_at
    video_model = generation.manifest.get("models", {}).get("video")
    return {
        "id": generation.id,
        "user_id": generation.user_id,
        "title": brief.title,
        "prompt": brief.prompt,
        "duration": brief.duration,
        "aspect_ratio": brief.aspect_ratio,
        "status": generation.status,
        "progress": generation.progress,
        "current_stage": generation.current_stage,
        "current_step": generation.current_step,
        "video_path": video_url(generation) if shown else None,
        "video_url": video_url(generation) if shown else None,
        "thumbnail_url": address(f"{FILES}/{generation.id}/thumbnail") if shown else None,
        "framework": MASTER_FRAMEWORK if recipe.name == MASTER else brief.framework or recipe.framework,
        "num_scenes": _num_scenes(generation),
        "generation_time_seconds": None if ended is None else round((ended - generation.created_at).total_seconds()),
        **_cost(generation),
        "error_message": generation.error_message,
        "coherence_settings": brief.coherence.acting,
        "seed_value": brief.acting_seed,
        "cancellation_requested": generation.cancellation_requested,
        "model": video_model["name"] if video_model else None,
        "use_llm": "story" in stages or "scenes" in stages,
        "generation_group_id": generation.generation_group_id,
        "parent_generation_id": generation.parent_generation_id,
        "created_at": generation.created_at,
        "completed_at": ended,
        "recipe": recipe.name,
        "stages": stages,
        "approvals": recipe.approvals,
        "quality_dimensions": recipe.quality_dimensions,
        "quality_gate": recipe.quality_gate,
        "candidates": recipe.candidates,
        "warnings": list(warnings(generation.manifest)),
    }


def _cost(generation: Generation) -> dict[str, Any]:
    price = generation.manifest.get("device_hour_price")
    if price is None:
        return {"cost": None, "cost_reason": "the server had no price of a device hour when it was asked for"}
    return {"cost": generation.step_seconds / 3600 * price}


def _num_scenes(generation: Generation) -> int | None:
    """How many scenes a generation has or will have; None where only its worker can tell."""
    if (scenes := generation.given.get("scenes")) is not None:
        return len(scenes["scenes"])
    brief, fps = generation.brief, generation.manifest.get("fps")
    if fps is None or generation.recipe.limits.min_scenes < 2:  # not an ad
        return brief.num_scenes
    framework = brief.framework or generation.recipe.framework
    try:
        return len(plan_slots(framework, brief.duration, fps, brief.num_scenes))
    except BadInput:
        return brief.num_scenes
