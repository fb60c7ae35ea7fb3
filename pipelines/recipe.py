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
from quality.registry import ON_A_STILL

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
    """Who writes the story, and when it is good enough."""

    critic: bool = True
    """Whether a critic judges each draft."""
    max_rounds: Rounds = 3
    """Drafts at most, 1 to 10."""
    approve_at: Score = 85.0
    """The critic's score from which a draft is taken, 0 to 100."""


class SceneAgents(Plain):
    """Who writes the scenes, and when they are good enough."""

    critic: bool = True
    """Whether a critic judges each draft of a scene."""
    max_rounds: Rounds = 2
    """Drafts of a scene at most, 1 to 10."""
    approve_at: Score = 85.0
    """The critic's score from which a scene is taken, 0 to 100."""
    cohesor: bool = True
    """Whether an agent judges how the scenes follow on one another."""
    cohesion_rounds: Rounds = 2
    """Times at most that the cohesor judges all scenes, 1 to 10."""
    cohesion_at: Score = 80.0
    """Below it, only the scenes that the cohesor flags are rewritten."""
    enhance_image_prompt: bool = False
    """Whether an agent rewrites the prompt of each keyframe."""
    enhance_video_prompt: bool = False
    """Whether an agent rewrites the prompt of each clip."""


class Transitions(Plain):
    """How scenes follow on one another, by the cohesor's transition score; `unscored` when there is no cohesor."""

    crossfade_at: Score = 85.0
    """Score from which two scenes are crossfaded, 0 to 100."""
    cut_at: Score = 70.0
    """Score from which two scenes are cut together, 0 to 100; below it they fade through black."""
    crossfade_seconds: Annotated[float, Field(gt=0.0, le=1.5)] = 0.5
    """Length of a crossfade, at most 1.5 seconds."""
    fade_seconds: Annotated[float, Field(gt=0.0, le=1.5)] = 0.8
    """Length of a fade through black, at most 1.5 seconds."""
    unscored: Transition = "cut"
    """The transition where there is no score."""


class BriefLimits(Plain):
    """What the recipe asks of a brief; the defaults are the contract's for an ad."""

    min_prompt: Annotated[int, Field(ge=1)] = 1
    """Characters of the prompt at least."""
    min_seconds: Annotated[int, Field(ge=1)] = 9
    """Seconds of the finished video at least."""
    max_seconds: Annotated[int, Field(ge=1)] = 60
    """Seconds of the finished video at most."""
    min_scenes: Annotated[int, Field(ge=1)] = 2
    """Scenes at least, where their number is asked for."""


class SampleSettings(Plain):
    """How pictures are sampled; None: as the model's description says."""

    preset: str | None = None
    """Settings that the model's description has under this name, such as `fast`: LoRAs, steps and guidance together.
    What is given beside it comes before it; null: none."""
    size: Size | None = None
    """Width and height in pixels; null: the model's own for the aspect ratio."""
    num_inference_steps: Annotated[int, Field(ge=1, le=200)] | None = None
    """Denoising steps, 1 to 200; null: the model's default."""
    guidance_scale: Annotated[float, Field(ge=0.0, le=30.0)] | None = None
    """How strictly the prompt is followed, 0 to 30; null: the model's default."""
    negative_prompt: str = ""
    """What the pictures must not show; empty: nothing is excluded."""
    loras: tuple[LoraUse, ...] = ()
    """LoRAs of the model that act."""
    deterministic: bool = False
    """Run alone and without approximating caches: the same bits whatever else runs."""


class ClipSettings(SampleSettings):
    """How clips are sampled; None: as the model's description says."""

    num_frames: Annotated[int, Field(ge=1)] | None = None
    """Native frames of every clip; None: what the timeline needs."""


Least = Annotated[float, Field(ge=-1000.0, le=1000.0, allow_inf_nan=False)]
Minimum = Least | Annotated[dict[str, Least], Field(min_length=1, max_length=20)]
"""The least value of a quality dimension, on its own scale. By implementation: the name of the model that measures
(`sketch-clip`) or, of a formula, the `impl_id` of its scores (`flow_smoothness@2`); what another one measures is not
judged, because the same picture has other values there. One number alone is for whatever measures."""


class QualityGate(Plain):
    """What a scene's still and clip must reach. Without minimums there is no gate."""

    minimums: dict[str, Minimum] = Field(default_factory=dict, max_length=20)
    """By quality dimension: the least value by the model that measures it, `{"keyframe_alignment": {"sketch-clip":
    0.5}}`, or one number for whatever measures. Measured also when `quality_dimensions` does not name it."""
    retakes: Annotated[int, Field(ge=0, le=5)] = 1
    """How often a still or clip below a minimum is made again, each with another seed; the best take stays."""


class Candidates(Plain):
    """How many stills are drawn of each scene, and by which scores the best one is kept."""

    n: Annotated[int, Field(ge=1, le=8)] = 1
    """Stills of a scene, each from another seed, drawn at once. 1: the first one, which is drawn in any case."""
    rank: dict[str, Annotated[float, Field(ge=-10.0, le=10.0, allow_inf_nan=False)]] = Field(
        default_factory=dict, max_length=20
    )
    """Weights by quality dimension. The still with the greatest weighted sum stays, each dimension counted in standard
    deviations over the stills of the scene; a weight below 0 prefers less, as of `product_colour`. `preference` has a
    vision chat model compare every two of them."""

    @model_validator(mode="after")
    def _ranked(self) -> Candidates:
        if self.n > 1 and not any(self.rank.values()):
            raise ValueError(
                f"{self.n} candidates need a rank that tells the best one: give weights by quality dimension, such as "
                '{"keyframe_alignment": 1}'
            )
        return self


class Recipe(Plain):
    """Which stages run, with which agents, thresholds, approvals and coherence."""

    name: str
    """What it is asked for by."""
    description: str
    """What it is for, in a sentence."""
    stages: tuple[StageName, ...]
    """The stages that run, in their order."""
    approvals: tuple[StageName, ...] = ()
    """Stages after which the generation waits for its owner's approval, as a row and nothing else."""
    framework: Framework = "AIDA"
    """Used when the brief names none."""
    story: StoryAgents = StoryAgents()
    """How the story is written."""
    scenes: SceneAgents = SceneAgents()
    """How the scenes are written."""
    facts: tuple[FactName, ...] = get_args(FactName)
    """The facts that matter: a draft that breaks one is not approved, whatever its score."""
    transitions: Transitions = Transitions()
    """How the scenes are joined."""
    coherence: CoherenceSettings = CoherenceSettings()
    """Used for every coherence field that the brief leaves unset."""
    drawn_references: Annotated[int, Field(ge=1, le=3)] = 1
    """Pictures of the product that the stage `reference_image` draws, each from another seed, to choose from."""
    limits: BriefLimits = BriefLimits()
    """What is asked of a brief."""
    image: SampleSettings = SampleSettings()
    """How keyframes are sampled."""
    video: ClipSettings = ClipSettings()
    """How clips are sampled."""
    scene_concurrency: Annotated[int, Field(ge=1, le=64)] = 64
    """Scenes at work at once; the lanes and replicas of the models decide how many of them really run."""
    quality_dimensions: tuple[str, ...] = (
        "temporal_flickering",
        "flow_smoothness",
        "flow_dynamics",
        "clip_consistency",
        "text_alignment",
        "keyframe_alignment",
        "product_similarity",
        "style_similarity",
        "boundary_similarity",
        "gap_decay",
        "brief_similarity",
        "ad.first_product",
    )
    """All that can be measured here; they cost little beside the making of a clip. The five before the last one compare
    the scenes, the last one looks at the finished video."""
    quality_gate: QualityGate = QualityGate()
    """What a scene must reach, else it is made again."""
    candidates: Candidates = Candidates()
    """Stills of which the best one is kept."""

    @property
    def measured(self) -> frozenset[str]:
        """Names of the quality dimensions that are measured, be it for the gate or the ranking alone."""
        ranked = {ON_A_STILL.get(name, name) for name in self.candidates.rank}
        return frozenset({*self.quality_dimensions, *self.quality_gate.minimums, *ranked})

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
