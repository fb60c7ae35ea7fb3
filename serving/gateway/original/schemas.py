"""Bodies and answers of `/api/generations`, the contract's original pipeline."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field, model_validator

from models.interfaces import Plain
from models.spec import AspectRatio
from pipelines.brief import MAX_REFERENCES, Framework
from pipelines.orders.ad import MAX_VARIATIONS, MIN_VARIATIONS
from pipelines.records import ComparisonType, GenerationStatus
from quality.score import Fidelity, Score
from serving.gateway.generations.schemas import AdPrompt, Brand, CoherenceBody, Title
from serving.gateway.orders import ReferenceRoles
from serving.gateway.requests import PictureSource


class AdFields(Plain):
    """The fields that one ad and all ads of a comparison share."""

    framework: Framework | None = None
    duration: Annotated[int, Field(ge=9, le=60)] = 15
    aspect_ratio: AspectRatio = "9:16"
    title: Title | None = None
    brand_name: Brand | None = None
    num_scenes: Annotated[int, Field(ge=2, le=20)] | None = None
    use_llm: bool = True
    """False: no agent is asked, and every scene shows the prompt itself."""
    accept_out_of_domain: bool = False
    """True: what the models cannot draw is replaced by the nearest thing that they can, with a warning."""
    coherence_settings: CoherenceBody | None = None


class GenerateBody(AdFields):
    """Body of `POST /api/generations/generate`."""

    prompt: AdPrompt
    reference_images: Annotated[list[PictureSource], Field(max_length=MAX_REFERENCES)] = Field(default_factory=list)
    """Files, base64 or artifact ids."""
    reference_roles: ReferenceRoles = Field(default_factory=list)

    @model_validator(mode="before")
    @classmethod
    def _one_or_several(cls, data: Any) -> Any:
        if isinstance(data, dict) and "reference_images" in data and not isinstance(data["reference_images"], list):
            return {**data, "reference_images": [data["reference_images"]]}
        return data


class VariationBody(Plain):
    prompt: AdPrompt | None = None
    coherence_settings: CoherenceBody | None = None


class ParallelBody(AdFields):
    """Body of `POST /api/generations/generate/parallel`."""

    base_prompt: AdPrompt
    variations: Annotated[list[VariationBody], Field(min_length=MIN_VARIATIONS, max_length=MAX_VARIATIONS)]
    comparison_type: ComparisonType

    @model_validator(mode="after")
    def _vary_what_is_compared(self) -> ParallelBody:
        wanted, other = "coherence_settings", "prompt"
        if self.comparison_type == "prompt":
            wanted, other = other, wanted
        for number, variation in enumerate(self.variations, start=1):
            if getattr(variation, wanted) is None or getattr(variation, other) is not None:
                raise ValueError(
                    f"variation {number}: a comparison of type {self.comparison_type} needs {wanted} alone"
                )
        return self


class Accepted(Plain):
    generation_id: str
    status: GenerationStatus
    message: str


class GroupAccepted(Plain):
    group_id: str
    generation_ids: list[str]
    comparison_type: ComparisonType
    status: GenerationStatus = "pending"
    message: str


class StatusObject(Plain):
    """Status and progress of a generation, for polling."""

    generation_id: str
    status: GenerationStatus
    progress: int
    current_step: str | None
    video_url: str | None
    error_message: str | None
    cancellation_requested: bool


class WinnerBody(Plain):
    generation_id: str


class QualityMetricObject(Plain):
    """The contract's QualityMetric: one measured value."""

    id: str
    generation_id: str
    scene_number: int | None
    """None: the finished video."""
    metric_name: str
    metric_value: float
    model_name: str | None
    """The learned model behind the value; None for a formula."""
    created_at: datetime


class QualityReport(Plain):
    """The quality metrics of a generation. One that could not be measured is null, and `reasons` says why."""

    generation_id: str
    metrics: dict[str, float | None]
    """`image_quality_score` and `video_quality_score` (0 to 100), and every dimension on its own scale: of the finished
    video where it is measured as a whole, else the mean over the scenes."""
    reasons: dict[str, str]
    formulas: dict[str, str]
    """What the two scores are means of."""
    fidelity: dict[str, Fidelity]
    """How near each value is to the published metric; `toy`: by weights that know a toy world only."""
    quality_metrics: list[QualityMetricObject]
    scores: list[Score]
    """The same with everything that must agree before two values may be compared."""
