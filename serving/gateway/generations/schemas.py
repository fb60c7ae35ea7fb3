"""Bodies and answers of `/api/v1/generations`, and what the other views of generations share with them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field, StringConstraints, model_validator

from models.interfaces import Plain, Seed
from models.spec import AspectRatio
from pipelines.brief import MAX_PROMPT, MAX_REFERENCES, Framework
from pipelines.coherence import CoherenceSettings
from pipelines.direction import Modifications
from pipelines.facts import BriefFacts, FactEdits
from pipelines.recipe import QualityGate, StageName
from pipelines.records import ComparisonType, Event, GenerationStatus
from pipelines.steps import AgentRole, Json, TakeKind
from pipelines.storyboard_file import Storyboard
from serving.gateway.orders import ReferenceBody, ReferenceRoles
from serving.gateway.requests import PictureSource

Item = TypeVar("Item")
AdPrompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT)]
Title = Annotated[str, StringConstraints(max_length=200)]
Brand = Annotated[str, StringConstraints(max_length=100)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class Page(Plain, Generic[Item]):
    """One page of a list, as the contract pages."""

    items: list[Item]
    total: int
    limit: int
    offset: int
    has_more: bool


class BriefBody(Plain):
    """What the ad is for. Fields that are left out are as the recipe says."""

    prompt: AdPrompt | None = None
    """Left out only beside a storyboard, which has its own."""
    title: Title | None = None
    brand_name: Brand | None = None
    duration: Annotated[int, Field(ge=1, le=60)] = 15
    """Seconds of the finished video, met exactly."""
    aspect_ratio: AspectRatio = "9:16"
    framework: Framework | None = None
    num_scenes: Annotated[int, Field(ge=1, le=20)] | None = None
    seed: Seed = 0


class QualityBody(Plain):
    """What is measured, and what a scene must reach. Fields that are left out are as the recipe says."""

    dimensions: Annotated[tuple[str, ...], Field(max_length=20)] | None = None
    """Each is measured on what it is made for: a scene's still, its clip, the finished video."""
    minimums: Annotated[dict[str, float], Field(max_length=20)] | None = None
    """The least value by dimension, on its own scale. A scene below one is made again with another seed."""
    retakes: Annotated[int, Field(ge=0, le=5)] | None = None
    """How often at most, for each scene's still and clip; the best take stays."""

    @property
    def gate(self) -> Json | None:
        """Fields of `pipelines.recipe.QualityGate`; None: the recipe's own."""
        given = {name: getattr(self, name) for name in ("minimums", "retakes")}
        return {name: value for name, value in given.items() if value is not None} or None


class CoherenceBody(CoherenceSettings):
    """Coherence settings; only those that are given differ from the recipe's."""

    @property
    def given(self) -> Json:
        return {name: getattr(self, name) for name in self.model_fields_set}


class GenerationCreate(Plain):
    """Body of `POST /api/v1/generations`."""

    recipe: Annotated[str, Field(max_length=100)] = "master"
    brief: BriefBody
    references: Annotated[list[ReferenceBody | PictureSource], Field(max_length=MAX_REFERENCES)] = Field(
        default_factory=list
    )
    """Files, base64 or artifact ids; as an object with a role, or bare."""
    reference_roles: ReferenceRoles = Field(default_factory=list)
    coherence: CoherenceBody | None = None
    approvals: tuple[StageName, ...] | None = None
    """Stages after which it waits for you; none given: the recipe's; an empty list: runs to its end."""
    quality: QualityBody | None = None
    storyboard: Storyboard | None = None
    """Scenes of your own: no agent writes them."""
    use_llm: bool = True
    """False: no agent is asked, and every scene shows the prompt itself."""
    accept_out_of_domain: bool = False
    """True: what the models cannot draw is replaced by the nearest thing that they can, with a warning."""
    parent_generation_id: str | None = None
    """A generation of yours that this one is an edited version of."""

    @model_validator(mode="before")
    @classmethod
    def _one_or_several(cls, data: Any) -> Any:
        if isinstance(data, dict) and "references" in data and not isinstance(data["references"], list):
            return {**data, "references": [data["references"]]}
        return data


class GenerationObject(Plain):
    """One generation, by the contract's names. A row of a list; `GenerationDetail` holds what was made as well."""

    id: str
    user_id: str
    title: str | None
    prompt: str
    duration: int
    aspect_ratio: AspectRatio
    status: GenerationStatus
    progress: Annotated[int, Field(ge=0, le=100)]
    current_stage: StageName | None
    current_step: str | None
    video_path: str | None
    """The same as `video_url`: files are only reached through the server."""
    video_url: str | None
    thumbnail_url: str | None
    framework: str
    """`master_mode` for the recipe `master`, as in the contract; else PAS, BAB or AIDA."""
    num_scenes: int | None
    generation_time_seconds: int | None
    """From the order to the end, waiting included."""
    cost: Annotated[None, Field(description="Always null: the models run on your own machines.")] = None
    error_message: str | None
    coherence_settings: CoherenceSettings
    seed_value: int
    cancellation_requested: bool
    model: str | None
    """The video model."""
    use_llm: bool
    generation_group_id: str | None
    parent_generation_id: str | None
    created_at: datetime
    completed_at: datetime | None
    recipe: str
    stages: tuple[StageName, ...]
    """Those that run in this generation."""
    approvals: tuple[StageName, ...]
    quality_dimensions: tuple[str, ...]
    quality_gate: QualityGate
    warnings: list[str] = Field(default_factory=list)
    """What is to be known of it: what is drawn otherwise, what the models are; in the detail also what is not approved
    and why."""


class MessageObject(Plain):
    """One utterance of an agent, of the owner or of the assistant."""

    role: AgentRole
    iteration: int
    content: str
    scene_number: int | None
    score: float | None
    timestamp: datetime


class GenerationDetail(GenerationObject):
    llm_specification: Json | None
    """The story stage's result: the story, its drafts with their critiques, and the entities."""
    scene_plan: Json | None
    """The scenes stage's result, cohesion analysis included."""
    llm_conversation_history: list[MessageObject]
    temp_clip_paths: list[str]
    """Addresses of the scenes' clips."""
    num_clips: int
    references: list[Json]
    manifest: Json
    """Models, revisions and library versions that it is made with."""
    facts: BriefFacts | None = None
    """What the brief says, as it was read, each with the words that say it; null before the story. Correct it with
    `PATCH`."""
    approval_status: Literal["approved", "needs_revision"] | None = None
    """Whether the facts of the brief hold in story and scenes and their critics agree; null before there are any."""
    last_seq: int
    """`seq` of its newest event: follow it from there."""


class EventList(Plain):
    items: list[Event]
    has_more: bool


class TakeObject(Plain):
    """An immutable result of a step; the `current` one is used."""

    id: str
    kind: TakeKind
    scene_number: int | None
    artifact: str
    url: str
    step: str
    current: bool
    provenance: Json
    created_at: datetime


class TakeList(Plain):
    items: list[TakeObject]


class Conversation(Plain):
    generation_id: str
    messages: list[MessageObject]


class ApproveBody(Plain):
    stage: StageName
    notes: Words | None = None
    selected_indices: Annotated[tuple[int, ...], Field(max_length=100)] | None = None


class RegenerateBody(Plain):
    """What to regenerate: a stage, one scene of it, or what one take shows."""

    stage: StageName | None = None
    scene_number: Annotated[int, Field(ge=1)] | None = None
    take_id: str | None = None
    feedback: Words | None = None
    modifications: Modifications | None = None

    @model_validator(mode="after")
    def _one_target(self) -> RegenerateBody:
        if (self.stage is None) == (self.take_id is None):
            raise ValueError("give either stage or take_id")
        if self.take_id is not None and self.scene_number is not None:
            raise ValueError("a take has its own scene: leave scene_number out")
        return self


class CorrectBody(Plain):
    """Body of `PATCH /api/v1/generations/{id}`."""

    facts: FactEdits
    """What was read wrong in the brief; what is left out stays as it was read."""


class SelectBody(Plain):
    take_id: str


class Deleted(Plain):
    id: str
    deleted: bool = True


class GroupObject(Plain):
    """Generations made to be compared, and the winner once it is chosen."""

    id: str
    user_id: str
    comparison_type: ComparisonType
    winner_generation_id: str | None
    created_at: datetime
    generations: list[GenerationObject]
