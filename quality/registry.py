"""The dimensions by name: which can be measured here, and why the others cannot.

A new dimension is one file beside this one and one entry in `DIMENSIONS` (import path of its `measure`), taken out of
`UNAVAILABLE`. Modules are imported at first use.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

import numpy as np
import numpy.typing as npt

from quality.errors import UnknownDimension
from quality.score import Score

DIMENSIONS: dict[str, str] = {
    "temporal_flickering": "quality.temporal_flickering",
}
UNAVAILABLE: dict[str, str] = {
    "subject_consistency": "DINO ViT-B/16",
    "background_consistency": "CLIP ViT-B/32",
    "motion_smoothness": "AMT-S",
    "dynamic_degree": "RAFT",
    "aesthetic_quality": "CLIP ViT-L/14 and the LAION aesthetic head",
    "imaging_quality": "MUSIQ-SPAQ",
    "object_class": "GRiT",
    "multiple_objects": "GRiT",
    "human_action": "UMT ViT-L/16",
    "color": "GRiT",
    "spatial_relationship": "GRiT",
    "scene": "Tag2Text",
    "appearance_style": "CLIP ViT-B/32",
    "temporal_style": "ViCLIP-L/14",
    "overall_consistency": "ViCLIP-L/14",
}
"""VBench dimensions without an implementation yet, with the weights that each needs."""


def check_dimension(name: str) -> None:
    """Raises UnknownDimension when no dimension has this name."""
    if name not in DIMENSIONS and name not in UNAVAILABLE:
        known = ", ".join(sorted({*DIMENSIONS, *UNAVAILABLE}))
        raise UnknownDimension(f"quality dimension {name!r} is unknown: choose from {known}")


def measure(name: str, frames: Iterable[npt.NDArray[np.uint8]], decoder: str) -> Score:
    """The score of `frames` (RGB uint8, each height x width x 3) in dimension `name`. Raises UnknownDimension.

    A dimension that needs weights which are not there gives a score without a value, and the reason.
    """
    check_dimension(name)
    if name in UNAVAILABLE:
        return not_available(name)
    score: Score = import_module(DIMENSIONS[name]).measure(frames, decoder)
    return score


def not_available(name: str) -> Score:
    """The empty score of a dimension in `UNAVAILABLE`."""
    return Score(
        metric_id=f"vbench.{name}",
        impl_id=f"{name}@none",
        reason=f"needs weights that are not installed ({UNAVAILABLE[name]})",
    )
