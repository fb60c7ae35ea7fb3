"""CLIP consistency: how much the frames of a clip look alike. Read it beside the alignment: a frozen wrong picture is
perfectly consistent.

score = 1/(T-1) * sum over t >= 2 of (max(0, cos(f_t, f_t-1)) + max(0, cos(f_t, f_1))) / 2, f_t the unit CLIP embedding
of frame t. This is the formula of VBench's subject and background consistency (arXiv 2311.17982), on whole frames; the
backbone is the deployment's own CLIP and not VBench's, so it is no VBench score and has another name.
"""

from __future__ import annotations

import numpy as np

from quality.learned import NO_ENCODER, with_value, without_value
from quality.score import Score, Shot

NAME, IMPL_ID = "clip_consistency", "clip_consistency@1"


def measure(shot: Shot) -> Score:
    """The score, 0 to 1 (every frame like the first and the one before). Needs an encoder and at least 2 frames."""
    if shot.encoder is None:
        return without_value(NAME, IMPL_ID, NO_ENCODER, shot)
    vectors = shot.vectors.astype(np.float64)
    if len(vectors) < 2:
        return without_value(NAME, IMPL_ID, "needs at least 2 frames", shot)
    to_before = np.clip((vectors[1:] * vectors[:-1]).sum(axis=1), 0.0, None)
    to_first = np.clip(vectors[1:] @ vectors[0], 0.0, None)
    raw = float(((to_before + to_first) / 2).mean())
    return with_value(NAME, IMPL_ID, raw, shot, shot.encoder, len(vectors))
