"""The scores of a generation as the contract's quality metrics. Pure; a number that was not measured stays null.

The contract's two scores exist only where VBench's own protocol was followed: the mean over the clips of the
normalised dimensions, times 100.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from pipelines.store.records import Generation, QualityMetric
from quality.score import Score
from serving.gateway.schemas.legacy_generations import QualityMetricObject, QualityReport

SUMMARIES: dict[str, tuple[str, ...]] = {
    "image_quality_score": ("imaging_quality",),
    "video_quality_score": (
        "subject_consistency",
        "background_consistency",
        "temporal_flickering",
        "motion_smoothness",
    ),
}
"""The VBench dimensions that each of the contract's scores is the mean of."""


def quality_report(generation: Generation, scores: Sequence[Score], measured: Sequence[QualityMetric]) -> QualityReport:
    """`scores` as the quality stage left them; none: not measured (yet). `measured`: the rows that stand so far."""
    metrics: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for name, dimensions in SUMMARIES.items():
        metrics[name], reason = _summary(scores, dimensions)
        if reason is not None:
            reasons[name] = reason if scores else _not_scored(generation)
    for score in scores:
        if score.scene_number is not None:
            continue
        name = dimension(score)
        metrics[name] = score.raw
        if score.reason is not None:
            reasons[name] = score.reason
    return QualityReport(
        generation_id=generation.id,
        metrics=metrics,
        reasons=reasons,
        quality_metrics=[_metric(row, row.metric_value) for row in measured if row.metric_value is not None],
        scores=list(scores),
    )


def dimension(score: Score) -> str:
    return score.metric_id.rpartition(".")[2]


def _summary(scores: Sequence[Score], dimensions: tuple[str, ...]) -> tuple[float | None, str | None]:
    """The mean, or why there is none."""
    values: list[float] = []
    for name in dimensions:
        found = [score.normalised for score in scores if dimension(score) == name and score.scene_number is not None]
        measured = [value for value in found if value is not None]
        if not measured or len(measured) < len(found):
            return None, f"{name} was not measured by VBench's own protocol"
        values.append(fmean(measured))
    return round(100 * fmean(values), 2), None


def _not_scored(generation: Generation) -> str:
    if "quality" not in generation.recipe.stages:
        return f"recipe {generation.recipe.name!r} measures no quality"
    return f"not measured: the generation is {generation.status}"


def _metric(row: QualityMetric, value: float) -> QualityMetricObject:
    return QualityMetricObject(**row.model_dump(exclude={"metric_value", "reason"}), metric_value=value)
