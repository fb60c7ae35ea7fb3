"""The dimensions as a list to choose from: what each gives, what it needs, and what it costs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from pydantic import BaseModel, ConfigDict

from quality.registry import DIMENSIONS, UNAVAILABLE, not_available, of_name
from quality.score import Fidelity, Medium
from quality.stream import Stream

FRAMES = 120
"""Of the clip that costs are said of: 5 s at 24 fps, 832 x 480."""
SAMPLED = {"every": FRAMES, "first": 1, "8fps": 40, "2fps": 10, "middle8": 8, "pieces": 3}
GFLOP: dict[tuple[str, str], float] = {
    ("dino_vitb16", "vbench.dino224"): 61.8,
    ("clip_b32", "vbench.clip224"): 8.8,
    ("clip_b32", "vbench.clip224.pil"): 8.8,
    ("clip_l14", "vbench.clip224"): 162.0,
    ("dino_vitb16", "i2v.dino"): 35.1,
    ("dinov2_base", "i2v.dino"): 43.9,
    ("efficientnet_lite0", "lite224"): 0.77,
    ("musiq_koniq", "musiq.google"): 40.3,
    ("musiq_spaq", "musiq.google"): 40.3,
    ("musiq_spaq", "musiq.vbench"): 20.7,
    ("raft", "pad8"): 961.0,
    ("xfeat", "as_is"): 3.4,
}
"""Of one frame of that clip, in float32, by torch's FlopCounter (2 a multiply-add); for RAFT, of one pair."""
TFLOP_A_CLIP: dict[str, float] = {"dover": 0.564, "transnetv2": 3 * 0.0832, "viclip_l14": 1.653}
"""Of models that see several frames at once: of the whole clip. DOVER's as published, 282 GMAC; TransNetV2's of three
windows of 100 frames; ViCLIP's of its 8 frames together."""


class Entry(BaseModel):
    """One dimension."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """As recipes and requests name it."""
    metric_id: str
    """As its scores are named."""
    label: Fidelity | None
    """The best that it can be, with the published weights; null: there is no implementation."""
    range: tuple[float, float | None] | None
    """Least and greatest value."""
    media: tuple[Medium, ...]
    """What it is measured on."""
    models: tuple[str, ...]
    """What it needs, as the profile's `scorers` name it."""
    licences: tuple[str, ...]
    """Of the weights of those models that are known here, in the same order."""
    tflop: float | None
    """Of the models for a clip of 5 s at 832 x 480; null: not counted."""
    cpu_seconds: float | None
    """Of a formula for that clip, on one core; null: not measured."""
    questions: str | None
    """How often it asks a chat model, whatever the length of the clip; null: never."""
    missing: str | None
    """Why it cannot be measured here; null: it can."""


def entries(licences: Mapping[str, str], here: Collection[str]) -> tuple[Entry, ...]:
    """Every dimension, in the registry's order; then those that have no implementation.

    `licences` are by the model's name in a profile's `scorers`; `here` are those that this deployment has.
    """
    listed = []
    for name, dimension in DIMENSIONS.items():
        of = of_name(name)
        models = tuple(dict.fromkeys(stream.backbone for stream in of.NEEDS))
        absent = [model for model in models if model not in here]
        listed.append(
            Entry(
                name=name,
                metric_id=of.METRIC.id,
                label=of.METRIC.fidelity,
                range=of.METRIC.range,
                media=dimension.media,
                models=models,
                licences=tuple(licences[model] for model in models if model in licences),
                tflop=_tflop(of.NEEDS),
                cpu_seconds=of.METRIC.cpu_seconds,
                questions=of.METRIC.questions,
                missing=f"name a model for {' and '.join(absent)} under `scorers` in the profile" if absent else None,
            )
        )
    return (*listed, *(_absent(name) for name in UNAVAILABLE))


def _absent(name: str) -> Entry:
    score = not_available(name)
    return Entry(
        name=name,
        metric_id=score.metric_id,
        label=None,
        range=None,
        media=("clip", "video"),
        models=(),
        licences=(),
        tflop=None,
        cpu_seconds=None,
        questions=None,
        missing=score.reason,
    )


def _tflop(streams: Collection[Stream]) -> float | None:
    """Of all streams together; None when there is none, or one is not counted."""
    costs = []
    for stream in streams:
        each = GFLOP.get((stream.backbone, stream.preprocessing))
        if stream.backbone == "laion_v1":  # one layer over CLIP's vectors: nothing beside them
            continue
        if stream.backbone in TFLOP_A_CLIP:
            costs.append(TFLOP_A_CLIP[stream.backbone])
        elif each is None or stream.sampling not in SAMPLED:
            return None
        else:
            costs.append(each * (SAMPLED[stream.sampling] - (stream.backbone == "raft")) / 1000)
    return round(sum(costs), 2) if costs else None
