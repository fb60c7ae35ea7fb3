"""Bodies and answers of `/api/master-mode`, exactly as the contract types them, and what is ours."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from models.interfaces import NoiseSpec, Plain, Seed
from models.spec import AspectRatio, CameraMove
from pipelines.brief import MAX_REFERENCES
from pipelines.recipe import Transition
from pipelines.records import GenerationStatus
from pipelines.screenplay import Cohesion, Critique
from serving.gateway.generations.schemas import AdPrompt, Brand, MessageObject, Title
from serving.gateway.orders import ReferenceRoles
from serving.gateway.requests import PictureSource

ClientId = Annotated[str, StringConstraints(pattern=r"^[\x21-\x2e\x30-\x7e]{1,200}$")]
"""Printable, without blanks and slashes: it is part of an address."""
ProgressStep = Literal["init", "upload", "story", "scenes", "video_params", "videos", "complete", "error"]
StepStatus = Literal["in_progress", "completed", "failed"]


class StoryRequest(Plain):
    """Body of `POST /api/master-mode/generate-story`."""

    prompt: AdPrompt
    title: Title | None = None
    brand_name: Brand | None = None
    client_generation_id: ClientId | None = None
    """Names this request: its progress is found under it, and sent again it is the same request."""
    reference_images: Annotated[list[PictureSource], Field(max_length=MAX_REFERENCES)] = Field(default_factory=list)
    reference_roles: ReferenceRoles = Field(default_factory=list)
    max_iterations: Annotated[int, Field(ge=1, le=10)] = 3
    """Drafts of the story at most."""
    generate_scenes: bool = True
    generate_videos: bool = False
    duration: Annotated[int, Field(ge=9, le=60)] = 15
    aspect_ratio: AspectRatio = "9:16"
    num_scenes: Annotated[int, Field(ge=2, le=20)] | None = None
    seed: Seed = 0
    accept_out_of_domain: bool = False
    """True: what the models cannot draw is replaced by the nearest thing that they can, with a warning."""

    @model_validator(mode="before")
    @classmethod
    def _one_or_several(cls, data: Any) -> Any:
        if isinstance(data, dict) and "reference_images" in data and not isinstance(data["reference_images"], list):
            return {**data, "reference_images": [data["reference_images"]]}
        return data

    @model_validator(mode="after")
    def _videos_need_scenes(self) -> StoryRequest:
        if self.generate_videos and not self.generate_scenes:
            raise ValueError("generate_videos needs generate_scenes: a video is made from scenes")
        return self


class StoryMessage(Plain):
    role: Literal["director", "critic"]
    iteration: int
    content: str
    timestamp: datetime


class StoryIteration(Plain):
    iteration: int
    story_draft: str
    critique: Critique | None
    timestamp: datetime | None


class SceneObject(Plain):
    scene_number: int
    content: str
    iterations: int
    approved: bool
    final_critique: Critique | None


class ScenesObject(Plain):
    total_scenes: int
    cohesion_score: float | None
    """0 to 100."""
    scenes: list[SceneObject]
    cohesion_analysis: Cohesion | None
    conversation_history: list[MessageObject]
    total_iterations: int
    """Drafts of all scenes together."""


class SceneVideoParams(Plain):
    """What the scene's pictures are made with."""

    scene_number: int
    prompt: str
    image_prompt: str
    camera: CameraMove
    seconds: float
    aspect_ratio: AspectRatio
    keyframe_noise: NoiseSpec
    clip_noise: NoiseSpec
    use_references: bool
    adapter_scale: float
    transition_to_next: Transition | None


class StoryResponse(Plain):
    """The contract's response. A part that was not asked for is null."""

    success: bool
    """Whether everything that was asked for was made."""
    generation_id: str
    story: str
    approval_status: Literal["approved", "needs_revision"]
    final_score: float | None
    """0 to 100; null when no critic was asked."""
    total_iterations: int
    story_conversation_history: list[StoryMessage]
    story_iterations: list[StoryIteration]
    scenes: ScenesObject | None = None
    video_generation_params: list[SceneVideoParams] | None = None
    final_video_path: str | None = None
    """Address of the finished video."""
    video_generation_status: Literal["success", "failed"] | None = None
    scene_videos: list[str] | None = None
    """Addresses of the scenes' clips."""
    error_message: str | None = None
    warnings: list[str] = Field(default_factory=list)
    """What is to be known of it: what is not approved and why, what is drawn otherwise, what the models are."""


class StoryAccepted(Plain):
    """The answer to `Prefer: respond-async`."""

    success: bool = True
    generation_id: str
    status: GenerationStatus
    progress_url: str
    result_url: str


class ProgressUpdate(Plain):
    """The data of one frame of a progress stream."""

    generation_id: str
    seq: int
    """Of the event that it follows from."""
    step: ProgressStep
    status: StepStatus
    progress: Annotated[int, Field(ge=0, le=100)]
    message: str
    scene_number: int | None
    timestamp: datetime
