"""Long horizon: how much frames still look alike that lie further and further apart.

Consistency compares neighbours and the first frame; a clip that drifts slowly keeps it. Here the mean cosine, by DINO
ViT-B/16, of all frames that are d apart, for d = 2, 5, 10, 20 and 50: the curve is in the note. score = the area under
that curve by trapezoids, over the range of d that the clip is long enough for, divided by that range. A frozen clip has
1.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from quality.score import Metric, NoValue, Score
from quality.stream import Block, Shot, Stream

FRAMES = Stream("dino_vitb16", "vbench.dino224")
APART = (2, 5, 10, 20, 50)
"""Frames between two that are compared."""


class LongHorizon:
    """-1 to 1 (every frame like every other). Needs 3 frames. Keeps the vectors of the last 50 frames, and no frame."""

    METRIC: ClassVar[Metric] = Metric("admint.long_horizon", "dino_long_horizon@1", "proxy", (-1, 1))
    NEEDS: ClassVar[tuple[Stream, ...]] = (FRAMES,)

    def __init__(self, shot: Shot) -> None:
        self._shot = shot
        self._last: deque[npt.NDArray[np.float64]] = deque(maxlen=max(APART))
        self._sums = dict.fromkeys(APART, 0.0)
        self._counts = dict.fromkeys(APART, 0)
        self._frames = 0

    def feed(self, block: Block) -> None:
        for vector in block.features[FRAMES].values.astype(np.float64):
            for apart in APART:
                if apart <= len(self._last):
                    self._sums[apart] += float(vector @ self._last[-apart])
                    self._counts[apart] += 1
            self._last.append(vector)
            self._frames += 1

    def score(self) -> Score:
        curve = [(apart, self._sums[apart] / count) for apart, count in self._counts.items() if count]
        if not curve:
            raise NoValue("needs at least 3 frames")
        told = ", ".join(f"{value:.4f} at {apart}" for apart, value in curve)
        return self.METRIC.value(
            area(curve), self._shot, self._frames, stream=FRAMES, note=f"mean cosine by frames apart: {told}"
        )


def area(curve: list[tuple[int, float]]) -> float:
    """Mean height of the curve: the area by trapezoids over the range; of a single point, its height."""
    if len(curve) == 1:
        return curve[0][1]
    parts = [(after - before) * (low + high) / 2 for (before, low), (after, high) in pairwise(curve)]
    return sum(parts) / (curve[-1][0] - curve[0][0])
