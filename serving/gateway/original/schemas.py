"""Bodies and answers of `/api/generations`, the contract's original pipeline."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, model_validator

from models.interfaces import Plain, Seed
from models.spec import AspectRatio
from pipelines.brief import MAX_REFERENCES, FrameworkName
from pipelines.orders.ad import MAX_VARIATIONS, MIN_VARIATIONS
from pipelines.records import ComparisonType, GenerationStatus
from quality.score import Fidelity, Score
from serving.gateway.generations.schemas import AdPrompt, Brand, CoherenceBody, QualityBody, Title
from serving.gateway.orders import OpenBody, ReferenceRoles
from serving.gateway.requests import Id, PictureSource


class OpenCoherence(CoherenceBody, OpenBody):
    """Coherence settings of an order; other fields than these are not used."""


class AdFields(OpenBody):
    """The fields that one ad and all ads of a comparison share."""

    framework: FrameworkName | None = None
    """`AIDA`, `PAS` or `BAB`, in any case: the order in which the ad argues; null: the recipe's."""
    duration: Annotated[int, Field(ge=9, le=60)] = 15
    """Seconds of the finished video, 9 to 60."""
    aspect_ratio: AspectRatio = "9:16"
    """Width to height of the ad: `9:16` (upright), `16:9` (wide) or `1:1` (square)."""
    title: Title | None = None
    """A working title, at most 200 characters; null: none."""
    brand_name: Brand | None = None
    """The brand, which the agents then keep to; at most 100 characters."""
    num_scenes: Annotated[int, Field(ge=2, le=20)] | None = None
    """Number of scenes; null: as many as the framework has for this duration."""
    use_llm: bool = True
    """False: no agent is asked, and every scene shows the prompt itself."""
    accept_out_of_domain: bool = False
    """True: what the models cannot draw is replaced by the nearest thing that they can, with a warning."""
    seed: Seed | None = None
    """Null: that of the coherence settings, else a random one, which the answer reports as `seed_value`."""
    coherence_settings: OpenCoherence | None = None
    """How the scenes are kept alike; fields that are left out are as the recipe says."""
    quality: QualityBody | None = None
    """What is measured, and what each scene must reach."""
    reference_images: Annotated[list[PictureSource], Field(max_length=MAX_REFERENCES)] = Field(default_factory=list)
    """Files, base64 or artifact ids."""
    reference_roles: ReferenceRoles = Field(default_factory=list)
    """What they show, in their order; empty: by their files' names, else `product`."""

    @model_validator(mode="before")
    @classmethod
    def _one_or_several(cls, data: Any) -> Any:
        if isinstance(data, dict) and "reference_images" in data and not isinstance(data["reference_images"], list):
            return {**data, "reference_images": [data["reference_images"]]}
        return data


class GenerateBody(AdFields):
    """Body of `POST /api/generations/generate`."""

    prompt: AdPrompt
    """What the ad is for, 10 to 5,000 characters."""


class VariationBody(OpenBody):
    """What one ad of a comparison has of its own; `{}`: nothing, it is the base to compare with."""

    prompt: AdPrompt | None = None
    """In a comparison of type `prompt`; null: the base's."""
    coherence_settings: OpenCoherence | None = None
    """In a comparison of type `settings`: what differs from the base; null: nothing."""


class ParallelBody(AdFields):
    """Body of `POST /api/generations/generate/parallel`."""

    base_prompt: AdPrompt
    """What all of them are for, 10 to 5,000 characters."""
    variations: Annotated[list[VariationBody], Field(min_length=MIN_VARIATIONS, max_length=MAX_VARIATIONS)]
    """One for each generation."""
    comparison_type: ComparisonType
    """What the generations differ in: `settings` or `prompt`."""


class Accepted(Plain):
    """A generation that was taken in."""

    generation_id: str
    """Id of the generation."""
    status: GenerationStatus
    """`pending`, `processing`, `awaiting_approval`, `completed`, `failed` or `cancelled`."""
    message: str
    """One sentence for people."""
    seed_value: int
    """The same order with this seed is made the same again."""
    warnings: list[str] = Field(default_factory=list)
    """What is to be known of it: fields that were not used, what is drawn otherwise, what the models are."""


class GroupAccepted(Plain):
    """Generations that were taken in to be compared."""

    group_id: str
    """Id of the comparison."""
    generation_ids: list[str]
    """In the order of the variations."""
    comparison_type: ComparisonType
    """What the generations differ in: `settings` or `prompt`."""
    status: GenerationStatus = "pending"
    """`pending`, `processing`, `awaiting_approval`, `completed`, `failed` or `cancelled`."""
    message: str
    """One sentence for people."""
    warnings: list[str] = Field(default_factory=list)
    """Of all of them together, each once."""


class StatusObject(Plain):
    """Status and progress of a generation, for polling."""

    generation_id: str
    """Id of the generation."""
    status: GenerationStatus
    """`pending`, `processing`, `awaiting_approval`, `completed`, `failed` or `cancelled`."""
    progress: int
    """Percent of the whole, 0 to 100."""
    current_step: str | None
    """The part of the work, for people; null: none."""
    video_url: str | None
    """Address of the finished video; null before there is one."""
    error_message: str | None
    """Why it failed; null: it did not."""
    cancellation_requested: bool
    """Whether a cancel was asked for; it stops at its next denoising step."""
    seed_value: int
    """The seed that acts."""
    warnings: list[str] = Field(default_factory=list)
    """What is to be known of it: what is not approved and why, what is drawn otherwise, what the models are."""


class WinnerBody(Plain):
    """Body of `POST /api/generations/comparison/{group_id}/winner`."""

    generation_id: Id
    """One of the comparison's generations."""


class QualityMetricObject(Plain):
    """The contract's QualityMetric: one measured value."""

    id: str
    """Id of the value."""
    generation_id: str
    """Id of the generation."""
    scene_number: int | None
    """None: the finished video."""
    metric_name: str
    """What was measured: `vbench.temporal_flickering`."""
    metric_value: float
    """On the metric's own scale."""
    model_name: str | None
    """The learned model behind the value; None for a formula."""
    created_at: datetime
    """When it was made, UTC."""


class QualityReport(Plain):
    """The quality metrics of a generation. One that could not be measured is null, and `reasons` says why."""

    generation_id: str
    """Id of the generation."""
    metrics: dict[str, float | None]
    """`image_quality_score` and `video_quality_score` (0 to 100), and every dimension on its own scale: of the finished
    video where it is measured as a whole, else the mean over the scenes."""
    reasons: dict[str, str]
    """Why a metric has no value, by its name."""
    formulas: dict[str, str]
    """What the two scores are means of."""
    fidelity: dict[str, Fidelity]
    """How near each value is to the published metric; `toy`: by weights that know a toy world only."""
    quality_metrics: list[QualityMetricObject]
    """The contract's rows: every value that was measured."""
    scores: list[Score]
    """The same with everything that must agree before two values may be compared."""
