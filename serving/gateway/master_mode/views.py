"""A generation as Master Mode's response, and its event log as Master Mode's progress. Pure: rows in, objects out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.agents.prompting import story_lines
from pipelines.recipe import StageName
from pipelines.records import Event, Generation, Take
from pipelines.report.verdict import approval_status, warnings
from pipelines.screenplay import ScenesResult, StoryResult
from pipelines.stages.registry import STAGES
from pipelines.stages.state import RunState, coherence_plans, scene_transitions
from pipelines.steps import Message
from serving.gateway.generations.views import FILES, message_object, stages_of, told, video_url
from serving.gateway.master_mode.answers import (
    ProgressStep,
    ProgressUpdate,
    SceneObject,
    ScenesObject,
    SceneVideoParams,
    StepStatus,
    StoryIteration,
    StoryMessage,
    StoryResponse,
)

SCENE_SPEAKERS = ("writer", "scene_critic", "cohesor", "image_enhancer", "video_enhancer")
STEP_OF_STAGE: Mapping[str, ProgressStep] = {
    "story": "story",
    "scenes": "scenes",
    "reference_image": "video_params",
    "storyboard": "videos",
    "video": "videos",
    "stitch": "videos",
    "quality": "videos",
}

DENOISED: tuple[ProgressStep, ...] = ("video_params", "videos")
"""Where the progress of a single step is told: of an agent it counts tokens, which says nothing to anybody."""


def run_state(outputs: Mapping[StageName, Any]) -> RunState:
    """The outputs of a generation's stages as the state that the stages work on."""
    return RunState.model_validate({STAGES[stage].makes: value for stage, value in outputs.items()})


def story_response(
    generation: Generation, state: RunState, messages: Sequence[Message], takes: Sequence[Take]
) -> StoryResponse | None:
    """The contract's response for a generation; None before there is a story."""
    story = state.story
    if story is None:
        return None
    stages = stages_of(generation)
    response = _story_part(generation, story, messages)
    changes: dict[str, Any] = {
        "approval_status": approval_status(story, state.scenes),
        "warnings": list(warnings(generation.manifest, story, state.scenes)),
    }
    if state.scenes is not None and "scenes" in stages:
        changes["scenes"] = _scenes_part(state.scenes, messages)
        changes["video_generation_params"] = _params(generation, state, state.scenes)
    if "video" in stages:
        clips = sorted(take.scene_number or 0 for take in takes if take.kind == "clip" and take.current)
        changes["scene_videos"] = [f"{FILES}/{generation.id}/clips/{number}" for number in clips]
        changes["final_video_path"] = video_url(generation) if state.video else None
        changes["video_generation_status"] = "success" if state.video else "failed"
    return response.model_copy(update=changes)


def progress_updates(generation_id: str, event: Event) -> list[ProgressUpdate]:
    """The progress of Master Mode's steps that one event tells; empty for an event that concerns none of them."""
    return [
        ProgressUpdate(
            generation_id=generation_id,
            seq=event.seq,
            step=step,
            status=status,
            progress=100 if step == "complete" else int(event.data.get("progress", 0)),
            message=message,
            scene_number=event.scene_number,
            timestamp=event.created_at,
        )
        for step, status, message in _steps(event)
    ]


def _steps(event: Event) -> list[tuple[ProgressStep, StepStatus, str]]:
    match event.kind:
        case "generation_started":
            return [
                ("init", "completed", "the order is read"),
                ("upload", "completed", f"reference images stored: {event.data.get('references', 0)}"),
            ]
        case "generation_completed":
            return [("complete", "completed", event.message)]
        case "generation_failed" | "generation_cancelled":
            return [("error", "failed", event.message)]
    step = STEP_OF_STAGE.get((event.step or "").partition("/")[0])
    if step is None or (event.kind == "step_progress" and step not in DENOISED):
        return []
    if event.kind != "stage_completed":
        return [(step, "in_progress", told(event))]
    if event.step == "scenes":
        return [("scenes", "completed", event.message), ("video_params", "completed", "prompts and plans are ready")]
    return [(step, "in_progress" if event.step in ("storyboard", "video") else "completed", event.message)]


def _story_part(generation: Generation, story: StoryResult, messages: Sequence[Message]) -> StoryResponse:
    chosen = next((one for one in story.rounds if one.iteration == story.chosen_iteration), story.rounds[-1])
    drafted = {message.iteration: message.timestamp for message in messages if message.role == "director"}
    return StoryResponse(
        success=generation.status == "completed",
        generation_id=generation.id,
        story=story.text,
        approval_status="approved" if story.approved else "needs_revision",
        final_score=chosen.critique.overall_score if chosen.critique else None,
        total_iterations=len(story.rounds),
        story_conversation_history=[
            StoryMessage(
                role=message.role,
                iteration=message.iteration,
                content=message.content,
                timestamp=message.timestamp,
            )
            for message in messages
            if message.role == "director" or message.role == "critic"
        ],
        story_iterations=[
            StoryIteration(
                iteration=one.iteration,
                story_draft=story_lines(one.draft),
                critique=one.critique,
                timestamp=drafted.get(one.iteration),
            )
            for one in story.rounds
        ],
        error_message=generation.error_message,
        seed_value=generation.brief.acting_seed,
    )


def _scenes_part(scenes: ScenesResult, messages: Sequence[Message]) -> ScenesObject:
    return ScenesObject(
        total_scenes=len(scenes.scenes),
        cohesion_score=scenes.cohesion.overall_cohesion_score if scenes.cohesion else None,
        scenes=[
            SceneObject(
                scene_number=scene.scene_number,
                content=scene.content,
                iterations=scene.iterations,
                approved=scene.approved,
                final_critique=scene.critique,
            )
            for scene in scenes.scenes
        ],
        cohesion_analysis=scenes.cohesion,
        conversation_history=[message_object(message) for message in messages if message.role in SCENE_SPEAKERS],
        total_iterations=sum(scene.iterations for scene in scenes.scenes),
    )


def _params(generation: Generation, state: RunState, scenes: ScenesResult) -> list[SceneVideoParams]:
    plans = coherence_plans(generation.brief, state, scenes)
    transitions = (*scene_transitions(generation.recipe, scenes), None)
    fps = generation.manifest["fps"]
    return [
        SceneVideoParams(
            scene_number=scene.scene_number,
            prompt=scene.video_prompt,
            image_prompt=scene.image_prompt,
            camera=scene.draft.camera,
            seconds=round(scene.frames / fps, 4),
            aspect_ratio=generation.brief.aspect_ratio,
            keyframe_noise=plan.keyframe_noise,
            clip_noise=plan.clip_noise,
            use_references=plan.use_references,
            adapter_scale=plan.adapter.scale,
            transition_to_next=transition,
        )
        for scene, plan, transition in zip(scenes.scenes, plans, transitions, strict=True)
    ]
