"""A recipe: which stages run, with which agents, thresholds, transitions and coherence. Data only.

Read from `configs/recipes/*.yaml`; an unknown key is an error.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from models.interfaces import LoraUse, Plain
from models.spec import Size
from pipelines.brief import Brief, Framework
from pipelines.coherence import CoherenceSettings
from pipelines.errors import BadInput

StageName = Literal["story", "scenes", "reference_image", "storyboard", "video", "stitch", "quality"]
"""The stages by name, in the order in which they run."""
STAGE_ORDER: tuple[StageName, ...] = get_args(StageName)
Score = Annotated[float, Field(ge=0.0, le=100.0)]
Rounds = Annotated[int, Field(ge=1, le=10)]
Transition = Literal["crossfade", "cut", "fade"]
FactName = Literal[
    "product", "colour", "material", "other_product", "brand", "place", "claim", "offer", "call_to_action", "language",
    "length", "repetition", "event", "avoid", "feedback",
]  # fmt: skip
"""What of a brief a draft can break (`pipelines.agents.judge`)."""


class StoryAgents(Plain):
    critic: bool = True
    max_rounds: Rounds = 3
    approve_at: Score = 85.0


class SceneAgents(Plain):
    critic: bool = True
    max_rounds: Rounds = 2
    approve_at: Score = 85.0
    cohesor: bool = True
    cohesion_rounds: Rounds = 2
    cohesion_at: Score = 80.0
    """Below it, only the scenes that the cohesor flags are rewritten."""
    enhance_image_prompt: bool = False
    enhance_video_prompt: bool = False


class Transitions(Plain):
    """How scenes follow on one another, by the cohesor's transition score; `unscored` when there is no cohesor."""

    crossfade_at: Score = 85.0
    cut_at: Score = 70.0
    crossfade_seconds: Annotated[float, Field(gt=0.0, le=1.5)] = 0.5
    fade_seconds: Annotated[float, Field(gt=0.0, le=1.5)] = 0.8
    unscored: Transition = "cut"


class BriefLimits(Plain):
    """What the recipe asks of a brief; the defaults are the contract's for an ad."""

    min_prompt: Annotated[int, Field(ge=1)] = 10
    min_seconds: Annotated[int, Field(ge=1)] = 9
    max_seconds: Annotated[int, Field(ge=1)] = 60
    min_scenes: Annotated[int, Field(ge=1)] = 2


class SampleSettings(Plain):
    """How pictures are sampled; None: as the model's description says."""

    size: Size | None = None
    num_inference_steps: Annotated[int, Field(ge=1, le=200)] | None = None
    guidance_scale: Annotated[float, Field(ge=0.0, le=30.0)] | None = None
    negative_prompt: str = ""
    loras: tuple[LoraUse, ...] = ()
    deterministic: bool = False


class ClipSettings(SampleSettings):
    num_frames: Annotated[int, Field(ge=1)] | None = None
    """Native frames of every clip; None: what the timeline needs."""


class QualityGate(Plain):
    """What a scene's still and clip must reach. Without minimums there is no gate."""

    minimums: dict[str, Annotated[float, Field(ge=-1000.0, le=1000.0)]] = Field(default_factory=dict, max_length=20)
    """By quality dimension, on its own scale; measured also when `quality_dimensions` does not name it."""
    retakes: Annotated[int, Field(ge=0, le=5)] = 1
    """How often a still or clip below a minimum is made again, each with another seed; the best take stays."""


class Recipe(Plain):
    name: str
    description: str
    stages: tuple[StageName, ...]
    approvals: tuple[StageName, ...] = ()
    """Stages after which the generation waits for its owner's approval, as a row and nothing else."""
    framework: Framework = "AIDA"
    """Used when the brief names none."""
    story: StoryAgents = StoryAgents()
    scenes: SceneAgents = SceneAgents()
    facts: tuple[FactName, ...] = get_args(FactName)
    """The facts that matter: a draft that breaks one is not approved, whatever its score."""
    transitions: Transitions = Transitions()
    coherence: CoherenceSettings = CoherenceSettings()
    """Used for every coherence field that the brief leaves unset."""
    drawn_references: Annotated[int, Field(ge=1, le=3)] = 1
    """Pictures of the product that the stage `reference_image` draws, each from another seed, to choose from."""
    limits: BriefLimits = BriefLimits()
    image: SampleSettings = SampleSettings()
    video: ClipSettings = ClipSettings()
    scene_concurrency: Annotated[int, Field(ge=1, le=64)] = 64
    """Scenes at work at once; the lanes and replicas of the models decide how many of them really run."""
    quality_dimensions: tuple[str, ...] = (
        "temporal_flickering",
        "flow_smoothness",
        "flow_dynamics",
        "clip_consistency",
        "text_alignment",
        "keyframe_alignment",
    )
    """All that can be measured here; they cost little beside the making of a clip."""
    quality_gate: QualityGate = QualityGate()

    @model_validator(mode="after")
    def _stages_in_order(self) -> Recipe:
        if list(self.stages) != [stage for stage in STAGE_ORDER if stage in self.stages]:
            raise ValueError(f"stages {self.stages!r} must be a part of {STAGE_ORDER!r}, in that order")
        return self

    @model_validator(mode="after")
    def _approvals_are_stages(self) -> Recipe:
        if list(self.approvals) != [stage for stage in self.stages if stage in self.approvals]:
            raise ValueError(f"approvals {self.approvals!r} must be a part of stages {self.stages!r}, in that order")
        return self

    def check_brief(self, brief: Brief) -> None:
        """Raises BadInput that names the field of `brief` outside the recipe's limits."""
        limits = self.limits
        if len(brief.prompt) < limits.min_prompt:
            raise BadInput(f"needs at least {limits.min_prompt} characters (got {brief.prompt!r})", "prompt")
        if not limits.min_seconds <= brief.duration <= limits.max_seconds:
            raise BadInput(
                f"must be {limits.min_seconds} to {limits.max_seconds} seconds for recipe {self.name!r} "
                f"(got '{brief.duration}')",
                "duration",
            )
        if brief.num_scenes is not None and brief.num_scenes < limits.min_scenes:
            raise BadInput(
                f"must be at least {limits.min_scenes} for recipe {self.name!r} (got {brief.num_scenes})", "num_scenes"
            )
