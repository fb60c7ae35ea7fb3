"""Bodies and answers of `/api/v1/generations`, and what the other views of generations share with them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from models.interfaces import Plain, Seed
from models.spec import AspectRatio
from pipelines.brief import MAX_PROMPT, MAX_REFERENCES, FrameworkName
from pipelines.coherence import CoherenceSettings
from pipelines.direction import Modifications
from pipelines.facts import BriefFacts, FactEdits
from pipelines.recipe import BriefLimits, QualityGate, StageName
from pipelines.records import ComparisonType, Event, GenerationStatus
from pipelines.steps import AgentRole, Json, TakeKind
from pipelines.storyboard_file import Storyboard
from serving.gateway.orders import ReferenceBody, ReferenceRoles
from serving.gateway.requests import Id, PictureSource

AdPrompt = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT),
    Field(json_schema_extra={"minLength": BriefLimits().min_prompt}),
]
"""What an ad is for. A recipe refuses what is too short for it, with the words that the command line has too."""
Title = Annotated[str, StringConstraints(max_length=200)]
Brand = Annotated[str, StringConstraints(max_length=100)]
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]


class BriefBody(Plain):
    """What the ad is for. Fields that are left out are as the recipe says."""

    prompt: AdPrompt | None = None
    """Left out only beside a storyboard, which has its own."""
    title: Title | None = None
    """A working title, at most 200 characters; null: none."""
    brand_name: Brand | None = None
    """The brand, which the agents then keep to; at most 100 characters."""
    duration: Annotated[int, Field(ge=1, le=60)] = 15
    """Seconds of the finished video, met exactly."""
    aspect_ratio: AspectRatio = "9:16"
    """Width to height of the ad: `9:16` (upright), `16:9` (wide) or `1:1` (square)."""
    framework: FrameworkName | None = None
    """`AIDA`, `PAS` or `BAB`, in any case: the order in which the ad argues; null: the recipe's."""
    num_scenes: Annotated[int, Field(ge=1, le=20)] | None = None
    """Number of scenes; null: as many as the framework has for this duration."""
    seed: Seed | None = None
    """The same seed makes the same ad, as long as models and settings are the same. Null: a random one, which the
    answer reports as `seed_value`."""


class QualityBody(Plain):
    """What is measured, and what a scene must reach. Fields that are left out are as the recipe says."""

    dimensions: Annotated[tuple[Id, ...], Field(max_length=20)] | None = None
    """Each is measured on what it is made for: a scene's still, its clip, the finished video."""
    minimums: Annotated[dict[Id, float], Field(max_length=20)] | None = None
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
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


class GenerationCreate(Plain):
    """Body of `POST /api/v1/generations`."""

    recipe: Annotated[str, Field(max_length=100)] = "master"
    """Name of a recipe: `master` (all agents), `express` (no critics), `classic`, `interactive`, or the server's
    own."""
    brief: BriefBody
    """What the ad is for."""
    references: Annotated[list[ReferenceBody | PictureSource], Field(max_length=MAX_REFERENCES)] = Field(
        default_factory=list
    )
    """Files, base64 or artifact ids; as an object with a role, or bare."""
    reference_roles: ReferenceRoles = Field(default_factory=list)
    """What the references show, in their order; empty: by their files' names, else `product`."""
    coherence: CoherenceBody | None = None
    """Settings that differ from the recipe's; null: none."""
    approvals: Annotated[tuple[StageName, ...], Field(max_length=10)] | None = None
    """Stages after which it waits for you; none given: the recipe's; an empty list: runs to its end."""
    quality: QualityBody | None = None
    """What is measured and demanded; null: as the recipe says."""
    storyboard: Storyboard | None = None
    """Scenes of your own: no agent writes them."""
    use_llm: bool = True
    """False: no agent is asked, and every scene shows the prompt itself."""
    accept_out_of_domain: bool = False
    """True: what the models cannot draw is replaced by the nearest thing that they can, with a warning."""
    parent_generation_id: Id | None = None
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
    """Id of the generation."""
    user_id: str
    """Id of the owner."""
    title: str | None
    """Its working title; null: none was given."""
    prompt: str
    """What the ad is for."""
    duration: int
    """Seconds of the finished video."""
    aspect_ratio: AspectRatio
    """Width to height of the ad: `9:16` (upright), `16:9` (wide) or `1:1` (square)."""
    status: GenerationStatus
    """`pending`, `processing`, `awaiting_approval`, `completed`, `failed` or `cancelled`."""
    progress: Annotated[int, Field(ge=0, le=100)]
    """Percent of the whole, 0 to 100."""
    current_stage: StageName | None
    """The stage that runs, waits for approval, or will be resumed; null before the first and after the last."""
    current_step: str | None
    """The step at work, such as `storyboard/scene-002`; null: none."""
    video_path: str | None
    """The same as `video_url`: files are only reached through the server."""
    video_url: str | None
    """Address of the finished video; null before there is one."""
    thumbnail_url: str | None
    """Address of its picture (JPEG); null before there is one."""
    framework: str
    """`master_mode` for the recipe `master`, as in the contract; else PAS, BAB or AIDA."""
    num_scenes: int | None
    """Number of scenes; null: the framework's own count."""
    generation_time_seconds: int | None
    """From the order to the end, waiting included."""
    cost: float | None = None
    """What its steps cost so far: their seconds at the server's price of a device hour, in the currency of that."""
    cost_reason: str | None = None
    """Why there is no cost; absent where there is one."""
    error_message: str | None
    """Why it failed; null: it did not."""
    coherence_settings: CoherenceSettings
    """How the scenes are kept alike."""
    seed_value: int
    """The seed that it is made with."""
    cancellation_requested: bool
    """Whether a cancel was asked for; it stops at its next denoising step."""
    model: str | None
    """The video model."""
    use_llm: bool
    """False: no agent is asked, and every scene shows the prompt itself."""
    generation_group_id: str | None
    """The comparison that it belongs to; null: none."""
    parent_generation_id: str | None
    """The generation that it is an edited version of; null: none."""
    created_at: datetime
    """When it was made, UTC."""
    completed_at: datetime | None
    """When it was finished, UTC; null before that."""
    recipe: str
    """Name of its recipe."""
    stages: tuple[StageName, ...]
    """Those that run in this generation."""
    approvals: tuple[StageName, ...]
    """Stages after which it waits for its owner."""
    quality_dimensions: tuple[str, ...]
    """What is measured."""
    quality_gate: QualityGate
    """What a scene must reach, else it is made again."""
    warnings: list[str] = Field(default_factory=list)
    """What is to be known of it: what is drawn otherwise, what the models are; in the detail also what is not approved
    and why."""


class MessageObject(Plain):
    """One utterance of an agent, of the owner or of the assistant."""

    role: AgentRole
    """Who speaks: an agent, the owner (`user`) or the assistant that answers the owner."""
    iteration: int
    """The draft that it is about, counted from 1."""
    content: str
    """What is said."""
    scene_number: int | None
    """The scene that it is about; null: the whole ad."""
    score: float | None
    """A critic's score, 0 to 100; null: nothing was scored."""
    timestamp: datetime
    """When, UTC."""


class GenerationDetail(GenerationObject):
    """One generation with everything that was made."""

    llm_specification: Json | None
    """The story stage's result: the story, its drafts with their critiques, and the entities."""
    scene_plan: Json | None
    """The scenes stage's result, cohesion analysis included."""
    llm_conversation_history: list[MessageObject]
    """What the agents, the owner and the assistant said, oldest first."""
    temp_clip_paths: list[str]
    """Addresses of the scenes' clips."""
    num_clips: int
    """Clips that are made."""
    references: list[Json]
    """The reference images: `artifact`, `role`, `filename`, `weight`."""
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
    """Events of a generation."""

    items: list[Event]
    """Oldest first."""
    has_more: bool
    """Whether more follow behind these."""


class TakeObject(Plain):
    """An immutable result of a step; the `current` one is used."""

    id: str
    """Id of the take."""
    kind: TakeKind
    """`reference`, `keyframe` (picture of a scene), `clip` or `video` (the finished ad)."""
    scene_number: int | None
    """The scene, counted from 1; null: the whole ad."""
    artifact: str
    """sha256 of the file."""
    url: str
    """Address of the file."""
    step: str
    """The step that made it: `storyboard/scene-002`."""
    current: bool
    """Whether it is the one in use."""
    provenance: Json
    """Everything that it was made from: request, model, seeds, sources."""
    created_at: datetime
    """When it was made, UTC."""


class TakeList(Plain):
    """The results of a generation's steps."""

    items: list[TakeObject]
    """Oldest first."""


class Conversation(Plain):
    """What the agents, the owner and the assistant said."""

    generation_id: str
    """Id of the generation."""
    messages: list[MessageObject]
    """Oldest first."""


class ApproveBody(Plain):
    """Body of `POST /api/v1/generations/{id}/approve`."""

    stage: StageName
    """The stage that waits."""
    notes: Words | None = None
    """A remark that is kept in the conversation; it changes nothing."""
    selected_indices: Annotated[tuple[int, ...], Field(max_length=100)] | None = None
    """0-based, which of the stage's outputs are kept; null: as the stage has them."""


class RegenerateBody(Plain):
    """What to regenerate: a stage, one scene of it, or what one take shows."""

    stage: StageName | None = None
    """The stage to make again; or name `take_id`."""
    scene_number: Annotated[int, Field(ge=1)] | None = None
    """Only this scene of the stage, counted from 1; null: all of it."""
    take_id: Id | None = None
    """What to make again, by one of its takes."""
    feedback: Words | None = None
    """What should be otherwise, in words; at most 2,000 characters."""
    modifications: Modifications | None = None
    """What is set outright instead of in words."""

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
    """Body of `POST /api/v1/generations/{id}/select`."""

    take_id: Id
    """The take to use from now on."""


class Deleted(Plain):
    """What was deleted."""

    id: str
    """Id of what is gone."""
    deleted: bool = True
    """Always true: what could not be deleted is an error."""


class GenerationPage(Plain):
    """One page of generations, as the contract pages."""

    items: list[GenerationObject]
    """Newest first."""
    total: int
    """How many there are in all."""
    limit: int
    """How many a page holds at most."""
    offset: int
    """How many stand before this page."""
    has_more: bool
    """Whether more follow behind these."""


class GroupObject(Plain):
    """Generations made to be compared, and the winner once it is chosen."""

    id: str
    """Id of the comparison."""
    user_id: str
    """Id of the owner."""
    comparison_type: ComparisonType
    """What the generations differ in: `settings` or `prompt`."""
    winner_generation_id: str | None
    """The generation that was chosen; null: none yet."""
    created_at: datetime
    """When it was made, UTC."""
    generations: list[GenerationObject]
    """In the order of their variations."""
