"""Answers of `/api/master-mode`, exactly as the contract types them, and what is ours."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from models.interfaces import NoiseSpec, Plain
from models.spec import AspectRatio, CameraMove
from pipelines.recipe import Transition
from pipelines.records import GenerationStatus
from pipelines.screenplay import Cohesion, Critique
from serving.gateway.generations.answers import MessageObject

ProgressStep = Literal["init", "upload", "story", "scenes", "video_params", "videos", "complete", "error"]


StepStatus = Literal["in_progress", "completed", "failed"]


class StoryMessage(Plain):
    """What the director or the critic of the story said."""

    role: Literal["director", "critic"]
    """Who speaks."""
    iteration: int
    """The draft that it is about, counted from 1."""
    content: str
    """What is said."""
    timestamp: datetime
    """When, UTC."""


class StoryIteration(Plain):
    """One draft of the story."""

    iteration: int
    """Counted from 1."""
    story_draft: str
    """The story as text."""
    critique: Critique | None
    """The critic's judgement of it; null: no critic was asked."""
    timestamp: datetime | None
    """When it was written, UTC; null: not known."""


class SceneObject(Plain):
    """One scene in words."""

    scene_number: int
    """Counted from 1."""
    content: str
    """The scene as text."""
    iterations: int
    """Drafts that were written."""
    approved: bool
    """Whether its critic approved it."""
    final_critique: Critique | None
    """Of the draft that is used; null: no critic was asked."""


class ScenesObject(Plain):
    """All scenes in words, and how they follow on one another."""

    total_scenes: int
    """Number of scenes."""
    cohesion_score: float | None
    """0 to 100."""
    scenes: list[SceneObject]
    """In their order."""
    cohesion_analysis: Cohesion | None
    """How they follow on one another; null: no cohesor was asked."""
    conversation_history: list[MessageObject]
    """What the agents of the scenes said."""
    total_iterations: int
    """Drafts of all scenes together."""


class SceneVideoParams(Plain):
    """What the scene's pictures are made with."""

    scene_number: int
    """Counted from 1."""
    prompt: str
    """Prompt of the clip."""
    image_prompt: str
    """Prompt of the keyframe that it starts from."""
    camera: CameraMove
    """Move of the camera."""
    seconds: float
    """Its length in the finished video."""
    aspect_ratio: AspectRatio
    """Width to height of the ad: `9:16` (upright), `16:9` (wide) or `1:1` (square)."""
    keyframe_noise: NoiseSpec
    """Start noise of the keyframe."""
    clip_noise: NoiseSpec
    """Start noise of the clip."""
    use_references: bool
    """Whether the reference images condition it."""
    adapter_scale: float
    """How strongly, 0 to 1."""
    transition_to_next: Transition | None
    """How the next scene follows: `crossfade`, `cut` or `fade`; null: it is the last."""


class StoryResponse(Plain):
    """The contract's response. A part that was not asked for is absent."""

    success: bool
    """Whether everything that was asked for was made."""
    generation_id: str
    """Id of the generation."""
    story: str
    """The story as text."""
    approval_status: Literal["approved", "needs_revision"]
    """Whether the facts of the brief hold in it and its critics agree."""
    final_score: float | None
    """0 to 100; null for a story that its owner edited afterwards: no critic judged that one."""
    total_iterations: int
    """Drafts of the story that were written."""
    story_conversation_history: list[StoryMessage]
    """What director and critic said, oldest first."""
    story_iterations: list[StoryIteration]
    """The drafts, oldest first."""
    scenes: ScenesObject | None = None
    """The scenes; absent: not asked for, or not made."""
    video_generation_params: list[SceneVideoParams] | None = None
    """What each scene's pictures are made with; absent: there are no scenes."""
    final_video_path: str | None = None
    """Address of the finished video."""
    video_generation_status: Literal["success", "failed"] | None = None
    """Whether the video was made; absent: not asked for."""
    scene_videos: list[str] | None = None
    """Addresses of the scenes' clips."""
    error_message: str | None = None
    """Why it failed; absent: it did not."""
    seed_value: int
    """The same order with this seed is made the same again."""
    warnings: list[str] = Field(default_factory=list)
    """What is to be known of it: what is not approved and why, what is drawn otherwise, what the models are."""


class StoryAccepted(Plain):
    """The answer to `Prefer: respond-async`."""

    success: bool = True
    """Always true: what is not accepted is an error."""
    generation_id: str
    """Id of the generation."""
    status: GenerationStatus
    """`pending`, `processing`, `awaiting_approval`, `completed`, `failed` or `cancelled`."""
    seed_value: int
    """The same order with this seed is made the same again."""
    progress_url: str
    """Address of the progress stream."""
    result_url: str
    """Address of the answer, once it is there."""
    warnings: list[str] = Field(default_factory=list)
    """What is to be known of it so far: fields that were not used, what is drawn otherwise, what the models are."""


class ProgressUpdate(Plain):
    """The data of one frame of a progress stream."""

    generation_id: str
    """Id of the generation."""
    seq: int
    """Of the event that it follows from."""
    step: ProgressStep
    """The part of the work, by the contract's names."""
    status: StepStatus
    """How that part is."""
    progress: Annotated[int, Field(ge=0, le=100)]
    """Percent of the whole, 0 to 100."""
    message: str
    """One sentence for people."""
    scene_number: int | None
    """The scene that it is about, counted from 1; null: none."""
    timestamp: datetime
    """When, UTC."""
