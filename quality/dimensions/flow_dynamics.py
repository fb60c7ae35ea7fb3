"""Flow dynamics: how much moves. No weights. Read it beside consistency and smoothness, which a frozen clip wins.

score = mean over pairs of frames, about an eighth of a second apart, of the 95th percentile over squares of the picture
of the motion there: the median length of the optical flow (`quality.flow`) at those pixels of a square where motion can
be seen, in pixels of a picture whose shorter side has 256 and in the time of an eighth of a second, whatever time lies
between the two frames. So it does not depend on the frame rate, on the size, or on how much of a picture is flat.

VBench's dynamic degree (arXiv 2311.17982) thresholds a like number from RAFT to 0 or 1; DIS finds less motion of small
objects, so that threshold does not hold and none is set. Against the exact flow of rendered clips with flat skies and
walls, means of three clips of a camera move: 0.79 (pull back) to 1.06 (tilt) of the 95th percentile over the whole
picture, and 0.79 to 1.07 on the same clips enlarged four times.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from quality.flow import MIN_PIXELS, Grey, flow, grey, visible
from quality.score import Metric, NoValue, Score
from quality.stream import Block, Sampler, Shot, Stream

SECONDS = 1 / 8
"""Of the motion that is told."""
PERCENTILE = 95
SQUARE = 16
"""Side of a square in pixels. Each counts once: else a richly textured product outvotes the rest of the picture."""
TOO_FEW = f"needs at least 2 frames of {MIN_PIXELS} pixels, an eighth of a second apart"
FLAT = "no motion can be seen: no pixel has texture and the same flow there and back"


class FlowDynamics:
    """Pixels, from 0 (nothing moves). Needs 2 frames of at least MIN_PIXELS, with texture."""

    METRIC: ClassVar[Metric] = Metric(
        "admint.flow_dynamics", "dis_dynamics@2", "classical", (0, None), cpu_seconds=0.83
    )
    NEEDS: ClassVar[tuple[Stream, ...]] = ()

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._sampler = Sampler("8fps", shot)
        self._before: tuple[Grey, float] | None = None
        self._pairs = 0
        self._motions: list[float] = []
        self._at: list[int] = []

    def feed(self, block: Block) -> None:
        if min(block.frames.shape[1:3]) < MIN_PIXELS:
            raise NoValue(TOO_FEW)
        for place in self._sampler.pick(block):
            picture, time = grey(block.frames[place]), block.times[place]
            if self._before is not None and time > self._before[1]:
                self._pairs += 1
                motion = _motion(self._before[0], picture)
                if motion is not None:
                    self._motions.append(motion * SECONDS / (time - self._before[1]))
                    self._at.append(block.first + place)
            self._before = picture, time

    def score(self) -> Score:
        if not self._motions:
            raise NoValue(FLAT if self._pairs else TOO_FEW)
        mean = float(np.mean(self._motions))
        return self.METRIC.value(mean, self._shot, self._pairs + 1, series=self._motions, at=self._at)


def _motion(before: Grey, after: Grey) -> float | None:
    """The 95th percentile over squares of the motion from `before` to `after`, in pixels; None: it is nowhere seen."""
    forward = flow(before, after)
    seen = visible(before, forward, flow(after, before))
    lengths = np.where(seen, np.linalg.norm(forward, axis=2), np.nan)
    height, width = (length // SQUARE * SQUARE for length in lengths.shape)
    squares = lengths[:height, :width].reshape(height // SQUARE, SQUARE, width // SQUARE, SQUARE).swapaxes(1, 2)
    rows = squares.reshape(-1, SQUARE * SQUARE)
    rows = rows[np.isfinite(rows).sum(axis=1) >= SQUARE]
    return float(np.percentile(np.nanmedian(rows, axis=1), PERCENTILE)) if len(rows) else None
