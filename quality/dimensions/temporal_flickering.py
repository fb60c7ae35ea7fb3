"""Temporal flickering: how little the pixels change from frame to frame. VBench dimension 3, no weights.

score = (255 - mean over pairs t of mean over pixels of |I_t - I_{t+1}|) / 255 in float32, over all frames. 1 is a still
picture. Source: VBench (arXiv 2311.17982), `vbench/temporal_flickering.py`.

VBench first drops clips that move (a static filter on RAFT flow); no such filter is applied here, so the score falls
with every wanted movement too, and with every cut of a stitched video. Hence `vbench_like`, and the note in each score.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from quality.score import Score, Shot

METRIC_ID = "vbench.temporal_flickering"
IMPL_ID = "temporal_flickering@1"
NOTE = "no static filter was applied: wanted movement and cuts lower this score too"


def measure(shot: Shot) -> Score:
    """The score, 0 to 1 (a still picture). Takes the frames one at a time; fewer than two have no value."""
    decoder = shot.decoder
    in_float = (frame.astype(np.float32) for frame in shot.frames())
    changes = [np.abs(before - after).mean() for before, after in pairwise(in_float)]
    if not changes:
        reason = "needs at least 2 frames"
        return Score(metric_id=METRIC_ID, impl_id=IMPL_ID, reason=reason, decoder=decoder)
    mean_change = np.mean(np.array(changes, dtype=np.float32))
    return Score(
        metric_id=METRIC_ID,
        impl_id=IMPL_ID,
        fidelity="vbench_like",
        raw=float((np.float32(255) - mean_change) / np.float32(255)),
        note=NOTE,
        frames_used=len(changes) + 1,
        decoder=decoder,
        dtype="float32",
        device="cpu",
    )
