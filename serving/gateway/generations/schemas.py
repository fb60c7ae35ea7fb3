"""Bodies and answers of `/api/v1/generations`, and what the other views of generations share with them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from models.interfaces import Plain, Seed
from models.spec import AspectRatio
from pipelines.brief import MAX_PROMPT, MAX_REFERENCES, FrameworkName
from pipelines.coherence import CoherenceSettings
from pipelines.direction import Modifications
from pipelines.facts import FactEdits
from pipelines.recipe import Minimum, StageName
from pipelines.steps import Json
from pipelines.storyboard_file import Storyboard
from serving.gateway.orders import ReferenceBody, ReferenceRoles
from serving.gateway.requests import Id, PictureSource

AdPrompt = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_PROMPT)]
"""What an ad is for. Sessions ask for ten characters, as in the contract; all others take one word."""
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


class CandidatesBody(Plain):
    """How many stills are drawn of each scene, and which is kept. Fields that are left out are as the recipe says."""

    n: Annotated[int, Field(ge=1, le=8)] | None = None
    """Stills of a scene, each from another seed; all of them stay as takes. 1: no choice."""
    rank: Annotated[dict[Id, Annotated[float, Field(ge=-10, le=10)]], Field(max_length=20)] | None = None
    """Weights by dimension that is measured on stills. The still with the greatest weighted sum is kept, each dimension
    counted in standard deviations over the scene's stills; a weight below 0 prefers less."""


class QualityBody(Plain):
    """What is measured, and what a scene must reach. Fields that are left out are as the recipe says."""

    dimensions: Annotated[tuple[Id, ...], Field(max_length=20)] | None = None
    """Each is measured on what it is made for: a scene's still, its clip, the finished video."""
    minimums: Annotated[dict[Id, Minimum], Field(max_length=20)] | None = None
    """The least value by dimension, on its own scale; none of the recipe's holds then. Either by the model that
    measures, `{"keyframe_alignment": {"sketch-clip": 0.5}}` (of a formula, by its `impl_id`), where another one is not
    judged; or one number for whatever measures here. A scene below it is made again with another seed."""
    retakes: Annotated[int, Field(ge=0, le=5)] | None = None
    """How often at most, for each scene's still and clip; the best take stays."""
    candidates: CandidatesBody | None = None
    """Several stills of each scene, of which the best one is kept."""

    @property
    def gate(self) -> Json | None:
        """Fields of `pipelines.recipe.QualityGate`; None: the recipe's own."""
        given = {name: getattr(self, name) for name in ("minimums", "retakes")}
        return {name: value for name, value in given.items() if value is not None} or None

    @property
    def choice(self) -> Json | None:
        """Fields of `pipelines.recipe.Candidates`; None: the recipe's own."""
        return None if self.candidates is None else self.candidates.model_dump(exclude_none=True)


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
