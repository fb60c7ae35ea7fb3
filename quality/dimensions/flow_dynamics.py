"""Flow dynamics: how much moves. No weights. Read it beside consistency and smoothness, which a frozen clip wins.

score = mean over pairs, about an eighth of a second apart, of the mean of the largest 5 % of optical flow magnitudes
(DIS), in pixels of a picture whose shorter side has 256. VBench's dynamic degree (arXiv 2311.17982) thresholds that
number from RAFT to 0 or 1; DIS finds less motion of small objects, so that threshold does not hold and none is set.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from quality.flow import MIN_PIXELS, flow
from quality.score import Score, Shot

METRIC_ID, IMPL_ID = "admint.flow_dynamics", "dis_dynamics@1"
PAIRS_PER_SECOND = 8
LARGEST = 0.05
"""Share of the pixels whose magnitudes are averaged: those that move most."""


def measure(shot: Shot) -> Score:
    """The score in pixels, from 0 (nothing moves). Needs 2 frames of at least MIN_PIXELS."""
    step = max(1, round(shot.fps / PAIRS_PER_SECOND))
    frames = [frame for number, frame in enumerate(shot.frames()) if number % step == 0]
    if len(frames) < 2 or min(frames[0].shape[:2]) < MIN_PIXELS:
        reason = f"needs at least 2 frames of {MIN_PIXELS} pixels, an eighth of a second apart"
        return Score(metric_id=METRIC_ID, impl_id=IMPL_ID, reason=reason, decoder=shot.decoder)
    magnitudes = [np.linalg.norm(flow(*pair), axis=2).ravel() for pair in pairwise(frames)]
    count = max(1, round(LARGEST * magnitudes[0].size))
    largest = [float(np.partition(each, -count)[-count:].mean()) for each in magnitudes]
    return Score(
        metric_id=METRIC_ID,
        impl_id=IMPL_ID,
        fidelity="classical",
        raw=float(np.mean(largest)) * 256 / min(frames[0].shape[:2]),
        frames_used=len(frames),
        decoder=shot.decoder,
        dtype="float32",
        device="cpu",
    )
