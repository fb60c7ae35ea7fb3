"""Flow smoothness: how well every second frame lies half way between its neighbours. No weights.

score = (255 - mean over odd frames of mean over pixels of |I - I'|) / 255. I' is the midpoint of the two neighbours:
each is warped half way along the optical flow (DIS) to the other, and the two are averaged. VBench's motion smoothness
(arXiv 2311.17982) with flow in place of the learned interpolator AMT-S: another estimate under another name.
"""

from __future__ import annotations

import numpy as np

from quality.flow import MIN_PIXELS, flow, warped
from quality.score import Pixels, Score, Shot

METRIC_ID, IMPL_ID = "admint.flow_smoothness", "flowwarp_smoothness@1"


def measure(shot: Shot) -> Score:
    """The score, 0 to 1 (motion at constant speed). Needs 3 frames of at least MIN_PIXELS."""
    errors: list[float] = []
    three: list[Pixels] = []
    for frame in shot.frames():
        if min(frame.shape[:2]) < MIN_PIXELS:
            break
        three.append(frame)
        if len(three) == 3:
            errors.append(_error(*three))
            del three[:2]
    if not errors:
        reason = f"needs at least 3 frames of {MIN_PIXELS} pixels"
        return Score(metric_id=METRIC_ID, impl_id=IMPL_ID, reason=reason, decoder=shot.decoder)
    return Score(
        metric_id=METRIC_ID,
        impl_id=IMPL_ID,
        fidelity="classical",
        raw=float((255.0 - np.mean(errors)) / 255.0),
        frames_used=2 * len(errors) + 1,
        decoder=shot.decoder,
        dtype="float32",
        device="cpu",
    )


def _error(before: Pixels, between: Pixels, after: Pixels) -> float:
    """Mean difference of `between` to the midpoint of its neighbours, 0..255."""
    midpoint = (warped(before, -flow(before, after) / 2) + warped(after, -flow(after, before) / 2)) / 2
    return float(np.abs(midpoint - between.astype(np.float32)).mean())
