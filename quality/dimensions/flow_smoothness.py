"""Flow smoothness: how well every second frame lies half way between its neighbours. No weights.

score = (255 - mean over odd frames of mean over pixels of |I - I'|) / 255. I' is the midpoint of the two neighbours:
each is warped half way along the optical flow to the other (`quality.flow`), and the two are averaged. VBench's motion
smoothness (arXiv 2311.17982) with flow in place of the learned interpolator AMT-S: another estimate, another name.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from quality.flow import MIN_PIXELS, flow, grey, halfway
from quality.score import Metric, NoValue, Score
from quality.stream import Block, Pixels, Shot, Stream


class FlowSmoothness:
    """0 to 1 (motion at constant speed). Needs 3 frames of at least MIN_PIXELS."""

    METRIC: ClassVar[Metric] = Metric(
        "admint.flow_smoothness", "flowwarp_smoothness@2", "classical", (0, 1), cpu_seconds=1.84
    )
    NEEDS: ClassVar[tuple[Stream, ...]] = ()

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._three: list[Pixels] = []
        self._errors: list[float] = []

    def feed(self, block: Block) -> None:
        if min(block.frames.shape[1:3]) < MIN_PIXELS:
            raise NoValue(f"needs at least 3 frames of {MIN_PIXELS} pixels")
        for frame in block.frames:
            self._three.append(frame)
            if len(self._three) == 3:
                self._errors.append(_error(*self._three))
                del self._three[:2]
        self._three = [frame.copy() for frame in self._three]  # views would hold their block

    def score(self) -> Score:
        if not self._errors:
            raise NoValue(f"needs at least 3 frames of {MIN_PIXELS} pixels")
        return self.METRIC.value(
            float((255.0 - np.mean(self._errors)) / 255.0),
            self._shot,
            2 * len(self._errors) + 1,
            series=[(255.0 - error) / 255.0 for error in self._errors],
            at=range(1, 2 * len(self._errors), 2),
        )


def _error(before: Pixels, between: Pixels, after: Pixels) -> float:
    """Mean difference of `between` to the midpoint of its neighbours, 0..255."""
    small, small_after = grey(before), grey(after)
    midpoint = (halfway(before, flow(small, small_after)) + halfway(after, flow(small_after, small))) / 2
    return float(np.abs(midpoint - between).mean())
