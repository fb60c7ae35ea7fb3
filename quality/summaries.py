"""The summary scores: one number for the pictures and one for the clips, per scene and for the whole ad, 0 to 100.

Means of what can be measured, by the formulas below. None is VBench's total, which only exists where VBench's own
models and protocol were followed. A summary of which a part has no value has none either, with that part's reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from quality.registry import DIMENSIONS
from quality.score import Fidelity, Score, dimension_name, lowest


@dataclass(frozen=True)
class Summary:
    """100 times the mean of its dimensions."""

    dimensions: tuple[str, ...]
    formula: str
    of_scenes: bool = False
    """Of each scene by itself; else of the whole ad, each dimension being the mean over its scenes."""


SUMMARIES: dict[str, Summary] = {
    "image_quality": Summary(
        ("keyframe_alignment",),
        "100 * max(0, cos(keyframe, its prompt)) by CLIP, of one scene",
        of_scenes=True,
    ),
    "temporal_consistency": Summary(
        ("temporal_flickering", "flow_smoothness"),
        "100 * mean of temporal_flickering and flow_smoothness, each 0 to 1, of one scene's clip; a frozen clip scores "
        "high: read flow_dynamics beside it",
        of_scenes=True,
    ),
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


def summary_scores(scores: Sequence[Score]) -> tuple[Score, ...]:
    """Every summary of `scores`, those of an ad: per scene in order, then of the whole ad (`scene_number` None)."""
    numbers = sorted({score.scene_number for score in scores if score.scene_number is not None})
    made: list[Score] = []
    for name, summary in SUMMARIES.items():
        if summary.of_scenes:
            for number in numbers:
                made.append(_summary(name, [score for score in scores if score.scene_number == number], number))
        else:
            made.append(_summary(name, scores, None))
    return tuple(made)


def dimension(score: Score) -> str:
    """The name of the dimension that a score is of."""
    return dimension_name(score.metric_id)


def mean_of_scenes(scores: Sequence[Score], name: str) -> float | str:
    """The mean over the scenes, or why there is none: one that lacks a value, or values of different kinds."""
    own = [score for score in scores if dimension(score) == name and score.scene_number is not None]
    if not own:
        medium = "keyframe" if "keyframe" in DIMENSIONS[name].media else "clip"
        return f"{name} was not measured: the recipe does not name it, or there was no {medium}"
    unmeasured = next((score for score in own if score.raw is None), None)
    if unmeasured is not None:
        return f"{name} of scene {unmeasured.scene_number}: {unmeasured.reason}"
    if (mixed := mixed_kinds(own)) is not None:
        return mixed
    return fmean(score.raw for score in own if score.raw is not None)


def mixed_kinds(scores: Sequence[Score]) -> str | None:
    """Why these scores of one dimension have no mean: they were not measured in one way. None: they were."""
    ways: dict[str, set[object]] = {
        "implementations": {score.impl_id for score in scores},
        "protocols": {score.protocol for score in scores},
        "preprocessings": {score.preproc for score in scores},
        "weights": {(score.backbone, score.weights_sha256) for score in scores},
    }
    differing = [what for what, found in ways.items() if len(found) > 1]
    if not differing:
        return None
    return f"{dimension(scores[0])} was measured in different ways ({', '.join(differing)}), which have no mean"


def lowest_fidelity(scores: Sequence[Score]) -> Fidelity:
    """The lowest fidelity among scores that have a value; there is at least one."""
    return lowest([score.fidelity for score in scores if score.fidelity is not None])


def _summary(name: str, scores: Sequence[Score], scene_number: int | None) -> Score:
    summary = SUMMARIES[name]
    own = [score for score in scores if dimension(score) in summary.dimensions and score.scene_number is not None]
    parts = [mean_of_scenes(own, part) for part in summary.dimensions]
    known = {"metric_id": f"admint.{name}", "impl_id": f"{name}@1", "scene_number": scene_number}
    if (missing := next((part for part in parts if isinstance(part, str)), None)) is not None:
        return Score(**known, reason=missing)
    return Score(
        **known,
        raw=round(100 * fmean(max(0.0, part) for part in parts if not isinstance(part, str)), 2),
        fidelity=lowest_fidelity(own),
        frames_used=sum(score.frames_used for score in own),
        backbone=next((score.backbone for score in own if score.backbone), None),
        note=summary.formula,
    )
