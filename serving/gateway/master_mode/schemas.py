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
from serving.gateway.generations.schemas import AdPrompt, Brand, MessageObject, QualityBody, Title
from serving.gateway.orders import OpenBody, ReferenceRoles
from serving.gateway.requests import PictureSource

ClientId = Annotated[str, StringConstraints(max_length=200, pattern=r"^[\x21-\x2e\x30-\x7e]{1,200}$")]
"""Printable, without blanks and slashes: it is part of an address."""
ProgressStep = Literal["init", "upload", "story", "scenes", "video_params", "videos", "complete", "error"]
StepStatus = Literal["in_progress", "completed", "failed"]


class StoryRequest(OpenBody):
    """Body of `POST /api/master-mode/generate-story`."""

    prompt: AdPrompt
    """What the ad is for, at most 5,000 characters."""
    title: Title | None = None
    """A working title, at most 200 characters; null: none."""
    brand_name: Brand | None = None
    """The brand, which the agents then keep to; at most 100 characters."""
    client_generation_id: ClientId | None = None
    """Names this request: its progress is found under it, and sent again it is the same request."""
    reference_images: Annotated[list[PictureSource], Field(max_length=MAX_REFERENCES)] = Field(default_factory=list)
    """At most three files, base64 or artifact ids."""
    reference_roles: ReferenceRoles = Field(default_factory=list)
    """What they show, in their order; empty: by their files' names, else `product`."""
    max_iterations: Annotated[int, Field(ge=1, le=10)] = 3
    """Drafts of the story at most."""
    generate_scenes: bool = True
    """Whether the story is made into scenes."""
    generate_videos: bool = False
    """Whether the scenes are made into the finished video; needs `generate_scenes`."""
    duration: Annotated[int, Field(ge=9, le=60)] = 15
    """Seconds of the finished video, 9 to 60."""
    aspect_ratio: AspectRatio = "9:16"
    """Width to height of the ad: `9:16` (upright), `16:9` (wide) or `1:1` (square)."""
    num_scenes: Annotated[int, Field(ge=2, le=20)] | None = None
    """Number of scenes; null: as many as the framework has for this duration."""
    seed: Seed | None = None
    """The same seed makes the same ad, as long as models and settings are the same. Null: a random one, which the
    answer reports as `seed_value`."""
    quality: QualityBody | None = None
    """What is measured of the video, and what each of its scenes must reach."""
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
