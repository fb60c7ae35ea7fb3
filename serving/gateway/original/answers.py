"""Answers of `/api/generations`, the contract's original pipeline."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from models.interfaces import Plain
from pipelines.records import ComparisonType, GenerationStatus
from quality.score import Fidelity, Score


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
