"""VBench's normalisation and its totals: Quality, Semantic and Total of a set of videos, and those of its I2V suite.

Sources: VBench (arXiv 2311.17982), `scripts/constant.py` and `scripts/cal_final_score.py`; VBench++ (arXiv 2411.13503),
`vbench2_beta_i2v`. A total exists only when every member is there and equal to the published one: VBench itself fills
what is missing with 0, whose normalised value is as low as -2.42, so that a total of a part means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from quality.score import Score
from quality.summaries import mixed_kinds

BOUNDS: dict[str, tuple[float, float]] = {
    "vbench.subject_consistency": (0.1462, 1),
    "vbench.background_consistency": (0.2615, 1),
    "vbench.temporal_flickering": (0.6293, 1),
    "vbench.motion_smoothness": (0.706, 0.9975),
    "vbench.dynamic_degree": (0, 1),
    "vbench.aesthetic_quality": (0, 1),
    "vbench.imaging_quality": (0, 1),
    "vbench.object_class": (0, 1),
    "vbench.multiple_objects": (0, 1),
    "vbench.human_action": (0, 1),
    "vbench.color": (0, 1),
    "vbench.spatial_relationship": (0, 1),
    "vbench.scene": (0, 0.8222),
    "vbench.appearance_style": (0.0009, 0.2855),
    "vbench.temporal_style": (0, 0.364),
    "vbench.overall_consistency": (0, 0.364),
    "vbench_i2v.camera_motion": (0, 1),
    "vbench_i2v.subject": (0.1462, 1),
    "vbench_i2v.background": (0.2615, 1),
}
"""What VBench maps to 0 and to 1, by metric; values beyond are not clamped."""
LOOKS = {
    "vbench.subject_consistency": 1,
    "vbench.background_consistency": 1,
    "vbench.motion_smoothness": 1,
    "vbench.aesthetic_quality": 1,
    "vbench.imaging_quality": 1,
    "vbench.dynamic_degree": 0.5,
}
MEANS = (
    "vbench.object_class", "vbench.multiple_objects", "vbench.human_action", "vbench.color",
    "vbench.spatial_relationship", "vbench.scene", "vbench.appearance_style", "vbench.temporal_style",
    "vbench.overall_consistency",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A weighted mean of normalised metrics, and what it weighs in the total."""

    name: str
    weights: Mapping[str, float]
    share: float


@dataclass(frozen=True)
class Suite:
    """A total and its parts."""

    total: str
    parts: tuple[Part, ...]


VBENCH = Suite(
    "vbench.total",
    (
        Part("vbench.quality", {**LOOKS, "vbench.temporal_flickering": 1}, 0.8),
        Part("vbench.semantic", dict.fromkeys(MEANS, 1), 0.2),
    ),
)
VBENCH_I2V = Suite(
    "vbench_i2v.total",
    (
        Part("vbench_i2v.quality", LOOKS, 0.5),
        Part(
            "vbench_i2v.i2v",
            {"vbench_i2v.camera_motion": 0.1, "vbench_i2v.subject": 1, "vbench_i2v.background": 1},
            0.5,
        ),
    ),
)


def normalised(metric_id: str, raw: float) -> float:
    """VBench's normalisation of a mean over videos, imaging quality on its scale of 0 to 1. Not clamped."""
    least, greatest = BOUNDS[metric_id]
    return (raw - least) / (greatest - least)


def totals(scores: Sequence[Score], suite: Suite = VBENCH) -> tuple[Score, ...]:
    """The parts of a suite and its total over videos: each with a value, or with the list of what is missing.

    `scores` holds one score per metric and video, with others that are not looked at. A member counts when each of its
    scores is `equal` and has a value, and all were measured in one way.
    """
    ids = [metric for part in suite.parts for metric in part.weights]
    values = {metric: _mean(metric, [score for score in scores if score.metric_id == metric]) for metric in ids}
    ways = {score.protocol for score in scores if score.metric_id in ids} - {"static_filtered"}
    mixed = [f"the protocols {', '.join(sorted(ways))} are mixed"] if len(ways) > 1 else []
    made = []
    total = 0.0
    for part in suite.parts:
        missing = [*mixed, *_missing(values, part.weights)]
        mean = 0.0
        if not missing:
            weighed = [
                weight * normalised(metric, value)
                for metric, weight in part.weights.items()
                if isinstance(value := values[metric], float)
            ]
            mean = sum(weighed) / sum(part.weights.values())
        total += part.share * mean
        made.append(_score(part.name, mean, missing))
    return (*made, _score(suite.total, total, [*mixed, *_missing(values, ids)]))


def _mean(metric_id: str, scores: Sequence[Score]) -> float | str:
    """The mean over videos on VBench's scale, or why it does not count."""
    if not scores:
        return "not measured"
    if (mixed := mixed_kinds(scores)) is not None:
        return mixed
    for score in scores:
        if score.raw is None:
            return score.reason or ""
        if score.fidelity != "equal":
            return f"{score.fidelity}, not equal"
    mean = fmean(score.raw for score in scores if score.raw is not None)
    # VBench's imaging quality is 0 to 100 of a video and 0 to 1 of a set.
    return mean / 100 if scores[0].range == (0, 100) else mean


def _missing(values: Mapping[str, float | str], members: Mapping[str, float] | Sequence[str]) -> list[str]:
    return [f"{metric} ({value})" for metric in members if isinstance(value := values[metric], str)]


def _score(metric_id: str, raw: float, missing: Sequence[str]) -> Score:
    impl_id = f"{metric_id.replace('.', '_')}@1"
    if missing:
        return Score(metric_id=metric_id, impl_id=impl_id, reason=f"missing: {'; '.join(missing)}")
    return Score(metric_id=metric_id, impl_id=impl_id, fidelity="equal", raw=raw, range=(0, 1))
