"""Answers of `/api/v1/generations`, which the other views of generations share, and which clients read."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from models.interfaces import Plain
from models.spec import AspectRatio
from pipelines.coherence import CoherenceSettings
from pipelines.facts import BriefFacts
from pipelines.recipe import Candidates, QualityGate, StageName
from pipelines.records import ComparisonType, Event, GenerationStatus
from pipelines.steps import AgentRole, Json, TakeKind


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
    candidates: Candidates = Candidates()
    """Whether several stills are drawn of each scene, and how the best of them is told."""
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
    has_sound: bool | None = None
    """Whether the finished video has a sound track; null before there is one."""
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
