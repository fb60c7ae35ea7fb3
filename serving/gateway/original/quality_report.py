"""The scores of a generation as the contract's quality metrics. Pure; a number that was not measured stays null.

The contract's two scores are means of what this server can measure, by the formulas in the report. Neither is VBench's
total, which only exists where VBench's own models and protocol were followed.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.records import Generation, QualityMetric
from quality.score import Fidelity, Score
from quality.summaries import SUMMARIES, dimension, lowest_fidelity, mean_of_scenes, summary_scores
from serving.gateway.original.answers import QualityMetricObject, QualityReport

OF_THE_AD = frozenset(name for name, summary in SUMMARIES.items() if not summary.of_scenes)


def quality_report(generation: Generation, scores: Sequence[Score], measured: Sequence[QualityMetric]) -> QualityReport:
    """The contract's report. `scores`: what the quality stage made, empty before it; `measured`: the rows so far."""
    metrics: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    fidelity: dict[str, Fidelity] = {}
    for summary in summary_scores(scores):
        if summary.scene_number is None and (name := dimension(summary)) in OF_THE_AD:
            metrics[name] = summary.raw
            if summary.fidelity is None:
                reasons[name] = (summary.reason or "") if scores else _not_scored(generation)
            else:
                fidelity[name] = summary.fidelity
    for name in dict.fromkeys(dimension(score) for score in scores):
        own = [score for score in scores if dimension(score) == name]
        found = _of_whole(own, name)
        metrics[name] = found if isinstance(found, float) else None
        if isinstance(found, str):
            reasons[name] = found
        else:
            fidelity[name] = lowest_fidelity(own)
    return QualityReport(
        generation_id=generation.id,
        metrics=metrics,
        reasons=reasons,
        formulas={name: summary.formula for name, summary in SUMMARIES.items()},
        fidelity=fidelity,
        quality_metrics=[_metric(row, row.metric_value) for row in measured if row.metric_value is not None],
        scores=list(scores),
    )


def _of_whole(scores: Sequence[Score], name: str) -> float | str:
    """A dimension's score of the finished video, else its mean over the scenes; or why there is no value."""
    whole = next((score for score in scores if score.scene_number is None), None)
    if whole is None:
        return mean_of_scenes(scores, name)
    return whole.raw if whole.raw is not None else whole.reason or ""


def _not_scored(generation: Generation) -> str:
    if "quality" not in generation.recipe.stages:
        return f"recipe {generation.recipe.name!r} measures no quality"
    return f"not measured: the generation is {generation.status}"


def _metric(row: QualityMetric, value: float) -> QualityMetricObject:
    return QualityMetricObject(**row.model_dump(exclude={"metric_value", "reason"}), metric_value=value)
