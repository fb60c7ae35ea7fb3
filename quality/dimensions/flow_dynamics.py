"""Flow dynamics: how much moves. No weights. Read it beside consistency and smoothness, which a frozen clip wins.

score = mean over pairs, about an eighth of a second apart, of the mean of the largest 5 % of optical flow magnitudes
(DIS), in pixels of a picture whose shorter side has 256. VBench's dynamic degree (arXiv 2311.17982) thresholds that
number from RAFT to 0 or 1; DIS finds less motion of small objects, so that threshold does not hold and none is set.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from quality.flow import MIN_PIXELS, flow
from quality.score import Pixels, Score, Shot

METRIC_ID, IMPL_ID = "admint.flow_dynamics", "dis_dynamics@1"
PAIRS_PER_SECOND = 8
LARGEST = 0.05
"""Share of the pixels whose magnitudes are averaged: those that move most."""


def measure(shot: Shot) -> Score:
    """The score in pixels, from 0 (nothing moves). Needs 2 frames of at least MIN_PIXELS."""
    largest: list[float] = []
    shorter = 0
    for before, after in pairwise(shot.frames_every(1 / PAIRS_PER_SECOND)):
        shorter = min(before.shape[:2])
        if shorter < MIN_PIXELS:
            break
        largest.append(_largest(before, after))
    if not largest:
        reason = f"needs at least 2 frames of {MIN_PIXELS} pixels, an eighth of a second apart"
        return Score(metric_id=METRIC_ID, impl_id=IMPL_ID, reason=reason, decoder=shot.decoder)
    return Score(
        metric_id=METRIC_ID,
        impl_id=IMPL_ID,
        fidelity="classical",
        raw=float(np.mean(largest)) * 256 / shorter,
        frames_used=len(largest) + 1,
        decoder=shot.decoder,
        dtype="float32",
        device="cpu",
    )


def _largest(before: Pixels, after: Pixels) -> float:
    """Mean of the largest magnitudes of the flow between two frames, in pixels."""
    magnitudes = np.linalg.norm(flow(before, after), axis=2).ravel()
    count = max(1, round(LARGEST * magnitudes.size))
    return float(np.partition(magnitudes, -count)[-count:].mean())
