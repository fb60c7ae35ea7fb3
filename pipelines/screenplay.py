"""What the agents agree on: entities described once, a story in beats, scenes that mention entities by handle.

Plain data. Scene count, frames, ratio and seeds are absent on purpose: they come from the brief and the framework
(`pipelines/timing.py`), never from a model.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.interfaces import Plain, ReferenceRole
from models.spec import CameraMove
from pipelines.facts import BriefFacts
from pipelines.recipe import FactName


class Entity(Plain):
    """Someone or something that must look the same in every scene. Scenes mention it by `handle` only."""

    handle: str
    """Stable short name, `product`, `character-1`; also `reference-N` maps to it through `reference_index`."""
    role: ReferenceRole
    name: str
    description: str
    reference_index: int | None = None
    """Index into the brief's references; None when only the description binds the handle."""


class Premise(Plain):
    """What an ad is about, known before its story is written."""

    entities: tuple[Entity, ...]
    """The product first."""
    facts: BriefFacts = BriefFacts()
    """What the brief says, and no draft may contradict."""


class BrokenFact(Plain):
    """A fact of the brief that a draft contradicts or leaves out."""

    fact: FactName
    fix: str
    """A sentence that says what to change."""


class Beat(Plain):
    """One event of the story; a beat becomes one scene."""

    purpose: str
    """Stage of the framework: Attention, Problem, Before, …, Action."""
    setting: str
    event: str


class Story(Plain):
    title: str
    beats: tuple[Beat, ...]
    call_to_action: str


class Critique(Plain):
    """The contract's critique, of a story or of a scene."""

    approval_status: Literal["approved", "needs_revision"]
    overall_score: float = Field(ge=0, le=100)
    critique: str
    strengths: tuple[str, ...]
    improvements: tuple[str, ...]
    priority_fixes: tuple[str, ...]


class SceneDraft(Plain):
    """What the scene writer decides about one scene."""

    setting: str
    action: str
    camera: CameraMove
    entities: tuple[str, ...]
    """Handles; a validator proves that every one is bound."""
    look: str | None = None
    """Light that the owner asked for: `warm light`."""
    extras: tuple[str, ...] = ()
    """Things that the owner wants to see besides."""


class Scene(Plain):
    """A finished scene, ready to be drawn."""

    scene_number: int
    purpose: str
    frames: int
    """Length on the delivery timeline, without transition handles."""
    draft: SceneDraft
    image_prompt: str
    video_prompt: str
    content: str
    """The scene as text, for people and for the contract's `content`."""
    iterations: int
    approved: bool
    critique: Critique | None
    broken: tuple[BrokenFact, ...] = ()
    """The facts that it breaks, of those that matter to its recipe; () also for scenes that a file gave."""


class PairAnalysis(Plain):
    from_scene: int
    to_scene: int
    transition_score: float = Field(ge=0, le=100)
    issues: tuple[str, ...]
    recommendations: tuple[str, ...]


class Cohesion(Plain):
    """The contract's cohesion analysis."""

    overall_cohesion_score: float = Field(ge=0, le=100)
    pair_wise_analysis: tuple[PairAnalysis, ...]
    global_issues: tuple[str, ...]
    scene_specific_feedback: dict[int, str]
    consistency_issues: tuple[str, ...]
    overall_recommendations: tuple[str, ...]


class StoryRound(Plain):
    iteration: int
    draft: Story
    critique: Critique | None
    """None: no critic was asked, as for a draft that its owner edited."""
    broken: tuple[BrokenFact, ...] = ()
    """The facts that it breaks, of those that matter to its recipe."""
    product: Entity | None = None
    """The product as this draft names it, where its owner changed that; None: as the entities of the result do."""


class StoryResult(Plain):
    """Output of the story stage."""

    story: Story
    entities: tuple[Entity, ...]
    rounds: tuple[StoryRound, ...]
    chosen_iteration: int
    approved: bool
    text: str
    """The story as text, for people and for the contract's `story`."""
    facts: BriefFacts = BriefFacts()
    """What the brief says, as it was read, with the owner's corrections."""
    warnings: tuple[str, ...] = ()
    """What was drawn otherwise than the brief says, or chosen because it says nothing."""


class ScenesResult(Plain):
    """Output of the scenes stage."""

    scenes: tuple[Scene, ...]
    cohesion: Cohesion | None
    cohesion_rounds: int


class Clip(Plain):
    """The moving picture of one scene, as the video model made it."""

    scene_number: int
    artifact: str
    """sha256 of the MP4 in the artifact store."""
    num_frames: int = Field(ge=1)
    """Native frames in that file."""
    native_fps: int = Field(ge=1)


class FinalVideo(Plain):
    """The finished ad."""

    artifact: str
    """sha256 of the MP4."""
    thumbnail: str
    """sha256 of the JPEG."""
    frames: int
    fps: int
    width: int
    height: int
    seconds: float
