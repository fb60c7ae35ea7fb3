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
    """`character`, `product` or `style`."""
    name: str
    """What it is called."""
    description: str
    """How it looks, in words for the image model."""
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
    """Which kind of fact."""
    fix: str
    """A sentence that says what to change."""


class Beat(Plain):
    """One event of the story; a beat becomes one scene."""

    purpose: str
    """Stage of the framework: Attention, Problem, Before, …, Action."""
    setting: str
    """Where and when it plays."""
    event: str
    """What happens."""


class Story(Plain):
    """A story as beats, one for each scene."""

    title: str
    """Its title."""
    beats: tuple[Beat, ...]
    """Its events, in order."""
    call_to_action: str
    """The last words, which ask for something."""


class Critique(Plain):
    """The contract's critique, of a story or of a scene."""

    approval_status: Literal["approved", "needs_revision"]
    """Whether it is good enough."""
    overall_score: float = Field(ge=0, le=100)
    """0 to 100."""
    critique: str
    """The judgement in words."""
    strengths: tuple[str, ...]
    """What is good."""
    improvements: tuple[str, ...]
    """What could be better."""
    priority_fixes: tuple[str, ...]
    """What has to change first."""


class SceneDraft(Plain):
    """What the scene writer decides about one scene."""

    setting: str
    """Where and when it plays."""
    action: str
    """What happens, in one sentence."""
    camera: CameraMove
    """Move of the camera."""
    entities: tuple[str, ...]
    """Handles; a validator proves that every one is bound."""
    look: str | None = None
    """Light that the owner asked for: `warm light`."""
    extras: tuple[str, ...] = ()
    """Things that the owner wants to see besides."""


class Scene(Plain):
    """A finished scene, ready to be drawn."""

    scene_number: int
    """Counted from 1."""
    purpose: str
    """Stage of the framework: Attention, Problem, Before, …, Action."""
    frames: int
    """Length on the delivery timeline, without transition handles."""
    draft: SceneDraft
    """What its writer decided."""
    image_prompt: str
    """Prompt of its keyframe."""
    video_prompt: str
    """Prompt of its clip."""
    content: str
    """The scene as text, for people and for the contract's `content`."""
    iterations: int
    """Drafts that were written."""
    approved: bool
    """Whether its critic approved it."""
    critique: Critique | None
    """Of the draft that is used; null: no critic was asked."""
    broken: tuple[BrokenFact, ...] = ()
    """The facts that it breaks, of those that matter to its recipe; () also for scenes that a file gave."""


class PairAnalysis(Plain):
    """How one scene leads to the next."""

    from_scene: int
    """The first of the two, counted from 1."""
    to_scene: int
    """The second of the two."""
    transition_score: float = Field(ge=0, le=100)
    """0 to 100."""
    issues: tuple[str, ...]
    """What does not fit."""
    recommendations: tuple[str, ...]
    """What would make it fit."""


class Cohesion(Plain):
    """The contract's cohesion analysis."""

    overall_cohesion_score: float = Field(ge=0, le=100)
    """0 to 100."""
    pair_wise_analysis: tuple[PairAnalysis, ...]
    """Each scene with the next."""
    global_issues: tuple[str, ...]
    """What does not fit over all scenes."""
    scene_specific_feedback: dict[int, str]
    """What to change, by scene number."""
    consistency_issues: tuple[str, ...]
    """What looks different from scene to scene and should not."""
    overall_recommendations: tuple[str, ...]
    """What would make the whole better."""


class StoryRound(Plain):
    """One draft of the story, and what was said of it."""

    iteration: int
    """Counted from 1."""
    draft: Story
    """The story as it was written then."""
    critique: Critique | None
    """None: no critic was asked, as for a draft that its owner edited."""
    broken: tuple[BrokenFact, ...] = ()
    """The facts that it breaks, of those that matter to its recipe."""
    product: Entity | None = None
    """The product as this draft names it, where its owner changed that; None: as the entities of the result do."""


class StoryResult(Plain):
    """Output of the story stage."""

    story: Story
    """The story that is used."""
    entities: tuple[Entity, ...]
    """Who and what must look the same in every scene."""
    rounds: tuple[StoryRound, ...]
    """All drafts, oldest first."""
    chosen_iteration: int
    """Number of the draft that is used."""
    approved: bool
    """Whether the critic approved it."""
    text: str
    """The story as text, for people and for the contract's `story`."""
    facts: BriefFacts = BriefFacts()
    """What the brief says, as it was read, with the owner's corrections."""
    warnings: tuple[str, ...] = ()
    """What was drawn otherwise than the brief says, or chosen because it says nothing."""


class ScenesResult(Plain):
    """Output of the scenes stage."""

    scenes: tuple[Scene, ...]
    """The scenes in their order."""
    cohesion: Cohesion | None
    """How they follow on one another; null: no cohesor was asked."""
    cohesion_rounds: int
    """How often the cohesor judged them."""


class Clip(Plain):
    """The moving picture of one scene, as the video model made it."""

    scene_number: int
    artifact: str
    """sha256 of the MP4 in the artifact store."""
    num_frames: int = Field(ge=1)
    """Native frames in that file."""
    native_fps: int = Field(ge=1)
    audio: str | None = None
    """sha256 of its stem, the WAV file of what is heard with it; null: it is silent."""
    first_frame: str | None = None
    """sha256 of the picture that it started from; null: it was made from text or from the clip before, or that is not
    known."""


class FinalVideo(Plain):
    """The finished ad."""

    artifact: str
    """sha256 of the MP4."""
    thumbnail: str
    """sha256 of the JPEG."""
    frames: int
    """Number of its frames."""
    fps: int
    """Frames per second."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    seconds: float
    """Its length: `frames / fps`."""
    has_sound: bool = False
    """Whether it has a sound track."""
