"""The scores of a generation as the contract's quality metrics. Pure; a number that was not measured stays null.

The contract's two scores are means of what this server can measure, by the formulas in the report. Neither is VBench's
total, which only exists where VBench's own models and protocol were followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from pipelines.records import Generation, QualityMetric
from quality.registry import DIMENSIONS
from quality.score import Fidelity, Score
from serving.gateway.original.answers import QualityMetricObject, QualityReport

WORST_FIRST: tuple[Fidelity, ...] = ("toy", "classical", "proxy", "vbench_like", "vbench_equal")


@dataclass(frozen=True)
class Summary:
    """One of the contract's scores: 100 times the mean of its dimensions, each the mean over the scenes."""

    dimensions: tuple[str, ...]
    formula: str


SUMMARIES: dict[str, Summary] = {
    "image_quality_score": Summary(
        ("keyframe_alignment",),
        "100 * mean over scenes of max(0, cos(keyframe, its prompt)) by CLIP: CLIPScore on the scale of 0 to 100",
    ),
    "video_quality_score": Summary(
        ("temporal_flickering", "flow_smoothness", "clip_consistency"),
        "100 * mean of temporal_flickering, flow_smoothness and clip_consistency, each 0 to 1 and the mean over "
        "scenes; a frozen clip scores high: read flow_dynamics and text_alignment beside it",
    ),
}


def quality_report(generation: Generation, scores: Sequence[Score], measured: Sequence[QualityMetric]) -> QualityReport:
    """The contract's report. `scores`: what the quality stage made, empty before it; `measured`: the rows so far."""
    metrics: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    fidelity: dict[str, Fidelity] = {}
    for name, summary in SUMMARIES.items():
        parts = [_of_scenes(scores, dimension_name) for dimension_name in summary.dimensions]
        missing = next((part for part in parts if isinstance(part, str)), None)
        metrics[name] = None
        if missing is not None:
            reasons[name] = missing if scores else _not_scored(generation)
            continue
        metrics[name] = round(100 * fmean(max(0.0, part) for part in parts if not isinstance(part, str)), 2)
        fidelity[name] = _fidelity([score for score in scores if dimension(score) in summary.dimensions])
    for name in dict.fromkeys(dimension(score) for score in scores):
        own = [score for score in scores if dimension(score) == name]
        found = _of_whole(own, name)
        metrics[name] = found if isinstance(found, float) else None
        if isinstance(found, str):
            reasons[name] = found
        else:
            fidelity[name] = _fidelity(own)
    return QualityReport(
        generation_id=generation.id,
        metrics=metrics,
        reasons=reasons,
        formulas={name: summary.formula for name, summary in SUMMARIES.items()},
        fidelity=fidelity,
        quality_metrics=[_metric(row, row.metric_value) for row in measured if row.metric_value is not None],
        scores=list(scores),
    )


def dimension(score: Score) -> str:
    """The name of the dimension that a score is of."""
    return score.metric_id.rpartition(".")[2]


def _of_whole(scores: Sequence[Score], name: str) -> float | str:
    """A dimension's score of the finished video, else its mean over the scenes; or why there is no value."""
    whole = next((score for score in scores if score.scene_number is None), None)
    if whole is None:
        return _of_scenes(scores, name)
    return whole.raw if whole.raw is not None else whole.reason or ""


def _of_scenes(scores: Sequence[Score], name: str) -> float | str:
    """The mean over the scenes, or why there is none: one that lacks a value, or values of different kinds."""
    own = [score for score in scores if dimension(score) == name and score.scene_number is not None]
    if not own:
        medium = "keyframe" if "keyframe" in DIMENSIONS[name].media else "clip"
        return f"{name} was not measured: the recipe does not name it, or there was no {medium}"
    unmeasured = next((score for score in own if score.raw is None), None)
    if unmeasured is not None:
        return f"{name} of scene {unmeasured.scene_number}: {unmeasured.reason}"
    if len({(score.impl_id, score.backbone, score.protocol) for score in own}) > 1:
        return f"{name} was measured in different ways, which have no mean"
    return fmean(score.raw for score in own if score.raw is not None)


def _fidelity(scores: Sequence[Score]) -> Fidelity:
    """The lowest fidelity among scores that have a value."""
    return min((score.fidelity for score in scores if score.fidelity is not None), key=WORST_FIRST.index)


def _not_scored(generation: Generation) -> str:
    if "quality" not in generation.recipe.stages:
        return f"recipe {generation.recipe.name!r} measures no quality"
    return f"not measured: the generation is {generation.status}"


def _metric(row: QualityMetric, value: float) -> QualityMetricObject:
    return QualityMetricObject(**row.model_dump(exclude={"metric_value", "reason"}), metric_value=value)
