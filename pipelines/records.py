"""Rows of the store, and what is handed to it, as plain frozen data for everything outside of the store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from models.interfaces import Plain
from pipelines.brief import Brief
from pipelines.direction import Direction
from pipelines.recipe import Recipe, StageName
from pipelines.steps import Json, Message, StoredArtifact, TakeKind

GenerationStatus = Literal["pending", "processing", "awaiting_approval", "completed", "failed", "cancelled"]
ComparisonType = Literal["settings", "prompt"]
EventKind = Literal[
    "generation_started",
    "generation_completed",
    "generation_failed",
    "generation_cancelled",
    "generation_interrupted",
    "stage_started",
    "stage_completed",
    "step_started",
    "step_progress",
    "step_completed",
    "step_reused",
    "notice",
    "approval_needed",
    "stage_approved",
    "regeneration_asked",
    "take_selected",
    "edit_asked",
    "references_uploaded",
    "generation_resumed",
    "conversation",
]
Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True)
class NewGeneration:
    """A checked generation, as it is handed to the store."""

    brief: Brief
    recipe: Recipe
    given: Json
    """Stage outputs that the user supplied (a storyboard); their stages do not run."""
    manifest: Json
    """Models, revisions, weights fingerprints, library versions."""
    artifacts: tuple[StoredArtifact, ...] = ()
    """Files that the brief names; they live as long as the generation does."""
    parent_generation_id: str | None = None
    """The owner's generation that this one is an edited version of."""


@dataclass(frozen=True)
class RequestKey:
    """What a client calls a request (`Idempotency-Key`), and the sha256 of all that it asks."""

    name: str
    fingerprint: str


Keys = tuple[RequestKey, ...]
"""Names of one request: none, the client's own, or one that the route derives as well."""


class Generation(Plain):
    """One requested ad video."""

    id: str
    user_id: str
    brief: Brief
    recipe: Recipe
    given: Json
    """Stage outputs that the user supplied (a storyboard); their stages do not run."""
    manifest: Json
    """Models, revisions, weights fingerprints, library versions: fixed when the generation is created."""
    direction: Direction
    """What the owner decided since."""
    status: GenerationStatus
    progress: int
    current_stage: StageName | None
    """The stage that runs, waits for approval, or is where the next worker resumes."""
    current_step: str | None
    error_message: str | None
    cancellation_requested: bool
    generation_group_id: str | None
    parent_generation_id: str | None
    """The generation that this one is an edited version of."""
    created_at: datetime
    completed_at: datetime | None
    step_seconds: float = 0.0
    """How long its finished steps ran, each time that they ran."""


class Lease(Plain):
    """The right to publish for a generation. `fence` grows with every claim; an older fence publishes nothing."""

    generation_id: str
    owner: str
    fence: int


class NewEvent(Plain):
    """One entry of a generation's log, before it has its number."""

    kind: EventKind
    """What happened."""
    message: str
    """It in one sentence, for people."""
    severity: Severity = "info"
    """`info`; `warning`: something was done otherwise than asked; `error`: it failed."""
    step: str | None = None
    """The step that it is about, such as `storyboard/scene-002`; null: the whole generation."""
    scene_number: int | None = None
    """The scene that it is about, counted from 1; null: the whole generation."""
    data: Json = Field(default_factory=dict)
    """Details by kind: `step_progress` has `done` and `total`; many have `progress`, percent of the whole."""


class Event(NewEvent):
    """One row of a generation's log; `seq` counts from 1 without a gap."""

    seq: int
    """Counts from 1 without a gap."""
    created_at: datetime
    """When it happened, UTC."""


class Group(Plain):
    """Generations made to be compared."""

    id: str
    user_id: str
    comparison_type: ComparisonType
    winner_generation_id: str | None
    generation_ids: tuple[str, ...]
    """In the order of their variations."""
    created_at: datetime


class Take(Plain):
    """An immutable result of a step; the `current` one is used."""

    id: str
    """Id of the take."""
    kind: TakeKind
    """`reference`, `keyframe` (picture of a scene), `clip` or `video` (the finished ad)."""
    scene_number: int | None
    """The scene, counted from 1; null: the whole ad."""
    artifact: str
    """sha256 of the file."""
    provenance: Json
    """Everything that it was made from: request, model, seeds, sources."""
    step: str
    """The step that made it: `storyboard/scene-002`."""
    current: bool
    """Whether it is the one in use."""
    created_at: datetime
    """When it was made, UTC."""


class GenerationOutputs(Plain):
    """What a generation has made so far."""

    last_seq: int
    """`seq` of the newest event."""
    outputs: dict[StageName, Any]
    """Outputs of the finished stages, as JSON of their fields of `RunState`."""
    messages: tuple[Message, ...]
    takes: tuple[Take, ...]


class QualityMetric(Plain):
    """The contract's QualityMetric: one thing that was measured, or why it could not be."""

    id: str
    generation_id: str
    scene_number: int | None
    """None: the finished video."""
    metric_name: str
    metric_value: float | None
    """On the metric's own scale."""
    reason: str | None
    """Why there is no value."""
    model_name: str | None
    """The learned model behind the value; None for a formula."""
    created_at: datetime


class Checkpoint(Plain):
    step: str
    key: str
    value: Json
    seconds: float
    created_at: datetime
